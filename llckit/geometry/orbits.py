"""The orbit of a symmetry group through given weights: its tangent space, spanned by what the generators move.

The orbit's dimension is the rank of the generators at these weights. It is that of the group at generic ones and
smaller at special ones: a dead unit, a layer of low rank, a head without output.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.geometry.group import (
    Kind,
    Layer,
    Symmetry,
    View,
    acts_within,
    chain_symmetries,
    check_symmetries,
)

TOLERANCE = 1e-5  # relative; float32 rounding leaves singular values of about 1e-7 where exact weights have none

Moves = list[tuple[View, Tensor]]  # what each view is moved by, shape (generators, units, entries of a unit)


def tangents(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None = None,
) -> list[Tensor]:
    """The directions in which the symmetries move the weights.

    With V what makes the hidden units, b their bias and V′ what takes them, one row a unit: GL_h moves
    (δV, δb, δV′) = (GV, Gb, −GᵀV′) for G spanning gl_h less those that move nothing; scaling of unit i is the same with
    G = e_ieᵢᵀ; shifts are (δb, δb′) = (v, −V′ᵀv). What shifts all logits moves δV = 1uᵀ. Discrete symmetries have none.

    Args:
        weights: The parameters that may move, by name; symmetries with a parameter that is not there move nothing.
        symmetries: Found by `find_symmetries` or declared; or the layers of a chain, with `kinds`.
        kinds: What lies between neighbours in the chain of layers, one fewer than these.

    Returns:
        For each symmetry (each pair of neighbours) a float64 tensor (generators, dim), dim counting all of `weights`
        in its order.

    Raises:
        InputError: Numbers of layers and kinds do not fit, an unknown kind, or shapes do not fit.
    """
    double = {name: tensor.detach().double() for name, tensor in weights.items()}
    return [_flat(_moves(double, symmetry), double) for symmetry in usable_symmetries(double, symmetries, kinds)]


def orbit_basis(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None = None,
) -> Tensor:
    """An orthonormal basis of the orbit's tangent space at `weights`.

    Generators are scaled to length one, those shorter than 1e-5 of the longest left out; directions count whose
    singular value exceeds 1e-5 of the largest. What is left out makes the orbit smaller and the bound
    ½(dim − orbit dimension) weaker, never wrong.

    Args:
        weights: The parameters that may move, by name.
        symmetries: Found by `find_symmetries` or declared; or the layers of a chain, with `kinds`.
        kinds: What lies between neighbours in the chain of layers, one fewer than these.

    Returns:
        float64, shape (orbit dimension, dim).
    """
    moves = tangents(weights, symmetries, kinds)
    if not sum(len(rows) for rows in moves):
        return torch.zeros(0, sum(tensor.numel() for tensor in weights.values()), dtype=torch.float64)
    rows = torch.cat(moves)
    lengths = rows.norm(dim=1)
    keep = lengths > TOLERANCE * lengths.max()
    _, values, basis = torch.linalg.svd(rows[keep] / lengths[keep, None], full_matrices=False)
    return basis[: rank(values)]


def violations(
    weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], symmetries: Sequence[Symmetry]
) -> list[float]:
    """How far a loss is from having symmetries, without tangent vectors: max |∇L·t| / (‖∇L‖ ‖t‖) over generators.

    For GL_h and G = e_ieⱼᵀ the numerators are the matrix ∂L/∂V Vᵀ + ∂L/∂b bᵀ − V′ (∂L/∂V′)ᵀ, its diagonal for scales.
    At one generic point it is zero (but for rounding) where the loss is constant along the group, and only there.

    Args:
        weights: Parameters by name, those of the symmetries among them; generic, not a minimum, where ∇L is zero.
        gradient: ∂L/∂w at these, by name.
        symmetries: Found or declared.

    Returns:
        For each a number in 0 … 1; 0 for discrete symmetries, which have no generators.

    Raises:
        InputError: A symmetry acts on what is not there, or does not fit.
    """
    check_symmetries(symmetries, weights)
    norm = float(torch.stack([g.double().norm() for g in gradient.values()]).norm())
    unknown = [s for s in symmetries if not (acts_within(s, weights) and acts_within(s, gradient))]
    if unknown:
        raise InputError(f"{unknown[0]} acts on parameters that are not among the weights or have no gradient")
    return [_along(weights, gradient, symmetry) / norm if norm else 0.0 for symmetry in symmetries]


def _along(weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor], symmetry: Symmetry) -> float:
    """Max |∇L·t| / ‖t‖."""
    values = {view: view.read(weights).detach().double() for view in symmetry.views}
    slopes = {view: view.read(gradient).double() for view in symmetry.views}
    if symmetry.kind == "free":
        return max(float(slope.abs().max()) for slope in slopes.values())
    if symmetry.kind == "softmax":
        return max(float(slope.sum(0).abs().max()) / len(slope) ** 0.5 for slope in slopes.values())
    if symmetry.kind not in {"linear", "homogeneous"}:
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


def usable_symmetries(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None,
) -> list[Symmetry | None]:
    """The symmetries, checked; None where there is none, or where it acts on a parameter that is not there."""
    declared = list(symmetries) if kinds is None else chain_symmetries(symmetries, kinds)  # pyright: ignore
    check_symmetries([symmetry for symmetry in declared if symmetry is not None], weights)  # pyright: ignore
    return [
        symmetry if isinstance(symmetry, Symmetry) and acts_within(symmetry, weights) else None for symmetry in declared
    ]


def rank(values: Tensor) -> int:
    """How many singular values count."""
    return int((values > TOLERANCE * values.max()).sum()) if len(values) else 0


def _moves(weights: Mapping[str, Tensor], symmetry: Symmetry | None) -> list[Moves]:
    if symmetry is None or symmetry.kind in {"odd", "pointwise", "heads"}:
        return []
    if symmetry.kind in {"softmax", "free"}:
        return [_added(view, view.read(weights), symmetry.kind == "softmax") for view in symmetry.into]
    makes = [(view, view.read(weights)) for view in symmetry.producers]
    takes = [(view, view.read(weights)) for view in symmetry.out]
    left, right = _generators(stacked(makes), stacked(takes), symmetry.kind)
    moves = [(view, left[:, :, None] * (right @ matrix)[:, None, :]) for view, matrix in makes]
    moves += [(view, -right[:, :, None] * (left @ matrix)[:, None, :]) for view, matrix in takes]
    if symmetry.bias is None or symmetry.out_bias is None:
        return [moves]
    units = torch.eye(left.shape[1]).to(left)
    shifts = [(symmetry.bias, units[:, :, None])]
    shifts += [(symmetry.out_bias, -matrix[:, :, None]) for _, matrix in takes]
    return [moves, shifts]


def stacked(sides: Sequence[tuple[View, Tensor]]) -> Tensor:
    """Matrices (units, entries) beside one another."""
    return torch.cat([matrix for _, matrix in sides], 1)


def _generators(makes: Tensor, takes: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Both factors of the generators G = u vᵀ, shapes (generators, units)."""
    if kind == "homogeneous":
        left = right = torch.eye(len(makes)).to(makes)
        return left, right
    # In bases that fit both sides G = u_i vⱼᵀ moves nothing iff u_iᵀV′ = 0 and vⱼᵀ(V b) = 0; the others are at most as
    # many as both sides have weights, where gl_h itself may be far larger.
    frame_makes, values_makes, _ = torch.linalg.svd(makes)
    frame_takes, values_takes, _ = torch.linalg.svd(takes)
    units = torch.arange(len(makes), device=makes.device)
    moving = (units[:, None] < rank(values_takes)) | (units < rank(values_makes))
    i, j = moving.nonzero(as_tuple=True)
    return frame_takes.T[i], frame_makes.T[j]


def _added(view: View, matrix: Tensor, to_all_units: bool) -> Moves:
    """Every entry of a view, or every one the same in all units."""
    units, entries = matrix.shape
    unit = torch.eye(entries if to_all_units else units * entries).to(matrix)
    return [(view, unit[:, None, :].expand(-1, units, -1) if to_all_units else unit.view(-1, units, entries))]


def _flat(batches: Sequence[Moves], weights: Mapping[str, Tensor]) -> Tensor:
    """Moves of views as rows over all weights."""
    starts = dict(zip(weights, itertools.accumulate((t.numel() for t in weights.values()), initial=0), strict=False))
    dim = sum(tensor.numel() for tensor in weights.values())
    like = next(iter(weights.values()), torch.zeros(0, dtype=torch.float64))
    found = [like.new_zeros(0, dim)]
    for moves in batches:
        rows = like.new_zeros(len(moves[0][1]), dim)
        for view, move in moves:
            shape = weights[view.name].shape
            whole = rows[:, starts[view.name] : starts[view.name] + shape.numel()].view(-1, *shape)
            entries = whole.movedim(view.dim + 1, 1)[:, view.start : view.stop]
            entries += move.reshape(entries.shape)
        found.append(rows)
    return torch.cat(found)
