"""The order of a transition, which comes before any scaling law: continuous, first-order, or no transition at all."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from llckit.criticality.bimodality import DEEPENING, BimodalityPeaks, bimodality_peaks
from llckit.criticality.curves import NODES, Array, Curves, vector
from llckit.criticality.joint_collapse import JointCollapse, joint_collapse, master_curves
from llckit.errors import InputError

__all__ = [
    "OBSERVABLES",
    "TransitionOrder",
    "best_collapse",
    "decide_order",
    "measured_bimodality",
    "measured_curves",
    "transition_order",
]

OBSERVABLES = ("order_parameter", "susceptibility", "binder", "specific_heat", "bimodality")
MIN_SIZES = 3
DEEP = -1 / 3  # of the Binder cumulant; two equal peaks at ±m give 2/3, noise about 0 gives 0
NEAR_ONE = 1.25  # of ν*: below every continuous transition with a known exponent (4-state Potts: 4/3)
VOLUME_GROWTH = 0.8  # of peaks, from here on proportional to N but for corrections
NARROWING = 0.1  # of κ = 1/ν*: 1000 times the size, and the transition is half as wide
BOUNDED_GROWTH = 0.1  # exponent of a peak between the largest sizes
WORST_QUALITY = 2.0
MOST_UNEXPLAINED = 0.1  # share of the variance, where there are no standard errors


@dataclass(frozen=True)
class TransitionOrder:
    """What kind of transition the curves show.

    Attributes:
        order: "continuous", "first-order", "crossover" (no transition) or "undetermined".
        reason: Why, in a sentence.
    """

    order: str
    reason: str


def transition_order(
    *,
    size: ArrayLike,
    control: ArrayLike,
    observables: Mapping[str, ArrayLike],
    se: Mapping[str, ArrayLike] | None = None,
) -> TransitionOrder:
    """Tell a continuous from a first-order transition and both from a crossover.

    In this order:

    * First-order: the minimum of the Binder cumulant is below -1/3 and falls with the size, at least as N^0.25 (two
      phases coexist, and it goes to -∞ with N; Vollmayr et al., Z. Phys. B 91, 113, 1993). Or the bimodality BC at the
      most bimodal control, the order parameter between 10 and 90 % of its range, exceeds 5/9 by 3 standard errors at
      the largest of 3 sizes or more, and 1 - BC falls with the size faster than N^-0.25 by two standard errors (two
      phases have 1 - BC ~ 1/N, a critical point has one BC). Or ν* is 1 within two standard errors and these exclude
      1.25, and a peak of the specific heat, else of the susceptibility, grows as N^0.8 or faster.
    * Crossover: curves that change with size by a factor and a correction alone (κ = 1/ν* = 0) have the lower
      information criterion; or κ < 0.1; or the peak of the susceptibility saturates, `A N / (N + n)` fitting its
      heights better than `A N^p`, and grows by less than N^0.1 between the largest sizes.
    * Continuous: the curves collapse (reduced chi-square up to 2, or without standard errors at most 10 % of the
      variance unexplained) at a critical point inside the range of the controls.
    * Undetermined: everything else.

    Args:
        size: Volume N of each measurement, shape (n,).
        control: Control of each measurement, shape (n,).
        observables: Any of "order_parameter", "susceptibility", "specific_heat", "binder" and "bimodality" (of an
            order parameter without a sign, `bimodality`), each of shape (n,), NaN where it was not measured. A size
            counts for an observable from 4 controls on, for the bimodality from one on; that enters no collapse.
        se: Standard errors by the same names.

    Returns:
        The order and the reason.

    Raises:
        InputError: The arrays do not describe curves at several sizes.
    """
    curves = measured_curves(size, control, observables, se)
    bimodality = measured_bimodality(size, control, observables, se)
    scaled = {name: one for name, one in curves.items() if name != "specific_heat" and len(one.first) >= MIN_SIZES}
    if not scaled:
        return TransitionOrder(
            "undetermined",
            "An order parameter, a susceptibility or a Binder cumulant is needed at 3 sizes or more.",
        )
    return decide_order(curves, best_collapse(scaled), bimodality)


def measured_curves(
    size: ArrayLike, control: ArrayLike, observables: Mapping[str, ArrayLike], se: Mapping[str, ArrayLike] | None
) -> dict[str, Curves]:
    """The observables as curves, by name.

    Args:
        size: Volumes, shape (n,).
        control: Controls, shape (n,).
        observables: Values by name, shape (n,), NaN where not measured.
        se: Standard errors by name; NaN throughout counts as none.

    Returns:
        The curves, without sizes that have fewer than 4 controls, without observables with fewer than 2 sizes, and
        without the bimodality, which decides the order and is not scaled.

    Raises:
        InputError: A name is unknown, lengths differ, or values do not describe curves.
    """
    if not isinstance(observables, Mapping) or not observables or not set(observables) <= set(OBSERVABLES):
        given = list(observables) if isinstance(observables, Mapping) else observables
        raise InputError(f"observables is {given!r}, expected a mapping with any of {', '.join(OBSERVABLES)}.")
    if not isinstance(se, Mapping | None) or not set(se or {}) <= set(observables):
        raise InputError(f"se is {se!r}, expected standard errors under names of observables, {list(observables)}.")
    sizes, controls = vector("size", size), vector("control", control)
    if not (sizes > 0).all():
        raise InputError(f"size has the entry {sizes.min():g}, expected positive numbers.")
    curves = {}
    for name in OBSERVABLES:
        if name not in observables or name == "bimodality":
            continue
        value, error = _column(name, sizes, controls, observables, se)
        known = np.isfinite(value)
        for one in np.unique(sizes):
            if len(np.unique(controls[known & (sizes == one)])) < NODES:
                known &= sizes != one
        if len(np.unique(sizes[known])) > 1:
            curves[name] = Curves.from_input(
                sizes[known], controls[known], value[known], None if error is None else error[known]
            )
    return curves


def measured_bimodality(
    size: ArrayLike, control: ArrayLike, observables: Mapping[str, ArrayLike], se: Mapping[str, ArrayLike] | None
) -> BimodalityPeaks | None:
    """The bimodality at the most bimodal control of each size.

    Args:
        size: Volumes, shape (n,).
        control: Controls, shape (n,).
        observables: As `measured_curves` has accepted them.
        se: Standard errors by name; NaN throughout counts as none.

    Returns:
        The peaks, or None where it was not measured.
    """
    if "bimodality" not in observables:
        return None
    sizes, controls = vector("size", size), vector("control", control)
    mean = vector("order_parameter", observables["order_parameter"], True) if "order_parameter" in observables else None
    return bimodality_peaks(sizes, *_column("bimodality", sizes, controls, observables, se), mean)


def _column(
    name: str, sizes: Array, controls: Array, observables: Mapping[str, ArrayLike], se: Mapping[str, ArrayLike] | None
) -> tuple[Array, Array | None]:
    """An observable and its standard errors, where there are any."""
    value = vector(name, observables[name], missing=True)
    error = None if se is None or name not in se else vector(f"se[{name!r}]", se[name], missing=True)
    lengths = {"size": len(sizes), "control": len(controls), name: len(value)}
    lengths |= {} if error is None else {f"se[{name!r}]": len(error)}
    if len(set(lengths.values())) > 1:
        raise InputError(f"Lengths differ: {lengths}. Give one entry per measurement in every array.")
    return value, None if error is None or np.isnan(error[np.isfinite(value)]).all() else error


def best_collapse(curves: Mapping[str, Curves]) -> JointCollapse:
    """The joint collapse with a correction to scaling where the information criterion asks for one."""
    masters, unit = master_curves(curves)
    plain = joint_collapse(masters, unit)
    corrected = joint_collapse(masters, unit, corrected=True, start=plain.theta)
    return min(plain, corrected, key=lambda fit: fit.information)


def decide_order(
    curves: Mapping[str, Curves], collapse: JointCollapse, bimodality: BimodalityPeaks | None
) -> TransitionOrder:
    """The rules of `transition_order` for curves that have been collapsed.

    Args:
        curves: The observables by name.
        collapse: Collapse of those that are no specific heat.
        bimodality: Bimodality at its peaks, or None.

    Returns:
        The order and the reason.
    """
    kappa, kappa_se = float(collapse.theta[1]), float(np.sqrt(collapse.covariance[1, 1]))
    coexistence = _coexistence(curves, kappa, kappa_se, bimodality)
    if coexistence:
        return TransitionOrder("first-order", coexistence)
    smooth = _no_narrowing(curves, collapse, kappa, kappa_se)
    if smooth:
        return TransitionOrder("crossover", smooth)
    known = any(one.known_se for one in collapse.curves)
    if known and collapse.quality > WORST_QUALITY:
        return TransitionOrder(
            "undetermined",
            f"The curves of the sizes do not collapse: reduced chi-square {collapse.quality:.2g}. Leave out the "
            "smallest sizes or the controls farthest from the transition.",
        )
    if not known and collapse.unexplained > MOST_UNEXPLAINED:
        return TransitionOrder(
            "undetermined",
            f"The curves of the sizes do not collapse: {collapse.unexplained:.0%} of an observable's variance is left.",
        )
    place, place_se = float(collapse.theta[0]), float(np.sqrt(collapse.covariance[0, 0]))
    if not 2 * place_se < place < 1 - 2 * place_se:
        return TransitionOrder(
            "undetermined", "The critical point is not inside the range of the controls: measure on both sides of it."
        )
    if kappa < 3 * kappa_se:
        return TransitionOrder("undetermined", "The data do not say how the transition narrows with the size.")
    return TransitionOrder("continuous", "The curves of all sizes collapse onto one.")


def _coexistence(
    curves: Mapping[str, Curves], kappa: float, kappa_se: float, bimodality: BimodalityPeaks | None
) -> str:
    """Why the transition is first-order, or nothing."""
    if "binder" in curves:
        binder = curves["binder"]
        lowest = [binder.first[g] + int(binder.value[binder.group == g].argmin()) for g in range(len(binder.first))]
        depth = -binder.value[lowest] * binder.scale
        error = binder.se[lowest] * binder.scale if binder.known_se else np.zeros(len(lowest))
        if depth[-1] - 3 * error[-1] > -DEEP:
            deep = depth > -DEEP / 10
            slope = _line(binder.log_size[lowest][deep], np.log(depth[deep]))[0] if deep.sum() > 1 else np.inf
            if slope > DEEPENING:
                return f"The minimum of the Binder cumulant falls to {-depth[-1]:.2g} at the largest size: two phases."
    bimodal = "" if bimodality is None else bimodality.coexistence()
    if bimodal:
        return bimodal
    if kappa - 2 * kappa_se > 1 / NEAR_ONE and kappa + 2 * kappa_se >= 1:
        for name in ("specific_heat", "susceptibility"):
            if name in curves:
                log_size, height = _peaks(curves[name])
                growth, _ = _line(log_size[-3:], np.log(height[-3:]))
                if growth > VOLUME_GROWTH:
                    return f"nu* is {1 / kappa:.2f} and the peak of the {name} grows as N^{growth:.2f}: two phases."
                break
    return ""


def _no_narrowing(curves: Mapping[str, Curves], collapse: JointCollapse, kappa: float, kappa_se: float) -> str:
    """Why there is no transition, or nothing."""
    given = {name: curves[name] for name in curves if name != "specific_heat" and len(curves[name].first) >= MIN_SIZES}
    masters, unit = master_curves(given)
    start = np.array([0.5, 0.0, collapse.theta[2], *(one.growth() * (name != "binder") for name, one in given.items())])
    still = [joint_collapse(masters, unit, corrected=form, start=start, fixed=(0, 1)) for form in (False, True)]
    if min(fit.information for fit in still) <= collapse.information:
        return "Curves that do not narrow with the size describe the data as well: no transition within these sizes."
    if kappa + 2 * kappa_se < NARROWING:
        return f"The transition does not narrow with the size: 1/nu* is {kappa:.3f}."
    if "susceptibility" in curves and len(curves["susceptibility"].first) > MIN_SIZES:
        log_size, height = _peaks(curves["susceptibility"])
        heights, span = np.log(height), np.exp(log_size)
        _, power = _line(log_size, heights)
        halves = np.geomspace(span[0] / 10, span[-1] * 10, 200)[:, None]
        saturating = (np.var(heights - np.log(span / (span + halves)), axis=1) * len(span)).min()
        last, _ = _line(log_size[-3:], heights[-3:])
        if saturating < power and last < BOUNDED_GROWTH:
            return f"The peak of the susceptibility saturates: between the largest sizes it grows as N^{last:.2f}."
    return ""


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Slope of the least-squares line, and the sum of squares about it."""
    coefficients = np.polyfit(x, y, 1)
    return float(coefficients[0]), float(((y - np.polyval(coefficients, x)) ** 2).sum())


def _peaks(curves: Curves) -> tuple[Array, Array]:
    """Logarithm of the size, and height, of the highest value of each size."""
    height = np.array([curves.value[curves.group == group].max() for group in range(len(curves.first))])
    return curves.log_size[curves.first], np.maximum(height, 1e-12)
