"""The dimension of a symmetry orbit, counted from ranks and connections without its tangent vectors.

Symmetries that share no parameter entries add up. Each component of symmetries that do is counted by a rule of its own:

* scales of units: the rank of a graph's incidence matrix, with hidden units as nodes and non-zero weights as edges
* general linear groups along layers W_L ⋯ W_1, with r_ab = rank W_b ⋯ W_{a+1} and r_aa = h_a:

      orbit dimension = Σ h_a² − Σ_{0<a<=b<L} (r_ab − r_{a−1,b})(r_ab − r_{a,b+1})

  (intervals of a quiver representation: Gabriel 1972; Abeasis & Del Fra, J. Algebra 93, 1985)
* shifts of hidden units: h per layer
* shifts of all logits, and free parameters: their own dimension
* any other mixture: the rank of its tangent vectors if they are few, else a lower bound

See docs/notes/orbit-dimension.md for the derivations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from llckit.geometry.layers import Layer
from llckit.geometry.symmetry import Kind, Symmetry, View, check_weights
from llckit.geometry.tangents import TOLERANCE, orbit_basis, stacked, usable_symmetries

__all__ = ["orbit_dim"]

Nodes = Sequence[int] | NDArray[np.int64]

MAX_ENTRIES = 2**23  # numbers in the tangent vectors of one component, up to which they are formed: 64 MB


def orbit_dim(
    weights: Mapping[str, Tensor],
    symmetries: Sequence[Symmetry] | Sequence[Layer],
    kinds: Sequence[Kind | None] | None = None,
) -> int:
    """The dimension of the symmetry orbit through `weights`, for models of any size.

    It equals the rank of `tangents`, with one exception: it is a lower bound if a large component of entangled
    symmetries is neither a sequence of linear layers nor made of scales only. Singular values and weights below 1e-5 of
    the largest count as zero.

    Args:
        weights: The parameters that may move, by name. A symmetry with a parameter outside them counts nothing.
        symmetries: Symmetries, found by `find_symmetries` or declared; or layers in order, with `kinds`.
        kinds: Kinds of the groups between neighbouring layers, one fewer than layers.

    Returns:
        The dimension; 0 without symmetries.

    Raises:
        InputError: `weights` is no mapping, or as `tangents`.
    """
    check_weights(weights)
    usable = [symmetry for symmetry in usable_symmetries(weights, symmetries, kinds) if symmetry is not None]
    moved = {view.name for symmetry in usable for view in symmetry.views}
    double = {name: weights[name].detach().double() for name in moved}
    acting = [symmetry for symmetry in usable if symmetry.multiplies]
    total, counted = 0, [view for symmetry in acting for view in symmetry.producers]
    for added in (symmetry for symmetry in usable if symmetry.adds):
        if any(_overlap(view, other) for view in added.into for other in counted):
            continue
        counted.extend(added.into)
        matrices = [view.read(double) for view in added.into]
        total += sum(m.shape[1] if added.kind == "softmax" else m.numel() for m in matrices)
        for view, matrix in zip(added.into, matrices, strict=True):
            double[view.name] = double[view.name].clone()
            view.write(double, matrix - matrix.mean(0) if added.kind == "softmax" else torch.zeros_like(matrix))
    return total + sum(_dim_of(component, double) for component in _components(acting))


def _dim_of(component: list[Symmetry], weights: dict[str, Tensor]) -> int:
    """The dimension of the orbit of symmetries that share parameter entries."""
    if all(symmetry.kind == "homogeneous" for symmetry in component):
        found = _dim_of_scales(component, weights)
    else:
        found = _dim_of_linear_layers(component, weights)
    if found is not None:
        return found
    own = {view.name: weights[view.name] for symmetry in component for view in symmetry.views}
    generators = sum(_units(symmetry, weights) ** 2 for symmetry in component)
    if generators * sum(tensor.numel() for tensor in own.values()) <= MAX_ENTRIES:
        return len(orbit_basis(own, component))
    return _dim_apart(component, weights)


def _dim_apart(component: list[Symmetry], weights: dict[str, Tensor]) -> int:
    """A lower bound: the sum over symmetries that share nothing with one another, chosen greedily by dimension."""
    total, chosen = 0, []
    dims = {symmetry: _dim_of([symmetry], weights) for symmetry in component}
    for symmetry in sorted(component, key=dims.__getitem__, reverse=True):
        if not any(_entangled(symmetry, other) for other in chosen):
            total += dims[symmetry]
            chosen.append(symmetry)
    return total


def _components(symmetries: list[Symmetry]) -> list[list[Symmetry]]:
    """Symmetries in groups that share entries of parameters."""
    touching: dict[str, list[tuple[int, View]]] = {}
    for index, symmetry in enumerate(symmetries):
        for view in (*symmetry.producers, *symmetry.out):
            touching.setdefault(view.name, []).append((index, view))
    pairs = [
        (i, j)
        for views in touching.values()
        for (i, view), (j, other) in itertools.combinations(views, 2)
        if _overlap(view, other)
    ]
    labels = _labels([i for i, _ in pairs], [j for _, j in pairs], len(symmetries))
    groups: dict[int, list[Symmetry]] = {}
    for label, symmetry in zip(labels.tolist(), symmetries, strict=True):
        groups.setdefault(label, []).append(symmetry)
    return list(groups.values())


def _labels(i: Nodes, j: Nodes, nodes: int) -> NDArray[np.int32]:
    """The connected part that each node belongs to, for a graph with edges i – j."""
    graph = coo_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1] if nodes else np.zeros(0, dtype=np.int32)


def _entangled(one: Symmetry, other: Symmetry) -> bool:
    # A shared out_bias does not matter: each shift moves its own bias as well.
    mine, theirs = (*one.producers, *one.out), (*other.producers, *other.out)
    return any(_overlap(view, another) for view in mine for another in theirs)


def _overlap(one: View, other: View) -> bool:
    if one.name != other.name:
        return False
    ends = [math.inf if view.stop is None else view.stop for view in (one, other)]
    return one.dim != other.dim or (one.start < ends[1] and other.start < ends[0])


def _units(symmetry: Symmetry, weights: Mapping[str, Tensor]) -> int:
    return len(symmetry.into[0].read(weights))


def _dim_of_scales(component: list[Symmetry], weights: dict[str, Tensor]) -> int | None:
    """Rank of (c_i − c_j) w_ij over all entries; None if two scales produce, or consume, the same entry."""
    made: dict[str, Tensor] = {}
    taken: dict[str, Tensor] = {}
    fixed = sum(_units(symmetry, weights) for symmetry in component)
    first = 0
    for symmetry in component:
        nodes = torch.arange(first, first + _units(symmetry, weights))[:, None]
        first += len(nodes)
        for side, views in ((made, symmetry.producers), (taken, symmetry.out)):
            for view in views:
                ends = side.setdefault(view.name, torch.full(weights[view.name].shape, fixed))
                there = view.read({view.name: ends})
                if (there != fixed).any():
                    return None
                view.write({view.name: ends}, nodes.expand_as(there))
    i, j = [], []
    for name in made | taken:
        size = weights[name].abs()
        nonzero = (size > TOLERANCE * size.max()).cpu()
        for side, ends in ((made, i), (taken, j)):
            ends.append(side[name][nonzero] if name in side else torch.full((int(nonzero.sum()),), fixed))
    labels = _labels(torch.cat(i).numpy(), torch.cat(j).numpy(), fixed + 1)
    return fixed + 1 - len(np.unique(labels))


def _dim_of_linear_layers(component: list[Symmetry], weights: dict[str, Tensor]) -> int | None:
    """The dimension for general linear groups between layers in one sequence; None if they are anything else."""
    follows = {a: [b for b in component if b is not a and _is_next(a, b)] for a in component}
    starts = [a for a in component if not any(a in after for after in follows.values())]
    if len(starts) != 1 or any(symmetry.kind != "linear" for symmetry in component):
        return None
    sequence = starts
    while follows[sequence[-1]]:
        sequence.append(follows[sequence[-1]][0])
    shifting = [symmetry.bias is not None and symmetry.out_bias is not None for symmetry in sequence]
    biased = [symmetry.bias is not None for symmetry in sequence]
    if len(sequence) < len(component) or not (all(shifting) or not any(biased[1:] + shifting)):
        return None
    first = sequence[0].into if shifting[0] else sequence[0].producers
    matrices = [stacked([(view, view.read(weights)) for view in first])]
    matrices += [stacked([(view, view.read(weights)) for view in symmetry.out]).T for symmetry in sequence]
    hidden = [len(matrix) for matrix in matrices[:-1]]
    return sum(h * h + h * shift for h, shift in zip(hidden, shifting, strict=True)) - _fixed_dim(matrices)


def _is_next(one: Symmetry, other: Symmetry) -> bool:
    """Whether the matrix that consumes one's units is, as a whole, the matrix that produces the other's."""
    if len(one.out) != 1 or len(other.into) != 1:
        return False
    out, into = one.out[0], other.into[0]
    return out == View(into.name, 1 - into.dim) and into == View(into.name, into.dim)


def _singular_values(matrix: Tensor) -> Tensor:
    """Singular values, good to 1e-8 of the largest: their squares are eigenvalues of the smaller Gram matrix."""
    short = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    return torch.linalg.eigvalsh(short @ short.T).clamp(min=0).sqrt()


def _fixed_dim(matrices: list[Tensor]) -> int:
    """Dimension of all (G_1 … G_{L−1}) with G_s W_s = W_s G_{s−1}, G_0 = G_L = 0, for W_1 … W_L."""
    last = len(matrices)
    ranks = {(a, a): width for a, width in enumerate([matrices[0].shape[1], *(len(m) for m in matrices)])}
    norms = [float(_singular_values(matrix).max()) for matrix in matrices]
    for a in range(last):
        product, norm = matrices[a], norms[a]
        for b in range(a + 1, last + (a > 0)):  # the product of all layers is not needed
            if b > a + 1:
                product, norm = matrices[b - 1] @ product, norms[b - 1] * norm
            # If a product should be zero, what rounding leaves is small beside its factors, not beside itself.
            ranks[a, b] = int((_singular_values(product) > TOLERANCE * norm).sum())
    return sum(
        (ranks[a, b] - ranks[a - 1, b]) * (ranks[a, b] - ranks[a, b + 1])
        for a in range(1, last)
        for b in range(a, last)
    )
