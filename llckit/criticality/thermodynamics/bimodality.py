"""Sarle's bimodality coefficient of an order parameter over repeated runs."""

import numpy as np
from numpy.typing import ArrayLike

from llckit.criticality.arrays import Array
from llckit.errors import InputError

__all__ = ["ROUNDING", "bimodality"]

FEWEST_RUNS = 10  # of 4, two pairs by chance have an error near 0: first-order in 1 of 15 continuous cases
ROUNDING = 1e-12  # of 1 - BC if every run has one of two values, and of runs that agree


def bimodality(values: ArrayLike) -> tuple[Array, Array]:
    """Sarle's bimodality coefficient over runs, with its jackknife error.

        BC = (skewness² + 1) / kurtosis,    kurtosis = m_4/m_2²

    (Sarle, in the SAS/STAT User's Guide; Ellison, Am. J. Bot. 74, 1280, 1987). BC is at most 1 (Pearson), which two
    values of any weights reach; it is 5/9 for a uniform and 1/3 for a Gaussian distribution. Over few runs it is too
    high: over R Gaussian runs on average by 8/(3R) to first order, 0.46 at R = 20. The standard error is that of the
        jackknife (Efron, Ann. Stat. 7, 1, 1979): one run far from all others makes both the coefficient and its error
        large.

    The coefficient is meant for order parameters without a sign (|m|, an accuracy): with both signs of m an ordered
    phase has two peaks.

    Args:
        values: Order parameter of independent runs, shape (runs,) or (runs, controls).

    Returns:
        Coefficient and standard error, each shape () or (controls,). Both are NaN if all runs agree, or all but one: no
        distribution is known there, and NaN counts as not measured.

    Raises:
        InputError: There are fewer than 10 runs, whose error says little; the shape is another; or values are not
            finite.
    """
    runs = np.asarray(values)
    if runs.ndim not in (1, 2) or not runs.size or runs.dtype.kind not in "iuf":
        raise InputError(
            f"values has shape {runs.shape} and type {runs.dtype}; expected numbers of shape (runs,) or (runs, "
            "controls)"
        )
    if len(runs) < FEWEST_RUNS:
        raise InputError(
            f"values has {len(runs)} runs; expected at least {FEWEST_RUNS}; repeat the run with other seeds"
        )
    if not np.isfinite(runs).all():
        wrong = runs[~np.isfinite(runs)][0]
        raise InputError(f"values has the entry {wrong}; expected finite numbers; drop that run at all controls")
    runs = np.sort(runs.astype(np.float64), axis=0)
    # Leaving out one run leaves the smallest range if that run is the lowest or the highest.
    known = np.minimum(runs[-2] - runs[0], runs[-1] - runs[1]) > ROUNDING * np.abs(runs).max(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt((len(runs) - 1) * _left_out(runs).var(axis=0))
        return np.where(known, _coefficient(runs), np.nan), np.where(known, se, np.nan)


def _left_out(runs: Array) -> Array:
    """The coefficient without each of the sorted runs, shape (runs, ...)."""
    z = _scaled(runs)
    powers = np.stack([z, z**2, z**3, z**4])
    one, two, three, four = (powers.sum(axis=1, keepdims=True) - powers) / (len(runs) - 1)
    without = _ratio(
        two - one**2, three - 3 * one * two + 2 * one**3, four - one * (4 * three - 6 * one * two + 3 * one**3)
    )
    # Without the lowest or the highest run the range may be so small that these differences are rounding.
    without[0], without[-1] = _coefficient(runs[1:]), _coefficient(runs[:-1])
    return without


def _coefficient(runs: Array) -> Array:
    """BC of sorted runs, shape (...)."""
    z = _scaled(runs)
    return _ratio(*((z**k).mean(axis=0) for k in (2, 3, 4)))


def _scaled(runs: Array) -> Array:
    """Sorted runs minus their mean, in units of their range, so that no power of a small range underflows."""
    z = (runs - runs[0]) / (runs[-1] - runs[0])
    return z - z.mean(axis=0)


def _ratio(two: Array, three: Array, four: Array) -> Array:
    """BC of the central moments."""
    return np.minimum((three**2 / two + two**2) / four, 1.0)
