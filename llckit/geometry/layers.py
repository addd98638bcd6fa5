"""Affine layers that follow one another, and the symmetries that what lies between them allows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from llckit.errors import InputError
from llckit.geometry.symmetry import Kind, Symmetry, View

__all__ = ["Layer", "LayerSequence", "chain_symmetries"]

BETWEEN = ("linear", "homogeneous", "odd", "pointwise")  # kinds of groups that two neighbouring layers can have


class Layer(NamedTuple):
    """The parameter names of one affine map.

    Attributes:
        weight: Name of the matrix, shape (out, in).
        bias: Name of the vector, shape (out,), or None.
    """

    weight: str
    bias: str | None


class LayerSequence(NamedTuple):
    """Layers in the order in which they act.

    Attributes:
        layers: The affine maps.
        kinds: Kind of the group between each layer and the next, one fewer than layers; None where no continuous
            symmetry is known.
    """

    layers: list[Layer]
    kinds: list[Kind | None]


def chain_symmetries(layers: Sequence[Layer], kinds: Sequence[Kind | None]) -> list[Symmetry | None]:
    """The symmetries of layers that follow one another, declared by what lies between them.

    Args:
        layers: The affine maps in order.
        kinds: "linear", "homogeneous", "odd", "pointwise" or None between each layer and the next.

    Returns:
        One symmetry for each pair of neighbours; None where there is none.

    Raises:
        InputError: An entry is no layer, the numbers of layers and kinds do not fit, or a kind is unknown.
    """
    wrong = [layer for layer in layers if not isinstance(layer, Layer)]
    if wrong:
        raise InputError(f"layers holds {wrong[0]!r}; expected Layer(weight, bias) with the names of parameters")
    if len(kinds) != max(0, len(layers) - 1) or not {*kinds} <= {*BETWEEN, None}:
        raise InputError(
            f"kinds is {list(kinds)} for {len(layers)} layers; expected one of {', '.join(map(repr, BETWEEN))} or None "
            "between each layer and the next"
        )
    found: list[Symmetry | None] = []
    for (first, second), kind in zip(itertools.pairwise(layers), kinds, strict=True):
        names = [name for name in (*first, *second) if name is not None]
        if kind is None or len({*names}) < len(names):  # a layer that follows itself is conjugated, not changed freely
            found.append(None)
            continue
        found.append(
            Symmetry(
                kind,
                into=(View(first.weight),),
                out=(View(second.weight, 1),),
                bias=View(first.bias) if first.bias else None,
                out_bias=View(second.bias) if kind == "linear" and first.bias and second.bias else None,
            )
        )
    return found
