"""Thermodynamics of the LLC: energy and heat capacity over a ladder of nβ."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_seed
from llckit.criticality.arrays import Array, check_numbers, check_positive_entries
from llckit.criticality.thermodynamics.heat_peak import HeatPeak, heat_peak
from llckit.errors import InputError

__all__ = ["Thermodynamics", "thermodynamics", "thermodynamics_from_moments"]

BATCHES = 20  # in all chains together: with fewer, the error itself is too uncertain
FEWEST_DRAWS = 5  # in a batch


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
            (equipartition gives each one half). It is a reading of λ̂, not a count of parameters.
        effective_dimension_se: Standard error of `effective_dimension`.
        excess: Heat capacity minus energy, -∂λ̂/∂ln nβ; it is 0 in one quasi-homogeneous basin.
        excess_se: Standard error of `excess`.
        peak: Where the heat capacity exceeds the energy significantly; None if it does so nowhere.
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

    def to_dict(self) -> dict[str, object]:
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

    so λ̂ falls with nβ where the heat capacity exceeds the energy. Two basins make such a peak near the nβ at which
    their weights are equal (`two_basins`); its height is (nβ ΔL + Δλ)²/4. Chains that never cross between basins show
    no peak, so its absence says something about the chains as well. What else moves the heat capacity, and how its
    errors are found: docs/notes/heat_capacity.md.

    Args:
        n_beta: nβ of each rung, positive, each once, shape (scales,).
        excess: For each rung nβ (L(w) - L(w*)), shape (draws, chains); the rungs may differ in draws and chains.
            w* should be the lowest minimum: a lower one at ΔL < 0 shifts the energy by nβ ΔL, not the heat capacity.
        seed: Seed of the interval of the peak.

    Returns:
        Energy, heat capacity and d_eff with their errors, and the peak if there is one.

    Raises:
        InputError: The ladder or the draws are unusable.
    """
    ladder = _ladder(n_beta)
    rungs = list(excess if isinstance(excess, Sequence) else np.atleast_1d(np.asarray(excess)))
    if len(rungs) != len(ladder):
        raise InputError(f"excess has {len(rungs)} entries; expected {len(ladder)}, one array of draws for each n_beta")
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
    """What `thermodynamics` gives, from estimates instead of draws; their errors are taken as independent.

    Args:
        n_beta: nβ of each rung, positive, each once, shape (scales,).
        mean: λ̂ = E[nβ (L - L*)], shape (scales,).
        mean_se: Standard error of the mean, positive, shape (scales,).
        variance: Var[nβ L], positive, shape (scales,).
        variance_se: Standard error of the variance, positive, shape (scales,).
        seed: Seed of the interval of the peak.

    Returns:
        Energy, heat capacity and d_eff with their errors, and the peak if there is one.

    Raises:
        InputError: The ladder or the moments are unusable.
    """
    ladder = _ladder(n_beta)
    given = {"mean": mean, "mean_se": mean_se, "variance": variance, "variance_se": variance_se}
    moments = []
    for name, values in given.items():
        array = check_numbers(name, values)
        if array.shape != ladder.shape:
            raise InputError(f"{name} has {len(array)} entries; expected {len(ladder)}, one for each n_beta")
        if name != "mean":
            check_positive_entries(name, array)
        moments.append(array)
    level, level_se, spread, spread_se = moments
    moments += [spread - level, np.hypot(level_se, spread_se)]
    return _assemble(ladder, np.stack(moments, axis=1), seed)


def _assemble(ladder: Array, moments: Array, seed: int) -> Thermodynamics:
    """The result from what `_moments` gives for each rung, shape (scales, 6)."""
    check_seed(seed)
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
        peak=heat_peak(ladder, heat, heat_se, excess, excess_se, seed),
    )


def _moments(n_beta: float, draws: ArrayLike) -> tuple[float, ...]:
    """Mean, variance, and variance minus mean of the draws, each followed by its standard error."""
    array = np.asarray(draws)
    if array.ndim != 2 or array.dtype.kind not in "iuf":
        raise InputError(
            f"excess at n_beta = {n_beta:g} has shape {array.shape} and type {array.dtype}; expected numbers of shape "
            "(draws, chains)"
        )
    count, chains = array.shape
    parts = max(1, math.ceil(BATCHES / chains)) if chains else 1
    length = count // parts
    if length < FEWEST_DRAWS or not chains:
        raise InputError(
            f"excess at n_beta = {n_beta:g} has {count} draws of {chains} chain(s); expected at least "
            f"{FEWEST_DRAWS * parts} of each chain; draw more"
        )
    if not np.isfinite(array).all():
        raise InputError(
            f"excess at n_beta = {n_beta:g} has the entry {array[~np.isfinite(array)][0]}; expected finite numbers; "
            "that rung diverged, leave it out"
        )
    if np.ptp(array) == 0:
        raise InputError(f"excess at n_beta = {n_beta:g} is {array[0, 0]:g} throughout; expected chains that move")
    numbers = array.astype(np.float64)
    # Draws that do not fill a batch are left out at the start, where the chains remember most of w*.
    batches = numbers[count - parts * length :].reshape(parts, length, chains)
    se = _jackknife(batches.transpose(0, 2, 1).reshape(parts * chains, length))
    if parts > 1 and chains > 1:
        se = np.maximum(se, _jackknife(batches.reshape(parts * length, chains).T))
    mean, variance = numbers.mean(), numbers.var(ddof=1)
    return mean, se[0], variance, se[1], variance - mean, se[2]


def _jackknife(batches: Array) -> Array:
    """Standard errors of mean, variance and variance - mean, shape (3,), from batches, shape (batches, draws)."""
    centred = batches - batches.mean()
    count = len(batches) - 1
    first, second = centred.mean(axis=1), (centred**2).mean(axis=1)
    mean = (first.sum() - first) / count
    variance = (second.sum() - second) / count - mean**2
    replicates = np.stack([mean, variance, variance - mean])
    return np.sqrt(count * replicates.var(axis=1))


def _ladder(n_beta: ArrayLike) -> Array:
    ladder = check_numbers("n_beta", n_beta)
    check_positive_entries("n_beta", ladder)
    if len(np.unique(ladder)) < len(ladder):
        raise InputError(f"n_beta is {ladder.tolist()}; expected each number once")
    return ladder
