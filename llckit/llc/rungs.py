"""Ladders of scales: what the estimates at their rungs say of further ones."""

from __future__ import annotations

import itertools
import math

from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import Outcome
from llckit.llc.scale_reason import LadderEnd
from llckit.llc.statistics import is_precise

STEADY = 0.02  # relative change per decade below which λ̂ is flat, and relative error that is enough to see it
DECADES = 3  # of nβ above n/ln n, and of γ below its default, that are looked at
HELD = 0.1  # of λ̂, per e-fold: where it falls with γ and rises with nβ by more, γ holds the chain rather than the loss
UP, DOWN = (10.0, 1.0), (1.0, 0.1)  # by which nβ and γ are multiplied from rung to rung of a ladder


def ladders_of(first: LLCEstimate) -> dict[tuple[float, float], int]:
    """Which ladders to climb, in their order, and the first decade of each after n/ln n.

    Args:
        first: The estimate at n/ln n.

    Returns:
        The decade by ladder.
    """
    if abs(first.sensitivity_localization) <= STEADY * first.llc:
        return {UP: 0}
    held, surely = (
        min(
            -first.sensitivity_localization - errors * first.sensitivity_localization_mcse,
            first.sensitivity_n_beta - errors * first.sensitivity_n_beta_mcse,
        )
        / first.llc
        for errors in (0, 2)
    )
    return {DOWN: _first_decade(held), UP: 0} if surely > HELD else {UP: 0, DOWN: 0}


def _lean(factors: tuple[float, float], rung: LLCEstimate) -> tuple[float, float]:
    """By how much λ̂ grows, relatively, per e-fold along a ladder, to first order, and the standard error of that."""
    if factors is UP:
        return rung.sensitivity_n_beta / rung.llc, rung.sensitivity_n_beta_mcse / rung.llc
    return -rung.sensitivity_localization / rung.llc, rung.sensitivity_localization_mcse / rung.llc


def leans(factors: tuple[float, float], rung: LLCEstimate, limit: float) -> bool:
    """Whether λ̂ changes by more than that share per e-fold along a ladder, beyond two standard errors.

    Args:
        factors: The ladder.
        rung: The estimate.
        limit: The share.

    Returns:
        Whether it does.
    """
    lean, error = _lean(factors, rung)
    return abs(lean) - 2 * error > limit


def depends_on_n_beta(rung: LLCEstimate) -> bool:
    """Whether λ̂ rises with nβ by more than `HELD` per e-fold, beyond two standard errors, though γ does not hold it.

    Args:
        rung: The estimate.

    Returns:
        Whether it does.
    """
    return leans(UP, rung, HELD) and -rung.sensitivity_localization <= HELD * rung.llc


def may_end(factors: tuple[float, float], before: LLCEstimate, last: LLCEstimate, left: int) -> bool:
    """Whether the last decade may be flat, if the lean goes on shrinking as it did from one rung to the next.

    Args:
        factors: The ladder.
        before: The estimate at one rung.
        last: The estimate at the next.
        left: Decades after it.

    Returns:
        Whether it may.
    """
    (was, was_error), (lean, error) = _lean(factors, before), _lean(factors, last)
    surely = max(0.0, abs(lean) - 2 * error)
    shrinks = surely / max(abs(was) + 2 * was_error, surely, 1e-300)
    return math.log(10) * surely * shrinks**left <= STEADY


def flat_within_two_errors(rungs: dict[int, LLCEstimate]) -> int | None:
    """The first decade whose estimate agrees with all further ones to `STEADY` within two standard errors.

    Args:
        rungs: Estimates by decade.

    Returns:
        The decade; None if there is none.
    """
    for decade, after in itertools.pairwise(rungs):
        so_far = [rung for k, rung in rungs.items() if k <= after]
        further = [rung for k, rung in rungs.items() if k > decade]
        stays = to_come(so_far) <= STEADY + 2 * _relative_error(*so_far[-2:])
        if after == decade + 1 and stays and all(steady(rungs[decade], rung, errors=2) for rung in further):
            return decade
    return None


def _first_decade(held: float) -> int:
    """The first decade of γ from which the next may change λ̂ by STEADY at most, where λ̂ ∝ k/(k + γ) falls by `held`."""
    ratio = held / max(1 - held, 1e-3)  # γ/k
    changes = (math.log1p(ratio / 10**k) - math.log1p(ratio / 10 ** (k + 1)) for k in itertools.count())
    return min(DECADES - 1, next(k for k, change in enumerate(changes) if change <= STEADY))


def to_come(rungs: list[LLCEstimate]) -> float:
    """How far λ̂ would go, relatively, from the last but one of these on, if its changes were a geometric series.

    Args:
        rungs: Two estimates or more, in the order of the ladder.

    Returns:
        The distance; infinite if changes do not shrink.
    """
    changes = [math.log(higher.llc / lower.llc) for lower, higher in itertools.pairwise(rungs)]
    ratio = changes[-1] / changes[-2] if len(changes) > 1 else 0.0
    return abs(changes[-1]) / (1 - max(ratio, 0.0)) if ratio < 1 else math.inf


def steady(lower: LLCEstimate, higher: LLCEstimate, errors: float = 1) -> bool:
    """Whether λ̂ changes by no more than STEADY, give or take its standard error, between two rungs.

    Args:
        lower: The estimate at one.
        higher: The estimate at the next.
        errors: How many standard errors.

    Returns:
        Whether it does.
    """
    return abs(math.log(higher.llc / lower.llc)) <= STEADY + errors * _relative_error(lower, higher)


def _relative_error(lower: LLCEstimate, higher: LLCEstimate) -> float:
    return math.hypot(lower.mcse / lower.llc, higher.mcse / higher.llc)


def is_sharp(estimate: LLCEstimate) -> bool:
    """Whether an estimate tells what comes after it on a ladder.

    Args:
        estimate: Of a rung.

    Returns:
        Whether it is positive, precise to `STEADY`, and either trusted or only outside its bracket.
    """
    # Outside its bracket a value is sharp all the same, and what a ladder is for: higher rungs may be inside.
    judged = estimate.outcome.trusted or estimate.outcome is Outcome.OUTSIDE_BRACKET
    return judged and estimate.llc > 0 and is_precise(estimate.llc, estimate.mcse, STEADY)


def ended_by(decade: int, rung: LLCEstimate) -> LadderEnd:
    """That a rung ended its ladder.

    Args:
        decade: Of the rung.
        rung: Its estimate.

    Returns:
        The end, with the outcome if it is at fault.
    """
    is_at_fault = not rung.outcome.trusted or rung.outcome is Outcome.BUDGET_EXHAUSTED
    return LadderEnd(decade, rung.outcome if is_at_fault else None, is_positive=rung.llc > 0)
