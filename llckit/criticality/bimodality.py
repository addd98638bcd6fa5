"""Bimodality of an order parameter over repeated runs, and whether it says that two phases coexist."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from llckit.criticality.curves import Array
from llckit.errors import InputError

__all__ = ["DEEPENING", "BimodalityPeaks", "bimodality", "bimodality_peaks"]

MIN_RUNS = 10  # of 4, two pairs by chance have an error near 0: first-order in 1 of 15 continuous cases
MIN_SIZES = 3
UNIFORM = 5 / 9
DEEPENING = 0.25  # least exponent of what falls as 1/N at coexistence and stays at a critical point
TWO_ERRORS = 2.0
EDGE = 0.1  # of the range of the order parameter at either end, where one phase has nearly all the weight
ROUNDING = 1e-12  # of 1 - BC where every run has one of two values, and of runs that agree


def bimodality(values: ArrayLike) -> tuple[Array, Array]:
    """Sarle's bimodality coefficient over runs, with its jackknife error.

        BC = (skewness² + 1) / kurtosis,    kurtosis = m_4/m_2²,

    at most 1 (Pearson), which two values of any weights reach; 5/9 for a uniform and 1/3 for a Gaussian distribution
    (Sarle, in the SAS/STAT User's Guide; Ellison, Am. J. Bot. 74, 1280, 1987). Over few runs it is too high, over R
    Gaussian ones on average by 8/(3R) to first order: 0.46 at R = 20. The standard error is that of the jackknife
    (Efron, Ann. Stat. 7, 1, 1979): one run far from all others makes the coefficient high and its error large.

    Meant for order parameters without a sign (|m|, an accuracy): with both signs of m an ordered phase has two peaks.

    Args:
        values: Order parameter of independent runs, shape (runs,) or (runs, controls).

    Returns:
        Coefficient and standard error, shape () or (controls,). Both NaN where all runs agree, or all but one: no
        distribution is known there, and NaN counts as not measured.

    Raises:
        InputError: Fewer than 10 runs (of which the error is no guide), another shape, or values that are not finite.
    """
    runs = np.asarray(values)
    if runs.ndim not in (1, 2) or not runs.size or runs.dtype.kind not in "iuf":
        raise InputError(
            f"values has shape {runs.shape} and type {runs.dtype}, expected numbers of shape (runs,) or (runs, "
            "controls)."
        )
    if len(runs) < MIN_RUNS:
        raise InputError(f"values has {len(runs)} runs, expected at least {MIN_RUNS}: repeat the run with other seeds.")
    if not np.isfinite(runs).all():
        raise InputError("values has entries that are not finite: drop those runs at all controls.")
    runs = np.sort(runs.astype(np.float64), axis=0)
    # The range left without one run is smallest without the lowest or the highest.
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
    # Where an end is left out the range may shrink to where these differences are rounding.
    without[0], without[-1] = _coefficient(runs[1:]), _coefficient(runs[:-1])
    return without


def _coefficient(runs: Array) -> Array:
    z = _scaled(runs)
    return _ratio(*((z**k).mean(axis=0) for k in (2, 3, 4)))


def _scaled(runs: Array) -> Array:
    """Sorted runs about their mean in units of the range: no power of a small range underflows."""
    z = (runs - runs[0]) / (runs[-1] - runs[0])
    return z - z.mean(axis=0)


def _ratio(two: Array, three: Array, four: Array) -> Array:
    return np.minimum((three**2 / two + two**2) / four, 1.0)


@dataclass(frozen=True)
class BimodalityPeaks:
    """The most bimodal control of each size: that of the highest coefficient less 3 standard errors.

    Not that of the highest coefficient: among few runs, one far from the others makes a high one.

    Attributes:
        log_size: ln size, ascending, shape (sizes,).
        value: Bimodality coefficient BC, shape (sizes,).
        se: Its standard error, 0 where none was given, shape (sizes,).
        known_se: Whether standard errors were given.
    """

    log_size: Array
    value: Array
    se: Array
    known_se: bool

    def coexistence(self) -> str:
        """Why two phases coexist, or nothing: BC above 5/9 at the largest size, and 1 - BC falling with the size.

        Two phases at a fixed distance with widths² ~ 1/N have 1 - BC ~ 1/N whatever their weights; at a critical
        point BC is one number for all sizes. That the gap between two peaks deepens with the size only where phases
        coexist is the test of Lee and Kosterlitz (Phys. Rev. Lett. 65, 137, 1990).

        Returns:
            The reason.
        """
        if len(self.value) < MIN_SIZES or self.value[-1] - 3 * self.se[-1] <= UNIFORM:
            return ""
        rest = np.maximum(1 - self.value, ROUNDING)
        x = self.log_size - self.log_size.mean()
        slope = -x @ np.log(rest) / (x @ x)
        scatter = np.log(rest) - np.log(rest).mean() + slope * x
        # Without standard errors the scatter about the line serves.
        error = self.se / rest if self.known_se else np.sqrt(scatter @ scatter / (len(x) - 2))
        slope_se = np.sqrt((x**2 * error**2).sum()) / (x @ x)
        sure = TWO_ERRORS if self.known_se else stats.t.ppf(stats.norm.cdf(TWO_ERRORS), len(x) - 2)
        if slope - sure * slope_se < DEEPENING:
            return ""
        return (
            f"The bimodality of the order parameter reaches {self.value[-1]:.3g} at the largest size and what it lacks "
            f"to 1 falls as N^-{slope:.2f}: two phases."
        )


def bimodality_peaks(
    size: Array, value: Array, se: Array | None, order_parameter: Array | None = None
) -> BimodalityPeaks | None:
    """The most bimodal control of each size, of those where the order parameter is between 10 and 90 % of its range.

    The coefficient does not know how far apart two peaks are. Off the transition a single run that has not changed
    phase has two, and so have accuracies that are 1 or one sample short of it.

    Args:
        size: Volumes, shape (n,).
        value: Coefficients as of `bimodality`, NaN where not measured, shape (n,).
        se: Their standard errors, 0 or more, shape (n,); what has none is left out. None for no standard errors.
        order_parameter: Mean of the order parameter, NaN where not measured, shape (n,). None for all controls.

    Returns:
        The peaks, or None where nothing was measured.

    Raises:
        InputError: Values are no bimodality coefficients, or an error is negative.
    """
    error = np.zeros(len(value)) if se is None else se
    known = np.isfinite(value) & np.isfinite(error)
    wrong = known & ((value <= 0) | (value > 1 + ROUNDING))
    if wrong.any():
        raise InputError(
            f"bimodality has the entry {value[wrong][0]:g}, expected coefficients (skewness² + 1)/kurtosis, above 0 "
            "and at most 1: take them from llckit.criticality.bimodality."
        )
    if (error < 0).any():
        raise InputError(f"se['bimodality'] has the entry {np.nanmin(error):g}, expected 0 or more.")
    if order_parameter is not None and np.isfinite(order_parameter).any():
        low, high = np.nanmin(order_parameter), np.nanmax(order_parameter)
        known &= np.abs(order_parameter - (low + high) / 2) <= (0.5 - EDGE) * (high - low)
    if not known.any():
        return None
    size, value, error = size[known], value[known], error[known]
    sizes = np.unique(size)
    at = [np.flatnonzero(size == one)[(value - 3 * error)[size == one].argmax()] for one in sizes]
    return BimodalityPeaks(np.log(sizes), value[at], error[at], se is not None)
