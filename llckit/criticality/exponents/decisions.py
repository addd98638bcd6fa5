"""The order of a transition and the verdict on the hyperscaling law, each with the reason that decides it.

A decision holds the reason as a value, with the numbers behind it. Its sentence is made here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

__all__ = ["Order", "OrderDecision", "OrderReason", "Verdict", "VerdictDecision", "VerdictReason"]

Order = Literal["continuous", "first-order", "crossover", "undetermined"]
Verdict = Literal["consistent", "violated", "inconclusive"]
RESIDUAL = "nu* - (2 - alpha) is {residual:.3f}, 90 % interval {low:.3f} to {high:.3f}, p = {p_value:.2g}."


class OrderReason(Enum):
    """Why a transition has its order: the order, and the sentence with places for its numbers."""

    BINDER_FALLS = (
        "first-order",
        "The minimum of the Binder cumulant falls to {binder:.2g} at the largest size: two phases.",
    )
    BIMODALITY_GROWS = (
        "first-order",
        "The bimodality of the order parameter reaches {bimodality:.3g} at the largest size and what it lacks to 1 "
        "falls as N^-{fall:.2f}: two phases.",
    )
    PEAK_GROWS_AS_VOLUME = (
        "first-order",
        "nu* is {nu_star:.2f} and the peak of the {observable} grows as N^{growth:.2f}: two phases.",
    )
    STILL_CURVES = (
        "crossover",
        "Curves that do not narrow with the size describe the data as well: no transition within these sizes.",
    )
    SLOW_NARROWING = ("crossover", "The transition does not narrow with the size: 1/nu* is {kappa:.3f}.")
    PEAK_SATURATES = (
        "crossover",
        "The peak of the susceptibility saturates: between the largest sizes it grows as N^{growth:.2f}.",
    )
    TOO_FEW_SIZES = (
        "undetermined",
        "An order parameter, a susceptibility or a Binder cumulant is needed at 3 sizes or more.",
    )
    HIGH_CHI_SQUARE = (
        "undetermined",
        "The curves of the sizes do not collapse: reduced chi-square {quality:.2g}. Leave out the smallest sizes or "
        "the controls farthest from the transition.",
    )
    UNEXPLAINED_VARIANCE = (
        "undetermined",
        "The curves of the sizes do not collapse: {share:.0%} of an observable's variance is left.",
    )
    CRITICAL_POINT_OUTSIDE = (
        "undetermined",
        "The critical point is not inside the range of the controls: measure on both sides of it.",
    )
    UNKNOWN_NARROWING = ("undetermined", "The data do not say how the transition narrows with the size.")
    CURVES_COLLAPSE = ("continuous", "The curves of all sizes collapse onto one.")

    def __init__(self, order: Order, sentence: str) -> None:
        self.order: Order = order
        self.sentence = sentence


class VerdictReason(Enum):
    """Why the hyperscaling law has its verdict: the verdict, and the sentence with places for its numbers."""

    ONLY_SPECIFIC_HEAT = (
        "inconclusive",
        "Nothing but a specific heat is measured at 3 sizes or more: nu* from the same values would make the law an "
        "identity. Measure an order parameter, a susceptibility or a Binder cumulant.",
    )
    TOO_FEW_SIZES = (
        "inconclusive",
        "No observable is measured at 4 controls of 3 sizes or more: the range of sizes is too short.",
    )
    NO_CRITICAL_POINT = ("inconclusive", "{order}")
    NO_SPECIFIC_HEAT = (
        "inconclusive",
        "No specific heat is measured at 4 controls of 3 sizes or more: alpha from the other observables would make "
        "the law an identity.",
    )
    TOO_GOOD_COLLAPSE = (
        "inconclusive",
        "The curves collapse better than their standard errors allow (reduced chi-square {quality:.2g}): the errors "
        "are too large, or the measurements depend on each other.",
    )
    WIDE_INTERVAL = (
        "inconclusive",
        "The residual is known to ±{half_width:.2g} only, {widest} is needed: measure a longer range of sizes, or with "
        "smaller errors.",
    )
    FIRST_ORDER = (
        "consistent",
        "The law is satisfied trivially, with nu* = alpha = 1 at a first-order transition. {order}",
    )
    SMALL_RESIDUAL = ("consistent", RESIDUAL)
    LARGE_RESIDUAL = ("violated", RESIDUAL)

    def __init__(self, verdict: Verdict, sentence: str) -> None:
        self.verdict: Verdict = verdict
        self.sentence = sentence


@dataclass(frozen=True)
class OrderDecision:
    """The order of a transition.

    Attributes:
        reason: The rule that decided.
        numbers: Numbers that the rule found, by the names in its sentence.
    """

    reason: OrderReason
    numbers: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def order(self) -> Order:
        """The order itself."""
        return self.reason.order

    def sentence(self) -> str:
        """The reason in words."""
        return self.reason.sentence.format(**self.numbers)


@dataclass(frozen=True)
class VerdictDecision:
    """The verdict on the hyperscaling law.

    Attributes:
        reason: The rule that decided.
        order: The order of the transition; None if it was not looked for.
        numbers: Numbers that the rule found, by the names in its sentence.
    """

    reason: VerdictReason
    order: OrderDecision | None = None
    numbers: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The verdict itself."""
        return self.reason.verdict

    def sentence(self) -> str:
        """The reason in words."""
        order = "" if self.order is None else self.order.sentence()
        return self.reason.sentence.format(order=order, **self.numbers)
