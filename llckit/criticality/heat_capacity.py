"""Thermodynamics of the LLC: energy and heat capacity over a ladder of nβ, and the peak that two basins make."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from llckit.errors import InputError

__all__ = ["HeatPeak", "Thermodynamics", "thermodynamics", "thermodynamics_from_moments"]

Array = NDArray[np.float64]

BATCHES = 20  # in all chains together: fewer leave the error itself too uncertain
MIN_BATCH = 5  # draws
FALSE_ALARM = 0.025  # one-sided, for the whole ladder
RESAMPLES = 2000


@dataclass(frozen=True)
class HeatPeak:
    """Where the heat capacity exceeds the energy, that is λ̂.

    Attributes:
        n_beta: Where the heat capacity is largest: the vertex of the parabola, ln C against ln nβ, through the
            highest of `rungs` and its neighbours.
        n_beta_interval: Central 95 % interval from resampled heat capacities, reaching at least half way to the rungs
            on both sides, since the curve between rungs is not known; open (0 or infinity) on a side on which the
            ladder ends.
        heat_capacity: The highest heat capacity among `rungs`.
        excess: Heat capacity minus energy there.
        excess_se: Standard error of `excess`.
        rungs: The nβ at which the heat capacity exceeds the energy significantly.
    """

    n_beta: float
    n_beta_interval: tuple[float, float]
    heat_capacity: float
    excess: float
    excess_se: float
    rungs: tuple[float, ...]


@dataclass(frozen=True)
class Thermodynamics:
    """Energy and heat capacity at a ladder of nβ; arrays of shape (scales,).

    Attributes:
        n_beta: nβ, ascending.
        energy: nβ (E[L] - L*), which is λ̂.
        energy_se: Standard error of `energy`.
        heat_capacity: Var[nβ L].
        heat_capacity_se: Standard error of `heat_capacity`.
        effective_dimension: d_eff = 2 λ̂: the number of quadratic degrees of freedom that hold as much energy
            (equipartition gives each one half). A reading of λ̂, not a count of parameters.
        effective_dimension_se: Standard error of `effective_dimension`.
        excess: Heat capacity minus energy: -∂λ̂/∂ln nβ; 0 in one quasi-homogeneous basin.
        excess_se: Standard error of `excess`.
        peak: Where the heat capacity exceeds the energy significantly; None where it does nowhere.
    """

    n_beta: Array
    energy: Array
    energy_se: Array
    heat_capacity: Array
    heat_capacity_se: Array
    effective_dimension: Array
    effective_dimension_se: Array
    excess: Array
    excess_se: Array
    peak: HeatPeak | None

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON; an open end of an interval is None."""
        plain = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vars(self).items()}
        if self.peak is not None:
            ends = [end if 0 < end < math.inf else None for end in self.peak.n_beta_interval]
            plain["peak"] = asdict(self.peak) | {"n_beta_interval": ends, "rungs": list(self.peak.rungs)}
        return plain


def thermodynamics(n_beta: ArrayLike, excess: Sequence[ArrayLike] | ArrayLike, *, seed: int = 0) -> Thermodynamics:
    """Energy and heat capacity from draws at each nβ.

    With `e = nβ (L(w) - L(w*))`, energy = E[e] and heat capacity = Var[e] over all draws of all chains. Under a
    quasi-homogeneous potential e ~ Gamma(λ, 1), so both are λ (Watanabe 2009); in general

        ∂ energy/∂ln nβ = energy - heat capacity,

    so a heat capacity above the energy says that λ̂ falls with nβ. Two basins do that with a peak near the nβ at which
    their weights are equal (`two_basins`), of height (nβ ΔL + Δλ)²/4; a basin whose floor is flatter than its walls
    does it too, but only by the order of the change of λ. A localiser, a multiplicity above 1, or floors steeper than
    the walls put the heat capacity below the energy. Chains that never cross between basins show no peak: its absence
    says something about the chains as well.

    Standard errors are those of the jackknife over batches of successive draws, 20 or more in all: whole chains where
    there are so many, otherwise equal parts of each. Batches take autocorrelation into account as long as they are
    longer than it; with few chains, chains that disagree raise the error to that of the chains' own spread.

    Args:
        n_beta: nβ of each rung, positive, each once, shape (scales,).
        excess: For each rung nβ (L(w) - L(w*)), shape (draws, chains); the rungs may differ in draws and chains.
            w* should be the lowest minimum: a lower one at ΔL < 0 shifts the energy, not the heat capacity, by nβ ΔL.
        seed: Seed of the interval of the peak.

    Returns:
        Energy, heat capacity and d_eff with their errors, and the peak if there is one.

    Raises:
        InputError: The ladder or the draws are unusable.
    """
    ladder = _ladder(n_beta)
    rungs = list(excess if isinstance(excess, Sequence) else np.atleast_1d(np.asarray(excess)))
    if len(rungs) != len(ladder):
        raise InputError(f"n_beta has {len(ladder)} rungs and excess {len(rungs)}; expected one array of draws a rung.")
    moments = np.array([_moments(*one) for one in zip(ladder, rungs, strict=True)])
    return _assemble(ladder, moments, seed)


def thermodynamics_from_moments(
    n_beta: ArrayLike,
    mean: ArrayLike,
    mean_se: ArrayLike,
    variance: ArrayLike,
    variance_se: ArrayLike,
    *,
    seed: int = 0,
) -> Thermodynamics:
    """The same from estimates that were already made, their errors taken as independent (see `thermodynamics`).

    Args:
        n_beta: nβ of each rung, positive, each once, shape (scales,).
        mean: λ̂ = E[nβ (L - L*)], shape (scales,).
        mean_se: Its standard error, positive.
        variance: Var[nβ L], positive.
        variance_se: Its standard error, positive.
        seed: Seed of the interval of the peak.

    Returns:
        As `thermodynamics`.

    Raises:
        InputError: The ladder or the moments are unusable.
    """
    ladder = _ladder(n_beta)
    given = {"mean": mean, "mean_se": mean_se, "variance": variance, "variance_se": variance_se}
    moments = []
    for name, values in given.items():
        array = np.asarray(values)
        if array.shape != ladder.shape or array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise InputError(f"{name} is {values!r}, expected {len(ladder)} finite numbers, one for each nβ.")
        if name != "mean" and not (array > 0).all():
            raise InputError(f"{name} has the entry {array.min():g}, expected positive numbers.")
        moments.append(array.astype(np.float64))
    level, level_se, spread, spread_se = moments
    moments += [spread - level, np.hypot(level_se, spread_se)]
    return _assemble(ladder, np.stack(moments, axis=1), seed)


def _assemble(ladder: Array, moments: Array, seed: int) -> Thermodynamics:
    """The thermodynamics from what `_moments` gives for each rung, shape (scales, 6)."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    order = np.argsort(ladder)
    ladder, (energy, energy_se, heat, heat_se, excess, excess_se) = ladder[order], moments[order].T
    return Thermodynamics(
        n_beta=ladder,
        energy=energy,
        energy_se=energy_se,
        heat_capacity=heat,
        heat_capacity_se=heat_se,
        effective_dimension=2 * energy,
        effective_dimension_se=2 * energy_se,
        excess=excess,
        excess_se=excess_se,
        peak=_peak(ladder, heat, heat_se, excess, excess_se, seed),
    )


def _moments(n_beta: float, draws: ArrayLike) -> tuple[float, ...]:
    """Mean, variance and their difference, each with its standard error."""
    array = np.asarray(draws)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise InputError(f"The draws at nβ = {n_beta:g} have shape {array.shape}, expected (draws, chains) of numbers.")
    count, chains = array.shape
    parts = max(1, math.ceil(BATCHES / chains)) if chains else 1
    length = count // parts
    if length < MIN_BATCH or not chains:
        raise InputError(
            f"There are {count} draws of {chains} chain(s) at nβ = {n_beta:g}, expected at least {MIN_BATCH * parts} "
            "of each chain: draw more."
        )
    if not np.isfinite(array).all():
        raise InputError(f"Draws at nβ = {n_beta:g} are not finite: that rung diverged, leave it out.")
    if np.ptp(array) == 0:
        raise InputError(f"All draws at nβ = {n_beta:g} are {array[0, 0]:g}: the chains did not move.")
    draws_ = array.astype(np.float64)
    # What does not fill a batch is left out at the start, where the chains remember most of w*.
    batches = draws_[count - parts * length :].reshape(parts, length, chains)
    se = _jackknife(batches.transpose(0, 2, 1).reshape(parts * chains, length))
    if parts > 1 and chains > 1:
        se = np.maximum(se, _jackknife(batches.reshape(parts * length, chains).T))
    mean, variance = draws_.mean(), draws_.var(ddof=1)
    return mean, se[0], variance, se[1], variance - mean, se[2]


def _jackknife(batches: Array) -> Array:
    """Standard errors of mean, variance and variance - mean, shape (3,), of equal batches, shape (batches, draws)."""
    centred = batches - batches.mean()
    count = len(batches) - 1
    first, second = centred.mean(axis=1), (centred**2).mean(axis=1)
    mean = (first.sum() - first) / count
    variance = (second.sum() - second) / count - mean**2
    replicates = np.stack([mean, variance, variance - mean])
    return np.sqrt(count * replicates.var(axis=1))


def _peak(ladder: Array, heat: Array, heat_se: Array, excess: Array, excess_se: Array, seed: int) -> HeatPeak | None:
    significant = excess > norm.isf(FALSE_ALARM / len(ladder)) * excess_se
    if not significant.any():
        return None
    x = np.log(ladder)
    scatter = np.random.default_rng(seed).standard_normal((RESAMPLES, len(ladder))) * (heat_se / heat)
    # Next to the significant rungs may lie others as high, of larger errors: the peak may be theirs.
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
    """The highest place of the parabola through the highest rung `among` those allowed and its neighbours."""
    top = int(np.where(among, y, -np.inf).argmax())
    if top in (0, len(x) - 1) or y[top] <= max(y[top - 1], y[top + 1]):
        return float(x[top]), top
    left, right = x[top - 1] - x[top], x[top + 1] - x[top]
    rise, fall = (y[top - 1] - y[top]) / left, (y[top + 1] - y[top]) / right
    vertex = (rise * right - fall * left) / (2 * (rise - fall))
    return float(x[top] + np.clip(vertex, left / 2, right / 2)), top


def _ladder(n_beta: ArrayLike) -> Array:
    ladder = np.asarray(n_beta)
    if ladder.ndim != 1 or ladder.size == 0 or ladder.dtype.kind not in "iuf":
        raise InputError(f"n_beta is {n_beta!r}, expected a list of positive numbers.")
    if not (np.isfinite(ladder) & (ladder > 0)).all() or len(np.unique(ladder)) < len(ladder):
        raise InputError(f"n_beta is {ladder.tolist()}, expected positive numbers, each once.")
    return ladder.astype(np.float64)
