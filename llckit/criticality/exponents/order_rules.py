"""The rules that tell a first-order transition and a crossover from a continuous transition."""

from collections.abc import Mapping

import numpy as np

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.joint_collapse import JointCollapse, joint_collapse
from llckit.criticality.collapse.master_curve import master_curves
from llckit.criticality.exponents.decisions import OrderDecision, OrderReason
from llckit.criticality.thermodynamics.bimodality_peaks import LEAST_FALL, BimodalityPeaks

__all__ = ["FEWEST_SIZES", "crossover", "first_order"]

FEWEST_SIZES = 3
DEEP = -1 / 3  # of the Binder cumulant; two equal peaks at ±m give 2/3, noise about 0 gives 0
NEAR_ONE = 1.25  # of ν*: below every continuous transition with a known exponent (4-state Potts: 4/3)
VOLUME_GROWTH = 0.8  # exponent of N from which on a peak counts as proportional to N, up to corrections
NARROWING = 0.1  # of κ = 1/ν*: 1000 times the size, and the transition is half as wide
BOUNDED_GROWTH = 0.1  # exponent of N of a peak between the largest sizes


def first_order(
    curves: Mapping[str, Curves], kappa: float, kappa_se: float, bimodality: BimodalityPeaks | None
) -> OrderDecision | None:
    """Whether two phases coexist: by the Binder cumulant, by the bimodality, or by ν* = 1 and a peak that grows as N.

    Args:
        curves: The observables by name.
        kappa: κ = 1/ν* of their collapse.
        kappa_se: Standard error of κ.
        bimodality: Bimodality at its peaks, or None.

    Returns:
        The decision for a first-order transition, or None.
    """
    if "binder" in curves:
        binder = curves["binder"]
        lowest = [binder.first[g] + int(binder.value[binder.group == g].argmin()) for g in range(len(binder.first))]
        depth = -binder.value[lowest] * binder.scale
        error = binder.se[lowest] * binder.scale if binder.known_se else np.zeros(len(lowest))
        if depth[-1] - 3 * error[-1] > -DEEP:
            deep = depth > -DEEP / 10
            slope = _line(binder.log_size[lowest][deep], np.log(depth[deep]))[0] if deep.sum() > 1 else np.inf
            if slope > LEAST_FALL:
                return OrderDecision(OrderReason.BINDER_FALLS, {"binder": -depth[-1]})
    phases = None if bimodality is None else bimodality.coexistence()
    if phases is not None:
        return OrderDecision(OrderReason.BIMODALITY_GROWS, phases._asdict())
    if kappa - 2 * kappa_se > 1 / NEAR_ONE and kappa + 2 * kappa_se >= 1:
        for name in ("specific_heat", "susceptibility"):
            if name in curves:
                log_size, height = _peaks(curves[name])
                growth, _ = _line(log_size[-3:], np.log(height[-3:]))
                if growth > VOLUME_GROWTH:
                    numbers = {"nu_star": 1 / kappa, "observable": name, "growth": growth}
                    return OrderDecision(OrderReason.PEAK_GROWS_AS_VOLUME, numbers)
                break
    return None


def crossover(
    curves: Mapping[str, Curves], collapse: JointCollapse, kappa: float, kappa_se: float
) -> OrderDecision | None:
    """Whether there is no transition: curves do not narrow with the size, or the susceptibility saturates.

    Args:
        curves: The observables by name.
        collapse: Their collapse.
        kappa: κ = 1/ν* of the collapse.
        kappa_se: Standard error of κ.

    Returns:
        The decision for a crossover, or None.
    """
    given = {
        name: curves[name] for name in curves if name != "specific_heat" and len(curves[name].first) >= FEWEST_SIZES
    }
    masters, unit = master_curves(given)
    start = np.array([0.5, 0.0, collapse.theta[2], *(one.growth() * (name != "binder") for name, one in given.items())])
    still = [joint_collapse(masters, unit, corrected=form, start=start, fixed=(0, 1)) for form in (False, True)]
    if min(fit.information for fit in still) <= collapse.information:
        return OrderDecision(OrderReason.STILL_CURVES)
    if kappa + 2 * kappa_se < NARROWING:
        return OrderDecision(OrderReason.SLOW_NARROWING, {"kappa": kappa})
    if "susceptibility" in curves and len(curves["susceptibility"].first) > FEWEST_SIZES:
        log_size, height = _peaks(curves["susceptibility"])
        heights, span = np.log(height), np.exp(log_size)
        _, power = _line(log_size, heights)
        halves = np.geomspace(span[0] / 10, span[-1] * 10, 200)[:, None]
        saturating = (np.var(heights - np.log(span / (span + halves)), axis=1) * len(span)).min()
        last, _ = _line(log_size[-3:], heights[-3:])
        if saturating < power and last < BOUNDED_GROWTH:
            return OrderDecision(OrderReason.PEAK_SATURATES, {"growth": last})
    return None


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope of the least-squares line, and the sum of squares about it."""
    coefficients = np.polyfit(x, y, 1)
    return float(coefficients[0]), float(((y - np.polyval(coefficients, x)) ** 2).sum())


def _peaks(curves: Curves) -> tuple[Array, Array]:
    """Logarithm of the size, and height, of the highest value of each size."""
    height = np.array([curves.value[curves.group == group].max() for group in range(len(curves.first))])
    return curves.log_size[curves.first], np.maximum(height, 1e-12)
