"""The most bimodal control of each size, and whether it shows that two phases coexist."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from llckit.criticality.arrays import Array
from llckit.criticality.thermodynamics.bimodality import ROUNDING
from llckit.errors import InputError

__all__ = ["LEAST_FALL", "BimodalityPeaks", "Coexistence", "bimodality_peaks"]

FEWEST_SIZES = 3
UNIFORM = 5 / 9
LEAST_FALL = 0.25  # exponent of N: between 1, at which it falls in coexistence, and 0, as it stays at a critical point
TWO_ERRORS = 2.0
EDGE = 0.1  # share of the order parameter's range at either end, where one phase has nearly all the weight


class Coexistence(NamedTuple):
    """Two phases, as the bimodality over runs shows them.

    Attributes:
        bimodality: Coefficient BC at the largest size.
        fall: Exponent with which 1 - BC falls with the size, 1 - BC ~ N^-fall.
    """

    bimodality: float
    fall: float


@dataclass(frozen=True)
class BimodalityPeaks:
    """The most bimodal control of each size: the one with the highest coefficient minus 3 standard errors.

    It is not the one with the highest coefficient: among few runs, one far from the others makes a high one.

    Attributes:
        log_size: ln size, ascending, shape (sizes,).
        value: Bimodality coefficient BC, shape (sizes,).
        se: Standard error of BC, 0 if none was given, shape (sizes,).
        known_se: Whether standard errors were given.
    """

    log_size: Array
    value: Array
    se: Array
    known_se: bool

    def coexistence(self) -> Coexistence | None:
        """The sign of two phases: BC above 5/9 at the largest size, and 1 - BC falling with the size.

        Two phases at a fixed distance with widths² ~ 1/N have 1 - BC ~ 1/N whatever their weights; at a critical
        point BC is one number for all sizes. That the gap between two peaks deepens with the size only if phases
        coexist is the test of Lee and Kosterlitz (Phys. Rev. Lett. 65, 137, 1990).

        Returns:
            The sign, or None if the bimodality does not show two phases.
        """
        if len(self.value) < FEWEST_SIZES or self.value[-1] - 3 * self.se[-1] <= UNIFORM:
            return None
        rest = np.maximum(1 - self.value, ROUNDING)
        x = self.log_size - self.log_size.mean()
        slope = -x @ np.log(rest) / (x @ x)
        scatter = np.log(rest) - np.log(rest).mean() + slope * x
        # Without standard errors the scatter about the line serves.
        error = self.se / rest if self.known_se else np.sqrt(scatter @ scatter / (len(x) - 2))
        slope_se = np.sqrt((x**2 * error**2).sum()) / (x @ x)
        quantile = TWO_ERRORS if self.known_se else stats.t.ppf(stats.norm.cdf(TWO_ERRORS), len(x) - 2)
        if slope - quantile * slope_se < LEAST_FALL:
            return None
        return Coexistence(float(self.value[-1]), float(slope))


def bimodality_peaks(
    size: Array, value: Array, se: Array | None, order_parameter: Array | None = None
) -> BimodalityPeaks | None:
    """The most bimodal control of each size at which the order parameter is between 10 and 90 % of its range.

    The other controls are left out because the coefficient does not know how far apart two peaks are. Off the
    transition a single run that has not changed phase makes two peaks, and so do accuracies of 1 or one sample less.

    Args:
        size: Volumes, shape (n,).
        value: Coefficients from `bimodality`, NaN if not measured, shape (n,).
        se: Standard errors of the coefficients, 0 or more, shape (n,); a NaN leaves out its coefficient. None: no
            standard errors.
        order_parameter: Mean of the order parameter, NaN if not measured, shape (n,). None: all controls take part.

    Returns:
        The peaks, or None if nothing was measured.

    Raises:
        InputError: A value is no bimodality coefficient, or an error is negative.
    """
    error = np.zeros(len(value)) if se is None else se
    known = np.isfinite(value) & np.isfinite(error)
    wrong = known & ((value <= 0) | (value > 1 + ROUNDING))
    if wrong.any():
        raise InputError(
            f"bimodality has the entry {value[wrong][0]:g}; expected coefficients (skewness² + 1)/kurtosis, above 0 "
            "and at most 1; take them from llckit.criticality.bimodality"
        )
    if (error < 0).any():
        raise InputError(f"se['bimodality'] has the entry {np.nanmin(error):g}; expected numbers >= 0")
    if order_parameter is not None and np.isfinite(order_parameter).any():
        low, high = np.nanmin(order_parameter), np.nanmax(order_parameter)
        known &= np.abs(order_parameter - (low + high) / 2) <= (0.5 - EDGE) * (high - low)
    if not known.any():
        return None
    size, value, error = size[known], value[known], error[known]
    sizes = np.unique(size)
    at = [np.flatnonzero(size == one)[(value - 3 * error)[size == one].argmax()] for one in sizes]
    return BimodalityPeaks(np.log(sizes), value[at], error[at], se is not None)
