"""A stage of one smoothed curve, and what a change has to be to make one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHANGE_SIGMAS", "EDGE_SHARE", "LEAST_CHANGE", "Place", "Stage"]

Array = NDArray[np.float64]

CHANGE_SIGMAS = 4.0  # posterior standard deviations of a change, to be multiplied by a caution (`caution_for`)
LEAST_CHANGE = 0.01  # of the range of the curve
EDGE_SHARE = 0.15  # of the steepest slope of a stage, at its ends


@dataclass(frozen=True)
class Place:
    """A place on the x axis and its central 90 % interval.

    Attributes:
        x: The place.
        low: Low end of the interval.
        high: High end of the interval.
    """

    x: float
    low: float
    high: float

    @classmethod
    def of(cls, draws: Array, known: float | None = None) -> "Place":
        """The median of draws, or a place that is known, and their central 90 %."""
        low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
        x = middle if known is None else known
        return cls(float(x), float(min(low, x)), float(max(high, x)))


@dataclass(frozen=True)
class Stage:
    """A stage in which a curve moves.

    Attributes:
        start: Where the stage begins.
        end: Where the stage ends.
        steepest: Where the absolute slope is largest.
        steepest_draws: Where the absolute slope is largest if the noise is drawn again, shape `(draws,)`.
        first: Index of the grid point next to `start`.
        last: Index of the grid point next to `end`.
    """

    start: Place
    end: Place
    steepest: Place
    steepest_draws: Array
    first: int
    last: int
