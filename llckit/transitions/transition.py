"""A transition, what moves along with it, and all transitions of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.crossover import Crossover, crossover_samples

__all__ = ["Kind", "Move", "Transition", "Transitions"]

Array = NDArray[np.float64]
Kind = Literal["A", "B", "unclassified"]


@dataclass(frozen=True)
class Move:
    """What an observable does during a transition. Steps are on the scale of the input.

    Attributes:
        name: Name of the observable; "loss" is the loss of the curve.
        start: Step at which the move begins.
        end: Step at which the move ends.
        location: Step at which the observable is steepest.
        location_interval: Low and high of `location`, central 90 %.
        delta: Change of the smoothed observable from start to end.
        leads: Probability that the observable is steepest before λ̂ is.
    """

    name: str
    start: float
    end: float
    location: float
    location_interval: tuple[float, float]
    delta: float
    leads: float


@dataclass(frozen=True)
class Transition:
    """A stage of a run in which λ̂ changes, with its type. Steps are on the input's scale; intervals are central 90 %.

    A jump between two checkpoints starts at the one and ends at the other. Nobody saw where between them it happened,
    so its intervals are the whole gap, and its location is the middle.

    Attributes:
        start: Step at which the transition begins.
        end: Step at which the transition ends.
        start_interval: Low and high of `start`; both equal to it at the start of the run.
        end_interval: Low and high of `end`; both equal to it at the end of the run.
        kind: Type: "A" (complexity up, loss down or flat), "B" (complexity down, loss flat) or "unclassified".
        delta_loss: Change of the smoothed loss from start to end.
        delta_loss_se: Posterior standard deviation of `delta_loss`.
        delta_llc: Change of the smoothed λ̂ from start to end.
        delta_llc_se: Posterior standard deviation of `delta_llc`.
        probability: Posterior probability that λ̂ and the loss change as `kind` says.
        hidden: Whether the loss alone does not show the transition.
        location: Step at which |dλ̂/d ln(step + 1)| is largest, or |dλ̂/dstep| on a linear axis.
        location_interval: Low and high of `location`, as it scatters if the noise is drawn again.
        moves: What else moves during the transition, the earliest first.
    """

    start: float
    end: float
    start_interval: tuple[float, float]
    end_interval: tuple[float, float]
    kind: Kind
    delta_loss: float
    delta_loss_se: float
    delta_llc: float
    delta_llc_se: float
    probability: float
    hidden: bool
    location: float
    location_interval: tuple[float, float]
    moves: tuple[Move, ...] = ()

    def crossover(self) -> Crossover:
        """The number of samples at which the end of the transition comes to have a lower free energy than its start.

        There n ΔL + Δλ ln n changes sign (`llckit.crossover_samples`), with ΔL and Δλ of this transition and their
        standard errors.

        Returns:
            The case, the number of samples, and how certain they are.
        """
        return crossover_samples(
            self.delta_loss, self.delta_llc, delta_loss_se=self.delta_loss_se, delta_llc_se=self.delta_llc_se
        )


@dataclass(frozen=True, eq=False)
class Transitions(Sequence[Transition]):
    """The transitions of a run in order, a read-only sequence, with the smooth in which they were found.

    Attributes:
        items: The transitions.
        step: Steps of the smooth, evenly spaced in ln(step + 1) or in the step, shape `(grid,)`.
        llc: Smoothed λ̂, shape `(grid,)`.
        llc_interval: Low and high of λ̂, central 95 %, shape `(2, grid)`; it includes the given standard errors.
        loss: Smoothed loss, shape `(grid,)`.
    """

    items: tuple[Transition, ...]
    step: Array
    llc: Array
    llc_interval: Array
    loss: Array

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Transition]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Transition: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Transition, ...]: ...
    def __getitem__(self, index: int | slice) -> Transition | tuple[Transition, ...]:
        return self.items[index]

    def to_dict(self) -> dict[str, list[dict[str, object]]]:
        """The transitions as plain values, ready for `json.dump`.

        Returns:
            `{"transitions": [...]}`, one dictionary per transition with its attribute names as keys.
        """
        return {"transitions": [asdict(transition) for transition in self.items]}
