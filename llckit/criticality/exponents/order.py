"""The order of a transition, which comes before any scaling law: continuous, first-order, or no transition at all."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.joint_collapse import JointCollapse, joint_collapse
from llckit.criticality.collapse.master_curve import master_curves
from llckit.criticality.exponents.decisions import Order, OrderDecision, OrderReason
from llckit.criticality.exponents.observables import measured_bimodality, measured_curves
from llckit.criticality.exponents.order_rules import FEWEST_SIZES, crossover, first_order
from llckit.criticality.thermodynamics.bimodality_peaks import BimodalityPeaks

__all__ = ["TransitionOrder", "best_collapse", "collapse_misfit", "decide_order", "transition_order"]

WORST_QUALITY = 2.0
MOST_UNEXPLAINED = 0.1  # share of the variance, without standard errors


@dataclass(frozen=True)
class TransitionOrder:
    """What kind of transition the curves show.

    Attributes:
        order: "continuous", "first-order", "crossover" (no transition) or "undetermined".
        reason: Why it has this order, in a sentence.
    """

    order: Order
    reason: str


def transition_order(
    *,
    size: ArrayLike,
    control: ArrayLike,
    observables: Mapping[str, ArrayLike],
    se: Mapping[str, ArrayLike] | None = None,
) -> TransitionOrder:
    """Tell a continuous from a first-order transition, and both from a crossover.

    In this order; docs/notes/transition_order.md has the rules with their numbers and sources.

    * First-order: the minimum of the Binder cumulant is deep and falls with the size; or the bimodality of the order
      parameter over runs grows as in two phases; or ν* is 1 and a peak grows in proportion to the size.
    * Crossover: curves that do not narrow with the size describe the data as well; or κ = 1/ν* is below 0.1; or the
      peak of the susceptibility saturates.
    * Continuous: the curves collapse at a critical point inside the range of the controls.
    * Undetermined: all other cases.

    Args:
        size: Volume N of each measurement, positive, shape (n,).
        control: Control parameter of each measurement, shape (n,).
        observables: Any of "order_parameter", "susceptibility", "specific_heat", "binder" and "bimodality" (of an
            order parameter without a sign), each NaN if not measured, shape (n,). A size counts for an observable if it
            has 4 controls or more, for the bimodality if it has one. The bimodality enters no collapse.
        se: Standard errors by the same names, shape (n,).

    Returns:
        The order and the reason.

    Raises:
        InputError: The arrays do not describe curves at several sizes.
    """
    curves = measured_curves(size, control, observables, se)
    bimodality = measured_bimodality(size, control, observables, se)
    scaled = {name: one for name, one in curves.items() if name != "specific_heat" and len(one.first) >= FEWEST_SIZES}
    decision = (
        decide_order(curves, best_collapse(scaled), bimodality) if scaled else OrderDecision(OrderReason.TOO_FEW_SIZES)
    )
    return TransitionOrder(decision.order, decision.sentence())


def best_collapse(curves: Mapping[str, Curves]) -> JointCollapse:
    """The joint collapse, with a correction to scaling if the information criterion prefers one.

    Args:
        curves: The observables by name.

    Returns:
        The collapse.
    """
    masters, unit = master_curves(curves)
    plain = joint_collapse(masters, unit)
    corrected = joint_collapse(masters, unit, corrected=True, start=plain.theta)
    return min(plain, corrected, key=lambda fit: fit.information)


def decide_order(
    curves: Mapping[str, Curves], collapse: JointCollapse, bimodality: BimodalityPeaks | None
) -> OrderDecision:
    """The rules of `transition_order` for curves that have been collapsed.

    Args:
        curves: The observables by name.
        collapse: Collapse of all of them but the specific heat.
        bimodality: Bimodality at its peaks, or None.

    Returns:
        The order, with the rule that decided.
    """
    kappa, kappa_se = float(collapse.theta[1]), float(np.sqrt(collapse.covariance[1, 1]))
    found = first_order(curves, kappa, kappa_se, bimodality) or crossover(curves, collapse, kappa, kappa_se)
    if found is not None:
        return found
    misfit = collapse_misfit(collapse)
    if misfit is not None:
        return misfit
    place, place_se = float(collapse.theta[0]), float(np.sqrt(collapse.covariance[0, 0]))
    if not 2 * place_se < place < 1 - 2 * place_se:
        return OrderDecision(OrderReason.CRITICAL_POINT_OUTSIDE)
    if kappa < 3 * kappa_se:
        return OrderDecision(OrderReason.UNKNOWN_NARROWING)
    return OrderDecision(OrderReason.CURVES_COLLAPSE)


def collapse_misfit(collapse: JointCollapse) -> OrderDecision | None:
    """Whether curves fail to collapse: by chi-square with standard errors, by unexplained variance without.

    Args:
        collapse: The collapse.

    Returns:
        The decision that the order is undetermined, or None if the curves collapse.
    """
    if any(one.known_se for one in collapse.curves):
        if collapse.quality > WORST_QUALITY:
            return OrderDecision(OrderReason.HIGH_CHI_SQUARE, {"quality": collapse.quality})
    elif collapse.unexplained > MOST_UNEXPLAINED:
        return OrderDecision(OrderReason.UNEXPLAINED_VARIANCE, {"share": collapse.unexplained})
    return None
