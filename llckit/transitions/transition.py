"""What is known about a transition, and about all transitions of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.free_energy import Crossover, crossover_samples

__all__ = ["Move", "Transition", "Transitions"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Move:
    """What an observable does during a transition. Steps are on the scale of the input.

    Attributes:
        name: Of the observable; "loss" is the loss of the curve.
        start: Step at which its move begins.
        end: Step at which it ends.
        location: Step at which it is steepest.
        location_interval: Low and high of `location`, 90 %.
        delta: Change of the smoothed observable from start to end.
        leads: Probability that it is steepest before λ̂ is.
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
    """One stage of a run in which λ̂ changes. Steps are on the scale of the input; intervals are central 90 %.

    Attributes:
        start: Step at which it begins.
        end: Step at which it ends.
        start_interval: Low and high of `start`; both equal to it at the start of the run.
        end_interval: Low and high of `end`; both equal to it at the end of the run.
        kind: "A" (complexity up, loss down or flat), "B" (complexity down, loss flat) or "unclassified".
        delta_loss: Change of the smoothed loss from start to end.
        delta_loss_se: Its posterior standard deviation.
        delta_llc: Change of the smoothed λ̂ from start to end.
        delta_llc_se: Its posterior standard deviation.
        probability: Posterior probability that λ̂ and the loss change as `kind` says.
        hidden: Whether the loss alone does not tell of the stage.
        location: Step at which |dλ̂/d ln(step + 1)| is largest, or |dλ̂/dstep| on a linear scale.
        location_interval: Low and high of `location`: where it scatters if the noise is drawn again.
        moves: What else moves, the earliest first.
    """

    start: float
    end: float
    start_interval: tuple[float, float]
    end_interval: tuple[float, float]
    kind: Literal["A", "B", "unclassified"]
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
        """The number of samples at which the end of the stage comes to have a lower free energy than its start.

        That is where n ΔL + Δλ ln n changes sign, as `llckit.transitions.crossover_samples` says, with ΔL and Δλ of
        this stage and their standard errors.

        Returns:
            The case, the number of samples, and how certain they are.
        """
        return crossover_samples(
            self.delta_loss, self.delta_llc, delta_loss_se=self.delta_loss_se, delta_llc_se=self.delta_llc_se
        )


@dataclass(frozen=True, eq=False)
class Transitions(Sequence[Transition]):
    """The transitions of a run in order, a read-only sequence, with the smooth they were read from.

    Attributes:
        items: The transitions.
        step: Steps of the smooth, even in ln(step + 1) or in the step, shape `(grid,)`.
        llc: Smoothed λ̂, shape `(grid,)`.
        llc_interval: Low and high of λ̂, 95 %, shape `(2, grid)`; includes the given standard errors.
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

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """The transitions as plain values, ready for `json.dump`.

        Returns:
            `{"transitions": [...]}`, one dictionary per transition with its attribute names as keys.
        """
        return {"transitions": [asdict(transition) for transition in self.items]}
