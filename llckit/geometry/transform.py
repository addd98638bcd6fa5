"""A random element of the symmetry group, applied to a model: other weights, the same function."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llckit.checks import check_number, check_seed
from llckit.errors import InputError
from llckit.geometry.find_symmetries import find_symmetries
from llckit.geometry.symmetry import Kind, Symmetry, check_symmetries

__all__ = ["transform"]


def transform(
    model: nn.Module,
    *,
    seed: int = 0,
    symmetries: Sequence[Symmetry] | None = None,
    cross_entropy: bool = False,
    max_condition: float = 4.0,
) -> nn.Module:
    """A copy of the model, moved by a random element of its symmetry group: the loss stays the same up to rounding.

    The groups are drawn and applied one after the other:

    * "linear": g = U diag(s) Vᵀ, with random orthogonal U, V and singular values s
    * "homogeneous": a permutation times a diagonal matrix of scales s
    * "odd": a permutation times a diagonal matrix of random signs
    * "pointwise" and "heads": a permutation
    * shifts: normal, of the size of the weights that they are added to

    ln s is uniform in ±½ ln κ. Everything is computed in float64 and rounded once. Frozen parameters move too; if they
    must not, pass the symmetries of the others as `symmetries`.

    Args:
        model: The model, which stays as it is.
        seed: Seed of the draw.
        symmetries: Groups to draw from; None takes what `find_symmetries` finds.
        cross_entropy: Whether a constant may be added to all logits (see `find_symmetries`).
        max_condition: Largest condition number κ >= 1 of g. Rounding errors of the function grow with it.

    Returns:
        The copy, in the model's own precision.

    Raises:
        InputError: `model` is no module, no symmetry of it is known, a symmetry does not fit it, or `seed` or
            `max_condition` is impossible.
    """
    max_condition = check_number("max_condition", max_condition, least=1)
    seed = check_seed(seed)
    found = find_symmetries(model, cross_entropy=cross_entropy)
    known = found if symmetries is None else list(symmetries)
    if not known:
        raise InputError(
            f"model is a {type(model).__name__} without known symmetries; expected them to be declared, "
            "symmetries=[llckit.geometry.Symmetry(...)]"
        )
    model = copy.deepcopy(model)
    own = {name: parameter.detach() for name, parameter in model.named_parameters()}
    check_symmetries(known, own)
    missing = [view.name for symmetry in known for view in symmetry.views if view.name not in own]
    if missing:
        raise InputError(
            f"symmetries act on {missing[0]}; expected names of the model's parameters, of a tied parameter the first"
        )
    weights = {name: tensor.double().clone() for name, tensor in own.items()}
    generator = torch.Generator().manual_seed(seed)
    for symmetry in known:
        _move(weights, symmetry, math.log(max_condition), generator)
    for name, tensor in own.items():
        tensor.copy_(weights[name])
    return model


def _move(weights: dict[str, Tensor], symmetry: Symmetry, width: float, generator: torch.Generator) -> None:
    """Apply one random group element in place."""
    if symmetry.adds:
        for view in symmetry.into:
            matrix = view.read(weights)
            like_all = matrix.shape[1:] if symmetry.kind == "softmax" else matrix.shape
            view.write(weights, matrix + _shift(like_all, matrix, generator))
        return
    made = symmetry.into[0].read(weights)
    forward, backward, order = (x.to(made.device) for x in _element(symmetry.kind, len(made), width, generator))
    for views, matrix in ((symmetry.producers, forward), (symmetry.out, backward)):
        for view in views:
            view.write(weights, matrix @ view.read(weights))
    for view in symmetry.along:
        view.write(weights, view.read(weights)[order])
    if symmetry.bias is not None and symmetry.out_bias is not None:
        bias = symmetry.bias.read(weights)
        shift = _shift(bias.shape, bias, generator)
        symmetry.bias.write(weights, bias + shift)
        taken = sum(view.read(weights).T @ shift for view in symmetry.out)
        symmetry.out_bias.write(weights, symmetry.out_bias.read(weights) - taken)


def _shift(shape: torch.Size, weights: Tensor, generator: torch.Generator) -> Tensor:
    """Normal numbers of the root mean square size of the weights."""
    scale = float(weights.square().mean().sqrt())
    return (scale or 1.0) * torch.randn(shape, generator=generator, dtype=torch.float64).to(weights)


def _element(kind: Kind, units: int, width: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A group element g and its g⁻ᵀ, shapes (units, units), and the permutation in it, shape (units,)."""
    values = torch.exp(width * (torch.rand(units, generator=generator, dtype=torch.float64) - 0.5))
    order = torch.randperm(units, generator=generator)
    if kind == "linear":
        normal = torch.randn(2, units, units, generator=generator, dtype=torch.float64)
        left, right = torch.linalg.qr(normal)[0]
        return left @ (values[:, None] * right), left @ (right / values[:, None]), order
    if kind == "odd":
        values = 2 * torch.randint(2, (units,), generator=generator).double() - 1
    elif kind != "homogeneous":
        values = torch.ones(units, dtype=torch.float64)
    return torch.diag(values)[order], torch.diag(1 / values)[order], order
