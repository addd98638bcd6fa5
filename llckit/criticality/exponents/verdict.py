"""The verdict on the hyperscaling law, from exponents with standard errors."""

from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import chi2, norm

from llckit.criticality.collapse.joint_collapse import JointCollapse
from llckit.criticality.exponents.decisions import OrderDecision, VerdictDecision, VerdictReason

__all__ = ["Exponents", "Interval", "decide_verdict"]

LEVEL = 0.01  # of the test
WIDEST = 0.3  # half-width of the residual's interval above which the law is not tested
NORMAL_90 = float(norm.ppf(0.95))
OVERFIT_QUALITY, OVERFIT_LEVEL = 0.5, 1e-3

Interval = tuple[float, float]


@dataclass(frozen=True)
class Exponents:
    """Estimates by name, κ = 1/ν* under "kappa"; a name that is missing was not measured.

    Attributes:
        values: Estimates by name.
        errors: Standard errors by name.
    """

    values: Mapping[str, float]
    errors: Mapping[str, float]

    def value(self, name: str) -> float | None:
        """An estimate, or None if it was not measured."""
        return self.values.get(name)

    def interval(self, name: str) -> Interval | None:
        """Central 90 % interval of an estimate, or None if it was not measured."""
        if name not in self.values:
            return None
        value, reach = self.values[name], NORMAL_90 * self.errors[name]
        return value - reach, value + reach

    @property
    def nu_star(self) -> float | None:
        """ν* = 1/κ, or None if the critical region does not narrow."""
        kappa = self.values["kappa"]
        return 1 / kappa if kappa > 0 else None

    @property
    def nu_star_interval(self) -> tuple[float, float | None] | None:
        """Central 90 % interval of ν*; its upper end is None if that of κ reaches 0."""
        kappa, reach = self.values["kappa"], NORMAL_90 * self.errors["kappa"]
        if kappa <= 0:
            return None
        return 1 / (kappa + reach), 1 / (kappa - reach) if kappa > reach else None

    @property
    def p_value(self) -> float | None:
        """Probability of a residual as far from 0 as this one if the law holds; None without a residual."""
        if "residual" not in self.values:
            return None
        return float(2 * norm.sf(abs(self.values["residual"]) / max(self.errors["residual"], 1e-300)))


def decide_verdict(exponents: Exponents, order: OrderDecision, collapse: JointCollapse) -> VerdictDecision:
    """The verdict for a transition that is continuous or first-order.

    Args:
        exponents: The estimates.
        order: The order of the transition.
        collapse: The collapse that gave ν*.

    Returns:
        The verdict, with the rule that decided.
    """
    if order.order == "first-order":
        return VerdictDecision(VerdictReason.FIRST_ORDER, order)
    residual, interval, p_value = exponents.value("residual"), exponents.interval("residual"), exponents.p_value
    if residual is None or interval is None or p_value is None:
        return VerdictDecision(VerdictReason.NO_SPECIFIC_HEAT, order)
    squares, freedom = collapse.chi_square.sum(), collapse.freedom.sum()
    overfit = chi2.cdf(squares, freedom) < OVERFIT_LEVEL and collapse.quality < OVERFIT_QUALITY
    if overfit and all(one.known_se for one in collapse.curves):
        return VerdictDecision(VerdictReason.TOO_GOOD_COLLAPSE, order, {"quality": collapse.quality})
    low, high = interval
    if not (high - low) / 2 <= WIDEST:
        numbers = {"half_width": (high - low) / 2, "widest": WIDEST}
        return VerdictDecision(VerdictReason.WIDE_INTERVAL, order, numbers)
    numbers = {"residual": residual, "low": low, "high": high, "p_value": p_value}
    reason = VerdictReason.LARGE_RESIDUAL if p_value < LEVEL else VerdictReason.SMALL_RESIDUAL
    return VerdictDecision(reason, order, numbers)
