"""Symmetry groups of parameter space, described by the parameter entries that belong to the hidden units they act on.

A group element g acts on h hidden units. A matrix V that produces the units, with one row per unit, becomes gV. A
matrix V′ that consumes them becomes g⁻ᵀV′. The products VᵀV′, of which the network is made, stay the same (Zhao,
Walters & Yu, arXiv 2506.13018).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, get_args

from torch import Tensor, nn

from llckit.errors import InputError

__all__ = ["Kind", "Symmetry", "View", "acts_within", "check_symmetries", "check_weights", "untied"]

Kind = Literal["linear", "homogeneous", "odd", "pointwise", "heads", "softmax", "free"]


class View(NamedTuple):
    """Some entries of a parameter, as a matrix (units, entries of a unit).

    Attributes:
        name: Name of the parameter.
        dim: Dimension of the parameter along which the units lie. The other dimensions are the entries of a unit.
        start: Index along `dim` of the first unit.
        stop: Index along `dim` after the last unit; None for the end of the parameter.
        block: Number of neighbours along `dim` that make one unit.
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
        """The entries in a tensor of the parameter's shape, writable, with the units (or their blocks) first."""
        return tensor.movedim(self.dim, 0)[self.start : self.stop]

    def read(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The matrix, shape (units, entries of a unit)."""
        entries = self.of(tensors[self.name])
        return entries.reshape(len(entries) // self.block, -1)

    def write(self, tensors: Mapping[str, Tensor], matrix: Tensor) -> None:
        """Set the entries in place, from a matrix of shape (units, entries of a unit)."""
        entries = self.of(tensors[self.name])
        entries.copy_(matrix.reshape(entries.shape))


class Symmetry(NamedTuple):
    """A group that acts on the hidden units between some parameters and others, and leaves the loss unchanged.

    The kinds of groups:

    * "linear": GL_h; with `out_bias` also the shifts bias → bias + v, out_bias → out_bias − outᵀv.
    * "homogeneous": positive diagonal matrices, and permutations of units.
    * "odd": diagonal matrices of signs ±1, and permutations of units.
    * "pointwise": permutations of units.
    * "heads": permutations of the blocks in `into`.
    * "softmax": V → V + 1uᵀ, which adds the same to all logits.
    * "free": V → any matrix; the loss does not use V.

    Attributes:
        kind: Kind of the group.
        into: Matrices that produce the units, V → gV.
        out: Matrices that consume the units, V → g⁻ᵀV.
        bias: Vector added to the units, shape (units,), → g·bias.
        out_bias: Vector added after `out`, one entry for each entry that a unit has in `out`.
        along: Further parameters of the units, which take part in permutations only.
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
        """All views, `out_bias` last."""
        return (*self.producers, *self.out, *self.along, *(() if self.out_bias is None else (self.out_bias,)))

    @property
    def multiplies(self) -> bool:
        """Whether the group is continuous and multiplies the weights: a general linear group, or scales of units."""
        return self.kind in {"linear", "homogeneous"}

    @property
    def adds(self) -> bool:
        """Whether the group is continuous and adds to the weights: a shift of all logits, or a free parameter."""
        return self.kind in {"softmax", "free"}

    @property
    def is_discrete(self) -> bool:
        """Whether the group is finite: signs and permutations, which have no generators."""
        return not (self.multiplies or self.adds)


def check_symmetries(symmetries: Sequence[Symmetry], weights: Mapping[str, Tensor]) -> None:
    """Refuse symmetries that do not fit the parameters.

    Args:
        symmetries: Found or declared symmetries. Those with a parameter outside `weights` are checked in part.
        weights: Parameters by name.

    Raises:
        InputError: An entry is no symmetry, its kind is unknown, a view lies outside its parameter, or the views of a
            symmetry have different numbers of units.
    """
    for symmetry in symmetries:
        if not isinstance(symmetry, Symmetry) or symmetry.kind not in get_args(Kind) or not symmetry.into:
            raise InputError(
                f"symmetries holds {symmetry!r}; expected Symmetry(kind, into, ...) with a kind out of {get_args(Kind)}"
            )
        if not all(isinstance(view, View) for view in symmetry.views):
            raise InputError(f"symmetries holds {symmetry!r}; expected tuples of View as into, out and along")
        if not symmetry.out and symmetry.kind in {"linear", "homogeneous", "odd"}:
            raise InputError(
                f"out of {symmetry} is empty; expected the views that consume the units, or kind 'free' if nothing does"
            )
        if acts_within(symmetry, weights):
            _check_units(symmetry, weights)
            _check_shift(symmetry, weights)


def check_weights(weights: object) -> None:
    """Refuse what is no mapping of names to weights, such as a model.

    Args:
        weights: The value given as parameters by name.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(weights, Mapping):
        raise InputError(
            f"weights is a {type(weights).__name__}; expected tensors by name, such as dict(model.named_parameters())"
        )


def acts_within(symmetry: Symmetry, names: Mapping[str, object]) -> bool:
    """Whether all parameters of a symmetry are among the names."""
    return all(view.name in names for view in symmetry.views)


def untied(model: nn.Module, symmetries: Sequence[Symmetry]) -> Iterator[Symmetry]:
    """The symmetries that move no parameter which the model uses under two names."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    single = {known[0]: None for known in names.values() if len(known) == 1}
    return (symmetry for symmetry in symmetries if acts_within(symmetry, single))


def _check_units(symmetry: Symmetry, weights: Mapping[str, Tensor]) -> None:
    first = symmetry.into[0]
    for view in (first, *symmetry.producers, *symmetry.out, *symmetry.along):
        # Groups that add have no units in common.
        if _units(view, weights) != _units(first, weights) and not symmetry.adds:
            raise InputError(
                f"{first} {tuple(weights[first.name].shape)} is followed by {view} "
                f"{tuple(weights[view.name].shape)}; expected the same number of hidden units, with matrices "
                "(out, in) where the second takes what the first gives"
            )


def _check_shift(symmetry: Symmetry, weights: Mapping[str, Tensor]) -> None:
    shift = symmetry.out_bias
    if shift is None:
        return
    size = shift.read(weights).numel()
    wrong = [view for view in symmetry.out if view.read(weights).shape[1] != size]
    if wrong or symmetry.bias is None:
        raise InputError(
            f"out_bias of {symmetry} is {shift} with {size} entries; expected one entry for each that a unit has in "
            f"{(wrong or symmetry.out)[0]}, and a bias"
        )


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
