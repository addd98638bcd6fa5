"""What is known about the transitions of a run at several scales, and which of them are the same."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.transition import Kind, Transition, Transitions

__all__ = ["LinkedTransition", "ScaleTransitions", "link"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinkedTransition:
    """One transition of a run, found at neighbouring scales.

    Attributes:
        n_beta: nβ of each scale at which it was found, ascending.
        transitions: What was found there, one per scale.
    """

    n_beta: tuple[float, ...]
    transitions: tuple[Transition, ...]

    @property
    def kind(self) -> Kind:
        """The type at most of its scales; if several are equally frequent, the one with the greatest probability."""
        kinds = [t.kind for t in self.transitions]
        best = max(self.transitions, key=lambda t: (kinds.count(t.kind), t.probability))
        return best.kind

    @property
    def location(self) -> float:
        """The median over its scales of the step at which λ̂ is steepest."""
        return float(np.median([t.location for t in self.transitions]))

    @property
    def location_range(self) -> tuple[float, float]:
        """The first and the last of these steps."""
        places = [t.location for t in self.transitions]
        return min(places), max(places)

    def to_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON."""
        return {
            "kind": self.kind,
            "location": self.location,
            "location_range": list(self.location_range),
            "n_beta": list(self.n_beta),
            "transitions": [asdict(transition) for transition in self.transitions],
        }


@dataclass(frozen=True, eq=False)
class ScaleTransitions(Sequence[LinkedTransition]):
    """The transitions of a run over all scales, ordered by location; a read-only sequence.

    Attributes:
        items: The transitions.
        n_beta: nβ of all scales, shape `(scales,)`.
        by_scale: What was found at each scale; None if fewer than 8 checkpoints have an estimate there.
    """

    items: tuple[LinkedTransition, ...]
    n_beta: Array
    by_scale: tuple[Transitions | None, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[LinkedTransition]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> LinkedTransition: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[LinkedTransition, ...]: ...
    def __getitem__(self, index: int | slice) -> LinkedTransition | tuple[LinkedTransition, ...]:
        return self.items[index]

    def to_dict(self) -> dict[str, list[dict[str, object]]]:
        """The transitions as plain values, ready for JSON."""
        return {"transitions": [linked.to_dict() for linked in self.items]}


def link(by_scale: Sequence[Transitions | None], n_beta: Array) -> tuple[LinkedTransition, ...]:
    """Link transitions of neighbouring scales, the closest pairs first; each transition is in one link.

    Args:
        by_scale: What was found at each scale, or None.
        n_beta: nβ of each scale, shape `(scales,)`.

    Returns:
        The linked transitions, ordered by location.
    """
    finished: list[list[tuple[float, Transition]]] = []
    growing: list[list[tuple[float, Transition]]] = []
    for scale, found in zip(n_beta.tolist(), by_scale, strict=True):
        candidates = found or ()
        pairs = sorted(
            (abs(np.log1p(linked[-1][1].location) - np.log1p(transition.location)), i, j)
            for i, linked in enumerate(growing)
            for j, transition in enumerate(candidates)
            if _continues(linked[-1][1], transition)
        )
        successor: dict[int, int] = {}
        for _, i, j in pairs:
            if i not in successor and j not in successor.values():
                successor[i] = j
        finished += [linked for i, linked in enumerate(growing) if i not in successor]
        longer = [[*growing[i], (scale, candidates[j])] for i, j in successor.items()]
        new = [[(scale, t)] for j, t in enumerate(candidates) if j not in successor.values()]
        growing = longer + new
    links = [LinkedTransition(*zip(*linked, strict=True)) for linked in finished + growing]
    return tuple(sorted(links, key=lambda linked: linked.location))


def _continues(one: Transition, other: Transition) -> bool:
    """Whether two transitions go the same way, and each is steepest inside the other."""
    inside = one.start <= other.location <= one.end and other.start <= one.location <= other.end
    return inside and (one.delta_llc > 0) == (other.delta_llc > 0)
