"""A random element of the symmetry group, applied to a model: other weights, the same function."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.geometry.group import Kind, Symmetry, check_symmetries
from llckit.geometry.symmetry import find_symmetries


def transform(
    model: nn.Module,
    *,
    seed: int = 0,
    symmetries: Sequence[Symmetry] | None = None,
    cross_entropy: bool = False,
    max_condition: float = 4.0,
) -> nn.Module:
    """A copy of the model, moved by a random element of its symmetry group: the loss is the same up to rounding.

    Each group is drawn from and applied after the other: g = U diag(s) Vᵀ with random orthogonal U, V and singular
    values s for "linear", a permutation times a diagonal matrix of s for "homogeneous" and of signs for "odd", a
    permutation for all others, ln s uniform in ±½ ln κ. Shifts are normal, of the size of the weights that they are
    added to. Everything is computed in float64, and rounded once. Frozen parameters move too: pass `symmetries` of the
    others where they must not.

    Args:
        model: Any; it stays as it is.
        seed: Of the draw.
        symmetries: Which groups; None takes what `find_symmetries` finds.
        cross_entropy: Whether a constant may be added to all logits: see `find_symmetries`.
        max_condition: κ >= 1, the largest condition number of g; rounding errors of the function grow with it.

    Returns:
        The copy, in the model's own precision.

    Raises:
        InputError: No module, no symmetry is known, one does not fit the model, or an impossible `seed` or
            `max_condition`.
    """
    if not isinstance(max_condition, int | float) or not 1 <= max_condition < math.inf:
        raise InputError(f"max_condition is {max_condition!r}; expected a number >= 1")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"seed is {seed!r}; expected an integer")
    found = find_symmetries(model, cross_entropy=cross_entropy)
    known = found if symmetries is None else list(symmetries)
    model = copy.deepcopy(model)
    own = {name: parameter.detach() for name, parameter in model.named_parameters()}
    check_symmetries(known, own)
    missing = [view.name for symmetry in known for view in symmetry.views if view.name not in own]
    if missing or not known:
        raise InputError(
            f"symmetries act on {missing[0]}, which is no parameter of the model (or another name of one)"
            if missing
            else "no symmetry of this model is known; declare them: symmetries=[llckit.geometry.Symmetry(...)]"
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

    def normal(size: int, like: Tensor) -> Tensor:
        scale = float(like.square().mean().sqrt())
        return (scale or 1.0) * torch.randn(size, generator=generator, dtype=torch.float64).to(like)

    if symmetry.kind in {"softmax", "free"}:
        for view in symmetry.into:
            matrix = view.read(weights)
            shift = normal(matrix.shape[1] if symmetry.kind == "softmax" else matrix.numel(), matrix)
            view.write(weights, matrix + (shift if symmetry.kind == "softmax" else shift.view_as(matrix)))
        return
    made = symmetry.into[0].read(weights)
    units = len(made)
    forward, backward, order = (x.to(made.device) for x in _element(symmetry.kind, units, width, generator))
    for views, matrix in ((symmetry.producers, forward), (symmetry.out, backward)):
        for view in views:
            view.write(weights, matrix @ view.read(weights))
    for view in symmetry.along:
        view.write(weights, view.read(weights)[order])
    if symmetry.bias is not None and symmetry.out_bias is not None:
        shift = normal(units, symmetry.bias.read(weights))[:, None]
        symmetry.bias.write(weights, symmetry.bias.read(weights) + shift)
        taken = sum(view.read(weights).T @ shift for view in symmetry.out)
        symmetry.out_bias.write(weights, symmetry.out_bias.read(weights) - taken)


def _element(kind: Kind, units: int, width: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One group element g with g⁻ᵀ, shapes (units, units), and the permutation in it, shape (units,)."""
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
