"""The tangent space of a symmetry orbit through given weights: the directions in which the generators move them.

The orbit's dimension is the rank of these directions. It is that of the group at generic weights and smaller at special
ones, such as a dead unit, a layer of low rank or a head without output.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from llckit.geometry.layers import Layer, chain_symmetries
from llckit.geometry.symmetry import Kind, Symmetry, View, acts_within, check_symmetries, check_weights

__all__ = ["TOLERANCE", "numerical_rank", "orbit_basis", "stacked", "tangents", "usable_symmetries"]

# Singular values count if they exceed this share of the largest. Float32 rounding leaves about 1e-7 in place of zeros.
TOLERANCE = 1e-5

Moves = list[tuple[View, Tensor]]  # views, and how the generators move them: (generators, units, entries of a unit)


def tangents(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None = None,
) -> list[Tensor]:
    """The directions in which the symmetries move the weights.

    Let V produce the hidden units and V′ consume them, one row per unit, and let b be the units' bias. Then:

    * GL_h moves (δV, δb, δV′) = (GV, Gb, −GᵀV′), for a basis of those G in gl_h that move something
    * scaling of unit i is the same with G = e_i e_iᵀ
    * shifts of the units move (δb, δb′) = (v, −V′ᵀv)
    * shifts of all logits move δV = 1uᵀ
    * discrete symmetries move nothing

    Args:
        weights: The parameters that may move, by name. A symmetry with a parameter outside them moves nothing.
        symmetries: Symmetries, found by `find_symmetries` or declared; or layers in order, with `kinds`.
        kinds: Kinds of the groups between neighbouring layers, one fewer than layers.

    Returns:
        For each symmetry (each pair of neighbours) a float64 tensor (generators, dim), where dim counts all entries of
        `weights` in its order.

    Raises:
        InputError: `weights` is no mapping, the numbers of layers and kinds do not fit, a kind is unknown, or shapes do
            not fit.
    """
    check_weights(weights)
    double = {name: tensor.detach().double() for name, tensor in weights.items()}
    return [_flat(_moves(double, symmetry), double) for symmetry in usable_symmetries(double, symmetries, kinds)]


def orbit_basis(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None = None,
) -> Tensor:
    """An orthonormal basis of the orbit's tangent space at `weights`.

    Generators shorter than 1e-5 of the longest are left out, and the others scaled to length one. A direction counts if
    its singular value exceeds 1e-5 of the largest. What is left out makes the orbit smaller and the bound
    ½ (dim − orbit dimension) weaker, never wrong.

    Args:
        weights: The parameters that may move, by name.
        symmetries: Symmetries, found by `find_symmetries` or declared; or layers in order, with `kinds`.
        kinds: Kinds of the groups between neighbouring layers, one fewer than layers.

    Returns:
        float64, shape (orbit dimension, dim).
    """
    moves = tangents(weights, symmetries, kinds)
    if not sum(len(rows) for rows in moves):
        return torch.zeros(0, sum(tensor.numel() for tensor in weights.values()), dtype=torch.float64, device="cpu")
    rows = torch.cat(moves)
    lengths = rows.norm(dim=1)
    keep = lengths > TOLERANCE * lengths.max()
    _, values, basis = torch.linalg.svd(rows[keep] / lengths[keep, None], full_matrices=False)
    return basis[: numerical_rank(values)]


def usable_symmetries(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None,
) -> list[Symmetry | None]:
    """The symmetries as `tangents` takes them, checked.

    Args:
        weights: The parameters that may move, by name.
        symmetries: Symmetries, or layers in order.
        kinds: Kinds of the groups between neighbouring layers; None if symmetries are given.

    Returns:
        One entry per symmetry (per pair of neighbours); None where there is no symmetry, or where it acts on a
        parameter outside `weights`.
    """
    if kinds is None:
        declared: Sequence[Symmetry | None] = cast("Sequence[Symmetry]", symmetries)
    else:
        declared = chain_symmetries(cast("Sequence[Layer]", symmetries), kinds)
    check_symmetries([symmetry for symmetry in declared if symmetry is not None], weights)
    return [symmetry if symmetry is not None and acts_within(symmetry, weights) else None for symmetry in declared]


def numerical_rank(values: Tensor) -> int:
    """The number of singular values that count."""
    return int((values > TOLERANCE * values.max()).sum()) if len(values) else 0


def stacked(sides: Sequence[tuple[View, Tensor]]) -> Tensor:
    """The matrices (units, entries) of some views beside one another."""
    return torch.cat([matrix for _, matrix in sides], 1)


def _moves(weights: Mapping[str, Tensor], symmetry: Symmetry | None) -> list[Moves]:
    """How the generators of one symmetry move its views, in groups of generators that move the same views."""
    if symmetry is None or symmetry.is_discrete:
        return []
    if symmetry.adds:
        added = _same_in_all_units if symmetry.kind == "softmax" else _every_entry
        return [[(view, added(view.read(weights)))] for view in symmetry.into]
    producers = [(view, view.read(weights)) for view in symmetry.producers]
    consumers = [(view, view.read(weights)) for view in symmetry.out]
    left, right = _generators(stacked(producers), stacked(consumers), symmetry.kind)
    moves = [(view, left[:, :, None] * (right @ matrix)[:, None, :]) for view, matrix in producers]
    moves += [(view, -right[:, :, None] * (left @ matrix)[:, None, :]) for view, matrix in consumers]
    if symmetry.bias is None or symmetry.out_bias is None:
        return [moves]
    units = torch.eye(left.shape[1], device="cpu").to(left)
    shifts = [(symmetry.bias, units[:, :, None])]
    shifts += [(symmetry.out_bias, -matrix[:, :, None]) for _, matrix in consumers]
    return [moves, shifts]


def _generators(producer: Tensor, consumer: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """The factors u and v of the generators G = u vᵀ, each of shape (generators, units)."""
    if kind == "homogeneous":
        left = right = torch.eye(len(producer), device="cpu").to(producer)
        return left, right
    # In bases that fit both sides, G = u_i v_jᵀ moves nothing if and only if u_iᵀV′ = 0 and v_jᵀ(V b) = 0. The other G
    # are at most as many as both sides have weights; gl_h itself may be far larger.
    producer_frame, producer_values, _ = torch.linalg.svd(producer)
    consumer_frame, consumer_values, _ = torch.linalg.svd(consumer)
    units = torch.arange(len(producer), device=producer.device)
    moving = (units[:, None] < numerical_rank(consumer_values)) | (units < numerical_rank(producer_values))
    i, j = moving.nonzero(as_tuple=True)
    return consumer_frame.T[i], producer_frame.T[j]


def _same_in_all_units(matrix: Tensor) -> Tensor:
    """Moves of the columns of a matrix (units, entries): each adds the same to all units."""
    units, entries = matrix.shape
    return torch.eye(entries, device="cpu").to(matrix)[:, None, :].expand(-1, units, -1)


def _every_entry(matrix: Tensor) -> Tensor:
    """Moves of single entries of a matrix (units, entries)."""
    return torch.eye(matrix.numel(), device="cpu").to(matrix).view(-1, *matrix.shape)


def _flat(groups: Sequence[Moves], weights: Mapping[str, Tensor]) -> Tensor:
    """Moves of views as vectors of all weights, one generator per row."""
    starts = dict(zip(weights, itertools.accumulate((t.numel() for t in weights.values()), initial=0), strict=False))
    dim = sum(tensor.numel() for tensor in weights.values())
    like = next(iter(weights.values()), torch.zeros(0, dtype=torch.float64, device="cpu"))
    found = [like.new_zeros(0, dim)]
    for moves in groups:
        rows = like.new_zeros(len(moves[0][1]), dim)
        for view, move in moves:
            shape = weights[view.name].shape
            whole = rows[:, starts[view.name] : starts[view.name] + shape.numel()].view(-1, *shape)
            entries = whole.movedim(view.dim + 1, 1)[:, view.start : view.stop]
            entries += move.reshape(entries.shape)
        found.append(rows)
    return torch.cat(found)
