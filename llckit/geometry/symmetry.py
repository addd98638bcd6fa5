"""Continuous symmetries of chains of linear layers: along their orbits the network, and so the loss, is constant.

Between two layers W₁, b₁ and W₂, b₂ (weights as in `nn.Linear`, out × in) with h hidden units:

* nothing in between ("linear"): GL_h acts by W₁ → gW₁, b₁ → gb₁, W₂ → W₂g⁻¹; with two biases also the shifts
  b₁ → b₁ + v, b₂ → b₂ − W₂v;
* ReLU or LeakyReLU ("homogeneous"): the diagonal g with positive entries, one for each unit.

Other activations have discrete symmetries at most, which span nothing (Zhao, Walters & Yu, arXiv 2506.13018).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from llckit.errors import InputError

TOLERANCE = 1e-5  # relative; float32 rounding leaves singular values of about 1e-7 where exact weights have none

Kind = Literal["linear", "homogeneous"]


class Layer(NamedTuple):
    """The parameter names of one affine map.

    Attributes:
        weight: name of the matrix, (out, in).
        bias: name of the vector (out,), or None.
    """

    weight: str
    bias: str | None


class Chain(NamedTuple):
    """Layers in the order in which they act.

    Attributes:
        layers: the affine maps.
        kinds: what lies between each layer and the next, one fewer than layers; None where no continuous symmetry
            is known.
    """

    layers: list[Layer]
    kinds: list[Kind | None]


def find_layers(model: nn.Module) -> Chain:
    """The linear layers of a model, and which of them follow one another directly.

    Recognised are `nn.Linear` within `nn.Sequential` (nested or not) with nothing, Identity, Dropout, ReLU or
    LeakyReLU in between, and an `nn.ParameterList` of matrices that can be multiplied in order. Whether the model
    uses them that way cannot be seen from its modules: `bracket` checks the symmetries on the loss.

    Args:
        model: any module.

    Returns:
        The chain; empty for an unknown architecture.
    """
    layers: list[Layer] = []
    kinds: list[Kind | None] = []
    between: Kind | None = None

    def add(weight: str, bias: str | None) -> None:
        nonlocal between
        if layers:
            kinds.append(between)
        layers.append(Layer(weight, bias))
        between = "linear"

    def visit(module: nn.Module, prefix: str) -> None:
        nonlocal between
        if isinstance(module, nn.Linear):
            add(f"{prefix}weight", None if module.bias is None else f"{prefix}bias")
        elif isinstance(module, (nn.ReLU, nn.LeakyReLU)):
            between = between and "homogeneous"
        elif isinstance(module, nn.Sequential):
            # named_children() would skip the second use of one activation module.
            for name, child in module._modules.items():
                if child is not None:
                    visit(child, f"{prefix}{name}.")
        elif isinstance(module, nn.ParameterList):
            between = None
            if _multiply([p for p in module if isinstance(p, Tensor)]):
                for index in range(len(module)):
                    add(f"{prefix}{index}", None)
            between = None
        elif not isinstance(module, (nn.Identity, nn.Dropout)):
            between = None
            for name, child in module.named_children():
                visit(child, f"{prefix}{name}.")
                between = None

    visit(model, "")
    return Chain(layers, kinds)


def tangents(weights: Mapping[str, Tensor], layers: Sequence[Layer], kinds: Sequence[Kind | None]) -> list[Tensor]:
    """The directions in which the symmetries move the weights.

    GL_h: (δW₁, δb₁, δW₂) = (GW₁, Gb₁, −W₂G) for G spanning gl_h less those that move nothing; scaling of unit i: the
    same with G = e_ieᵢᵀ; shifts: (δb₁, δb₂) = (v, −W₂v).

    Args:
        weights: the parameters that may move, by name; pairs of layers that need another name contribute nothing.
        layers: the affine maps in order.
        kinds: what lies between neighbours, one fewer.

    Returns:
        For each pair of neighbours a float64 tensor (generators, dim), dim counting all of `weights` in its order.

    Raises:
        InputError: numbers of layers and kinds do not fit, an unknown kind, or neighbours' shapes do not fit.
    """
    if len(kinds) != max(0, len(layers) - 1) or not {*kinds} <= {"linear", "homogeneous", None}:
        raise InputError(
            f"{len(layers)} layers with kinds {list(kinds)}; expected one of 'linear', 'homogeneous' or None between "
            "each layer and the next"
        )
    double = {name: tensor.detach().double() for name, tensor in weights.items()}
    dim = sum(tensor.numel() for tensor in double.values())
    found = []
    for (first, second), kind in zip(itertools.pairwise(layers), kinds, strict=True):
        names = [name for name in (*first, *second) if name is not None]
        if kind is None or len({*names}) < len(names) or not all(name in double for name in names):
            found.append(next(iter(double.values())).new_zeros(0, dim) if double else torch.zeros(0, 0))
            continue
        into, out = double[first.weight], double[second.weight]
        if not _multiply([into, out]):
            raise InputError(
                f"{first.weight} {tuple(into.shape)} is followed by {second.weight} {tuple(out.shape)}; expected "
                "matrices (out, in) where the second takes what the first gives"
            )
        moves = _group_moves(double, first, second, kind)
        if kind == "linear" and first.bias and second.bias:
            shifts = {first.bias: torch.eye(len(into)).to(into), second.bias: -out.T}
            found.append(torch.cat([_flat(moves, double), _flat(shifts, double)]))
        else:
            found.append(_flat(moves, double))
    return found


def orbit_basis(weights: Mapping[str, Tensor], layers: Sequence[Layer], kinds: Sequence[Kind | None]) -> Tensor:
    """An orthonormal basis of the orbit's tangent space at `weights`.

    Generators are scaled to length one, those shorter than 1e-5 of the longest left out; directions count whose
    singular value exceeds 1e-5 of the largest. At special weights (a dead unit, a layer of low rank) the orbit is
    smaller than the group. What is left out makes the orbit smaller and the bound ½(dim − orbit dimension) weaker,
    never wrong.

    Args:
        weights: the parameters that may move, by name.
        layers: the affine maps in order.
        kinds: what lies between neighbours, one fewer.

    Returns:
        float64, shape (orbit dimension, dim).
    """
    moves = tangents(weights, layers, kinds)
    if not sum(len(rows) for rows in moves):
        return torch.zeros(0, sum(tensor.numel() for tensor in weights.values()), dtype=torch.float64)
    rows = torch.cat(moves)
    lengths = rows.norm(dim=1)
    keep = lengths > TOLERANCE * lengths.max()
    _, values, basis = torch.linalg.svd(rows[keep] / lengths[keep, None], full_matrices=False)
    return basis[: _rank(values)]


def orbit_dim(weights: Mapping[str, Tensor], layers: Sequence[Layer], kinds: Sequence[Kind | None]) -> int:
    """The dimension of the symmetry orbit through `weights`: see `orbit_basis`.

    Args:
        weights: the parameters that may move, by name.
        layers: the affine maps in order.
        kinds: what lies between neighbours, one fewer.

    Returns:
        The dimension; 0 without layers.
    """
    return len(orbit_basis(weights, layers, kinds))


def _group_moves(weights: Mapping[str, Tensor], first: Layer, second: Layer, kind: Kind) -> dict[str, Tensor]:
    """(δW₁, δb₁, δW₂) by name for generators G = u vᵀ, shapes (generators, *parameter)."""
    into, out = weights[first.weight], weights[second.weight]
    bias = None if first.bias is None else weights[first.bias]
    if kind == "homogeneous":
        left = right = torch.eye(len(into)).to(into)
    else:
        # In bases that fit both layers G = u_i vⱼᵀ moves nothing iff W₂u_i = 0 and vⱼᵀ(W₁ b₁) = 0; the others are at
        # most as many as the two layers have weights, where gl_h itself may be far larger.
        columns = into if bias is None else torch.cat([into, bias[:, None]], 1)
        frame_in, values_in, _ = torch.linalg.svd(columns)
        _, values_out, frame_out = torch.linalg.svd(out)
        units = torch.arange(len(into), device=into.device)
        moving = (units[:, None] < _rank(values_out)) | (units < _rank(values_in))
        i, j = moving.nonzero(as_tuple=True)
        left, right = frame_out[i], frame_in.T[j]
    moves = {
        first.weight: left[:, :, None] * (right @ into)[:, None, :],
        second.weight: -(left @ out.T)[:, :, None] * right[:, None, :],
    }
    if first.bias is not None and bias is not None:
        moves[first.bias] = left * (right @ bias)[:, None]
    return moves


def _flat(moves: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    count = len(next(iter(moves.values())))
    pieces = [
        moves[name].flatten(1) if name in moves else tensor.new_zeros(count, tensor.numel())
        for name, tensor in weights.items()
    ]
    return torch.cat(pieces, 1)


def _rank(values: Tensor) -> int:
    return int((values > TOLERANCE * values.max()).sum())


def _multiply(matrices: Sequence[Tensor]) -> bool:
    return all(m.dim() == 2 for m in matrices) and all(
        a.shape[0] == b.shape[1] for a, b in itertools.pairwise(matrices)
    )
