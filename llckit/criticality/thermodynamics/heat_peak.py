"""The peak of the heat capacity over a ladder of nβ: where it exceeds the energy, as two basins make it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from llckit.criticality.arrays import Array

__all__ = ["HeatPeak", "heat_peak"]

FALSE_ALARM = 0.025  # one-sided, for the whole ladder
RESAMPLES = 2000


@dataclass(frozen=True)
class HeatPeak:
    """Where the heat capacity exceeds the energy, which is λ̂.

    Attributes:
        n_beta: nβ at which the heat capacity is largest: the vertex of the parabola, ln C against ln nβ, through the
            highest of `rungs` and its neighbours.
        n_beta_interval: Central 95 % interval of `n_beta` from resampled heat capacities. It reaches at least half way
            to the rungs on both sides, since the curve between rungs is not known. It is open (0 or infinity) on a side
            on which the ladder ends.
        heat_capacity: The highest heat capacity among `rungs`.
        excess: Heat capacity minus energy at that rung.
        excess_se: Standard error of `excess`.
        rungs: All nβ at which the heat capacity exceeds the energy significantly.
    """

    n_beta: float
    n_beta_interval: tuple[float, float]
    heat_capacity: float
    excess: float
    excess_se: float
    rungs: tuple[float, ...]


def heat_peak(
    ladder: Array, heat: Array, heat_se: Array, excess: Array, excess_se: Array, seed: int
) -> HeatPeak | None:
    """The peak of the heat capacity, if there is one.

    Args:
        ladder: nβ, ascending, shape (scales,).
        heat: Heat capacities, shape (scales,).
        heat_se: Standard errors of the heat capacities, shape (scales,).
        excess: Heat capacities minus energies, shape (scales,).
        excess_se: Standard errors of the excesses, shape (scales,).
        seed: Seed of the resampling.

    Returns:
        The peak, or None if the heat capacity exceeds the energy significantly at no rung.
    """
    significant = excess > norm.isf(FALSE_ALARM / len(ladder)) * excess_se
    if not significant.any():
        return None
    x = np.log(ladder)
    scatter = np.random.default_rng(seed).standard_normal((RESAMPLES, len(ladder))) * (heat_se / heat)
    # Rungs next to the significant ones may be as high but have larger errors: the peak may be theirs.
    places = [_vertex(x, row, excess > 0)[0] for row in np.log(heat) + scatter]
    place, top = _vertex(x, np.log(heat), significant)
    low, high = np.exp(np.quantile(places, [0.025, 0.975]))
    low = 0.0 if top == 0 else min(low, math.exp((x[top - 1] + x[top]) / 2))
    high = math.inf if top == len(x) - 1 else max(high, math.exp((x[top] + x[top + 1]) / 2))
    return HeatPeak(
        n_beta=math.exp(place),
        n_beta_interval=(float(low), float(high)),
        heat_capacity=float(heat[top]),
        excess=float(excess[top]),
        excess_se=float(excess_se[top]),
        rungs=tuple(ladder[significant].tolist()),
    )


def _vertex(x: Array, y: Array, among: NDArray[np.bool_]) -> tuple[float, int]:
    """Vertex of the parabola through the highest of some rungs and its neighbours, and the index of that rung."""
    top = int(np.where(among, y, -np.inf).argmax())
    if top in (0, len(x) - 1) or y[top] <= max(y[top - 1], y[top + 1]):
        return float(x[top]), top
    left, right = x[top - 1] - x[top], x[top + 1] - x[top]
    rise, fall = (y[top - 1] - y[top]) / left, (y[top + 1] - y[top]) / right
    vertex = (rise * right - fall * left) / (2 * (rise - fall))
    return float(x[top] + np.clip(vertex, left / 2, right / 2)), top
