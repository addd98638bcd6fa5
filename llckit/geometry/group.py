"""Symmetry groups of parameter space: which entries of which parameters belong to the hidden units they act on.

A group element g acts on h hidden units. Whatever produces the units, as matrices V with one row a unit, goes to gV;
whatever consumes them goes to g⁻ᵀV, so that the products VᵀV′ which the network is made of stay (Zhao, Walters & Yu,
arXiv 2506.13018).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn

from llckit.errors import InputError

Kind = Literal["linear", "homogeneous", "odd", "pointwise", "heads", "softmax", "free"]


class View(NamedTuple):
    """Entries of a parameter, as a matrix (units, entries of a unit).

    Attributes:
        name: Of the parameter.
        dim: Its dimension along which the units lie; the others are the entries of a unit.
        start: Where the units begin along `dim`.
        stop: Where they end; None for the parameter's end.
        block: How many neighbours along `dim` make one unit.
    """

    name: str
    dim: int = 0
    start: int = 0
    stop: int | None = None
    block: int = 1

    def __str__(self) -> str:
        place = f"{self.start or ''}:{'' if self.stop is None else self.stop}"
        return self.name if place == ":" else f"{self.name}[{':, ' * self.dim}{place}]"

    def of(self, tensor: Tensor) -> Tensor:
        """The entries in a tensor of the parameter's shape: what can be written to, units (and blocks) first."""
        return tensor.movedim(self.dim, 0)[self.start : self.stop]

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The matrix, shape (units, entries of a unit)."""
        entries = self.of(tensors[self.name])
        return entries.reshape(len(entries) // self.block, -1)

    def write(self, tensors: Mapping[str, Tensor], matrix: Tensor) -> None:
        """Set the entries in place, from shape (units, entries of a unit)."""
        entries = self.of(tensors[self.name])
        entries.copy_(matrix.reshape(entries.shape))


class Symmetry(NamedTuple):
    """One group that acts on the hidden units between some parameters and others, and leaves the loss as it is.

    Attributes:
        kind: "linear": GL_h; with `out_bias` also the shifts bias → bias + v, out_bias → out_bias − outᵀv.
            "homogeneous": positive diagonal matrices. "odd": diagonal matrices of signs ±1. "pointwise": nothing
            that is diagonal. The latter three also have all permutations of units. "heads": permutations of the
            blocks in `into`. "softmax": V → V + 1uᵀ, the same added to all logits. "free": V is not used at all.
        into: What produces the units, V → gV.
        out: What consumes them, V → g⁻ᵀV.
        bias: Added to the units, (units,), → g·bias.
        out_bias: Added after `out`, as long as a unit of `out` has entries.
        along: What also belongs to the units, and takes part in permutations only.
    """

    kind: Kind
    into: tuple[View, ...]
    out: tuple[View, ...] = ()
    bias: View | None = None
    out_bias: View | None = None
    along: tuple[View, ...] = ()

    def __str__(self) -> str:
        sides = [" + ".join(map(str, side)) for side in (self.into, self.out) if side]
        return f"{self.kind}: {' -> '.join(sides)}"

    @property
    def producers(self) -> tuple[View, ...]:
        """`into` and `bias`."""
        return self.into if self.bias is None else (*self.into, self.bias)

    @property
    def views(self) -> tuple[View, ...]:
        """All of them, `out_bias` last."""
        return (*self.producers, *self.out, *self.along, *(() if self.out_bias is None else (self.out_bias,)))


class Layer(NamedTuple):
    """The parameter names of one affine map.

    Attributes:
        weight: Name of the matrix, (out, in).
        bias: Name of the vector (out,), or None.
    """

    weight: str
    bias: str | None


class Chain(NamedTuple):
    """Layers in the order in which they act.

    Attributes:
        layers: The affine maps.
        kinds: What lies between each layer and the next, one fewer than layers; None where no continuous symmetry
            is known.
    """

    layers: list[Layer]
    kinds: list[Kind | None]


def chain_symmetries(layers: Sequence[Layer], kinds: Sequence[Kind | None]) -> list[Symmetry | None]:
    """The symmetries of a chain of layers, declared by what lies between them.

    Args:
        layers: The affine maps in order.
        kinds: "linear", "homogeneous", "odd", "pointwise" or None between each and the next.

    Returns:
        One a pair of neighbours; None where there is none.

    Raises:
        InputError: Numbers of layers and kinds do not fit, or an unknown kind.
    """
    if len(kinds) != max(0, len(layers) - 1) or not {*kinds} <= {"linear", "homogeneous", "odd", "pointwise", None}:
        raise InputError(
            f"{len(layers)} layers with kinds {list(kinds)}; expected one of 'linear', 'homogeneous', 'odd', "
            "'pointwise' or None between each layer and the next"
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


def check_symmetries(symmetries: Sequence[Symmetry], weights: Mapping[str, Tensor]) -> None:
    """Refuse symmetries that do not fit the parameters.

    Args:
        symmetries: Found or declared; those with a parameter that is not there are not looked at.
        weights: Parameters by name.

    Raises:
        InputError: No symmetry, an unknown kind, a view outside its parameter, or views of different units.
    """
    for symmetry in symmetries:
        if not isinstance(symmetry, Symmetry) or symmetry.kind not in get_args(Kind) or not symmetry.into:
            raise InputError(
                f"{symmetry!r} is no symmetry; expected Symmetry(kind, into, ...) with a kind out of {get_args(Kind)}"
            )
        if not symmetry.out and symmetry.kind in {"linear", "homogeneous", "odd"}:
            raise InputError(f"{symmetry} has no `out`; expected what takes the units, or kind 'free' if nothing does")
        if not acts_within(symmetry, weights):
            continue
        first = symmetry.into[0]
        for view in (first, *symmetry.producers, *symmetry.out, *symmetry.along):
            # What is free, and what all logits share, has no units in common with anything.
            if _units(view, weights) != _units(first, weights) and symmetry.kind not in {"softmax", "free"}:
                raise InputError(
                    f"{first} {tuple(weights[first.name].shape)} is followed by {view} "
                    f"{tuple(weights[view.name].shape)}; expected the same number of hidden units, with matrices "
                    "(out, in) where the second takes what the first gives"
                )
        shift = symmetry.out_bias
        if shift is not None:
            size = shift.read(weights).numel()
            wrong = [view for view in symmetry.out if view.read(weights).shape[1] != size]
            if wrong or symmetry.bias is None:
                raise InputError(
                    f"{symmetry}: {shift} with {size} entries cannot take up shifts of {symmetry.bias} through "
                    f"{(wrong or symmetry.out)[0]}; expected one entry for each that a unit has there, and a bias"
                )


def acts_within(symmetry: Symmetry, names: Mapping[str, object]) -> bool:
    """Whether all parameters of a symmetry are among the names."""
    return all(view.name in names for view in symmetry.views)


def untied(model: nn.Module, symmetries: Sequence[Symmetry]) -> Iterator[Symmetry]:
    """Those symmetries that move no parameter which the model uses under two names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    single = {known[0]: None for known in names.values() if len(known) == 1}
    return (symmetry for symmetry in symmetries if acts_within(symmetry, single))


def _units(view: View, weights: Mapping[str, Tensor]) -> int:
    shape = weights[view.name].shape
    length = shape[view.dim] if 0 <= view.dim < len(shape) else 0
    stop = length if view.stop is None else view.stop
    if view.block < 1 or not 0 <= view.start < stop <= length or (stop - view.start) % view.block:
        raise InputError(
            f"{view} in blocks of {view.block} does not fit {view.name} {tuple(shape)}; expected whole units along one "
            "of its dimensions"
        )
    return (stop - view.start) // view.block
