"""How far a loss is from having a symmetry, without tangent vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.geometry.symmetry import Symmetry, acts_within, check_symmetries, check_weights

__all__ = ["violations"]


def violations(
    weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], symmetries: Sequence[Symmetry]
) -> list[float]:
    """How far a loss is from having symmetries: max |∇L·t| / (‖∇L‖ ‖t‖) over the tangents t of the generators.

    For GL_h and the generators G = e_i e_jᵀ the numerators are the entries of ∂L/∂V Vᵀ + ∂L/∂b bᵀ − V′ (∂L/∂V′)ᵀ, and
    for scales its diagonal. At a generic point they are zero (but for rounding) if and only if the loss is constant
    along the group.

    Args:
        weights: Parameters by name, those of the symmetries among them. They should be generic; at a minimum ∇L is zero
            and says nothing.
        gradient: ∂L/∂w at these weights, by name.
        symmetries: Found or declared symmetries.

    Returns:
        One number in 0 … 1 per symmetry; 0 for discrete symmetries, which have no generators.

    Raises:
        InputError: `weights` is no mapping, or a symmetry acts on a parameter that is missing or does not fit.
    """
    check_weights(weights)
    check_symmetries(symmetries, weights)
    unknown = [s for s in symmetries if not (acts_within(s, weights) and acts_within(s, gradient))]
    if unknown:
        raise InputError(
            f"symmetries holds {unknown[0]}, which acts on parameters that are not among the weights or have no "
            "gradient; expected both for all its parameters"
        )
    norm = float(torch.stack([g.double().norm() for g in gradient.values()]).norm()) if symmetries else 0.0
    return [_along(weights, gradient, symmetry) / norm if norm else 0.0 for symmetry in symmetries]


def _along(weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], symmetry: Symmetry) -> float:
    """Max |∇L·t| / ‖t‖ over the generators of one symmetry."""
    values = {view: view.read(weights).detach().double() for view in symmetry.views}
    slopes = {view: view.read(gradient).double() for view in symmetry.views}
    if symmetry.kind == "free":
        return max(float(slope.abs().max()) for slope in slopes.values())
    if symmetry.kind == "softmax":
        return max(float(slope.sum(0).abs().max()) / len(slope) ** 0.5 for slope in slopes.values())
    if symmetry.is_discrete:
        return 0.0
    into, into_slopes = (torch.cat([x[view] for view in symmetry.producers], 1) for x in (values, slopes))
    out, out_slopes = (torch.cat([x[view] for view in symmetry.out], 1) for x in (values, slopes))
    numbers = into_slopes @ into.T - out @ out_slopes.T
    lengths = (out.square().sum(1)[:, None] + into.square().sum(1)).sqrt()
    if symmetry.kind == "homogeneous":
        return _largest_ratio(numbers.diagonal(), lengths.diagonal())
    largest = _largest_ratio(numbers, lengths)
    if symmetry.bias is None or symmetry.out_bias is None:
        return largest
    taken = torch.stack([values[view] for view in symmetry.out]).sum(0)
    numbers = slopes[symmetry.bias] - taken @ slopes[symmetry.out_bias]
    return max(largest, _largest_ratio(numbers[:, 0], (1 + taken.square().sum(1)).sqrt()))


def _largest_ratio(numbers: Tensor, lengths: Tensor) -> float:
    return float(torch.where(lengths > 0, numbers.abs() / lengths, 0.0).max())
