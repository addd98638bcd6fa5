"""Transitions at every scale of the loss: found one scale at a time, and linked where neighbouring scales agree.

At nβ the estimate sees what moves the loss by more than 1/nβ, so that a change of the model shows at some scales and
not at others. A transition of one scale continues one of the next if both go the same way and each is steepest inside
the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError
from llckit.transitions.detect import FALSE_BOUNDARIES, checked_bound, detect_transitions
from llckit.transitions.observations import MIN_CHECKPOINTS
from llckit.transitions.transition import Transition, Transitions

__all__ = ["LinkedTransition", "ScaleTransitions", "detect_across_scales"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinkedTransition:
    """One transition of a run, as it is seen at neighbouring scales.

    Attributes:
        n_beta: nβ of each scale at which it is seen, ascending.
        transitions: What is seen there, one a scale.
    """

    n_beta: tuple[float, ...]
    transitions: tuple[Transition, ...]

    @property
    def kind(self) -> Literal["A", "B", "unclassified"]:
        """The type at most of its scales; of equally many, the one with the greater probability."""
        kinds = [t.kind for t in self.transitions]
        best = max(self.transitions, key=lambda t: (kinds.count(t.kind), t.probability))
        return best.kind

    @property
    def location(self) -> float:
        """The median over its scales of where it is steepest."""
        return float(np.median([t.location for t in self.transitions]))

    @property
    def location_range(self) -> tuple[float, float]:
        """The first and the last of these places."""
        places = [t.location for t in self.transitions]
        return min(places), max(places)

    def to_dict(self) -> dict[str, Any]:
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
    """The transitions of a run over all scales, by where they happen; a read-only sequence.

    Attributes:
        items: The transitions.
        n_beta: All scales, shape `(scales,)`.
        by_scale: What was found at each; None where fewer than 8 checkpoints have an estimate.
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

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """The transitions as plain values, ready for JSON."""
        return {"transitions": [linked.to_dict() for linked in self.items]}


def detect_across_scales(
    spectrogram: Any = None,
    *,
    step: ArrayLike | None = None,
    loss: ArrayLike | None = None,
    llc: ArrayLike | None = None,
    n_beta: ArrayLike | None = None,
    llc_se: ArrayLike | None = None,
    axis: Literal["log", "linear"] = "log",
    false_boundaries: float = FALSE_BOUNDARIES,
) -> ScaleTransitions:
    """Find the transitions of a run at each of several scales, and which of them are the same.

    The same detector (`detect_transitions`) sees each scale; each is allowed its part of the false boundaries, so that
    the bound holds for all of them together.

    Args:
        spectrogram: What `llckit.estimate_curve` gives for several nβ; or None, and the arrays are given one by one.
        step: Training steps, shape `(steps,)`.
        loss: Loss at each, shape `(steps,)`.
        llc: λ̂, shape `(steps, scales)`; NaN is a gap.
        n_beta: nβ of each scale, ascending, shape `(scales,)`.
        llc_se: Standard error of each λ̂, shape `(steps, scales)`.
        axis: Whether to smooth over ln(step + 1) or over the step.
        false_boundaries: How many false boundaries all scales together may have on average in a run without any.

    Returns:
        The linked transitions, ordered by location.

    Raises:
        InputError: The arrays are no curves at several scales, or no scale has enough checkpoints.
    """
    chains = None
    if spectrogram is not None:
        if any(given is not None for given in (step, loss, llc, n_beta, llc_se)):
            raise InputError("Both a spectrogram and single arrays were given; give one or the other.")
        if np.ndim(getattr(spectrogram, "llc", 0.0)) != 2:
            raise InputError(
                f"The spectrogram is a {type(spectrogram).__name__}; expected what llckit.estimate_curve gives for "
                "several n_beta, or the arrays step=, loss=, llc=, n_beta=."
            )
        step, loss, n_beta = spectrogram.step, spectrogram.loss, spectrogram.n_beta
        llc = np.where(spectrogram.is_minimum, spectrogram.llc, np.nan)
        llc_se, chains = spectrogram.mcse, spectrogram.llc_per_chain
    steps, cells, scales = _ladder(step, llc, n_beta)
    errors = None if llc_se is None else np.asarray(llc_se, dtype=np.float64)
    if errors is not None and errors.shape != cells.shape:
        raise InputError(f"llc_se has shape {errors.shape}, llc {cells.shape}; give one error per cell.")
    bound = checked_bound(false_boundaries) / len(scales)

    def at(scale: int) -> Transitions | None:
        if len(np.unique(steps[np.isfinite(cells[:, scale])])) < MIN_CHECKPOINTS:
            return None
        return detect_transitions(
            step=steps,
            loss=loss,
            llc=cells[:, scale],
            llc_se=None if errors is None else errors[:, scale],
            llc_per_chain=None if chains is None else chains[:, scale],
            axis=axis,
            false_boundaries=bound,
        )

    by_scale = tuple(at(scale) for scale in range(len(scales)))
    if all(found is None for found in by_scale):
        raise InputError(f"No scale has {MIN_CHECKPOINTS} checkpoints with an estimate, which the detector needs.")
    return ScaleTransitions(_linked(by_scale, scales), scales, by_scale)


def _ladder(step: ArrayLike | None, llc: ArrayLike | None, n_beta: ArrayLike | None) -> tuple[Array, Array, Array]:
    try:
        steps, cells, scales = (np.asarray(given, dtype=np.float64) for given in (step, llc, n_beta))
    except (TypeError, ValueError) as error:
        raise InputError(f"step, llc and n_beta are no arrays of numbers: {error}") from error
    if cells.ndim != 2 or cells.shape != steps.shape + scales.shape:
        raise InputError(
            f"step, llc and n_beta have shapes {steps.shape}, {cells.shape} and {scales.shape}; expected (steps,), "
            "(steps, scales) and (scales,)."
        )
    if not ((scales > 0).all() and (np.diff(scales) > 0).all()):
        raise InputError(f"n_beta is {scales.tolist()}; expected positive scales in ascending order.")
    return steps, cells, scales


def _linked(by_scale: Sequence[Transitions | None], scales: Array) -> tuple[LinkedTransition, ...]:
    """Chains of transitions through neighbouring scales, the closest pairs first; each is in one chain."""
    finished: list[list[tuple[float, Transition]]] = []
    growing: list[list[tuple[float, Transition]]] = []
    for n_beta, found in zip(scales.tolist(), by_scale, strict=True):
        pairs = sorted(
            (abs(np.log1p(chain[-1][1].location) - np.log1p(transition.location)), i, j)
            for i, chain in enumerate(growing)
            for j, transition in enumerate(found or ())
            if _continues(chain[-1][1], transition)
        )
        after: dict[int, int] = {}
        for _, i, j in pairs:
            if i not in after and j not in after.values():
                after[i] = j
        finished += [chain for i, chain in enumerate(growing) if i not in after]
        longer = [[*growing[i], (n_beta, found[j])] for i, j in after.items() if found is not None]
        new = [[(n_beta, t)] for j, t in enumerate(found or ()) if j not in after.values()]
        growing = longer + new
    chains = [LinkedTransition(*zip(*chain, strict=True)) for chain in finished + growing]
    return tuple(sorted(chains, key=lambda linked: linked.location))


def _continues(one: Transition, other: Transition) -> bool:
    inside = one.start <= other.location <= one.end and other.start <= one.location <= other.end
    return inside and (one.delta_llc > 0) == (other.delta_llc > 0)
