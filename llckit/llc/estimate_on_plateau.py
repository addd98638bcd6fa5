"""Where λ̂ is flat over the scale of loss: the learning coefficient is that plateau."""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.gradients import Gradients
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import Outcome, judge_scale
from llckit.llc.scale import Scale
from llckit.llc.scale_reason import LadderEnd, NBetaRule
from llckit.llc.settings import Settings
from llckit.llc.start_from import start_from
from llckit.llc.statistics import is_precise
from llckit.posterior import Checkpoint, Observable, Task

STEADY = 0.02  # relative change per decade below which λ̂ is flat, and relative error that is enough to see it
DECADES = 3  # of nβ above n/ln n, and of γ below its default, that are looked at
HELD = 0.1  # of λ̂, per e-fold: where it falls with γ and rises with nβ by more, γ holds the chain rather than the loss
DEAREST = 3  # times as many gradients as the first estimate took: a rung that needs more ends its ladder
UP, DOWN = (10.0, 1.0), (1.0, 0.1)  # by which nβ and γ are multiplied from rung to rung of a ladder


def estimate_on_plateau(
    task: Task,
    checkpoint: Checkpoint,
    scale: Scale,
    gradients: Gradients,
    settings: Settings,
    *,
    keep_localization: bool = False,
    progress: bool = False,
    observe: Mapping[str, Observable] | None = None,
) -> LLCEstimate:
    """The LLC at a scale from which on it is flat, in nβ and in γ; at n/ln n if there is none.

    Two ladders are climbed: nβ = 1, 10, 100, 1000 times n/ln n at the γ chosen there; then γ, γ/10, γ/100, γ/1000 at
    n/ln n, if λ̂ there leans on γ by more than 2 % per e-fold. Each ends at the first rung from which a further decade
    changes λ̂ by at most 2 %, give or take its standard error: the plateau. The rung after it is taken if the changes so
    far, continued as a geometric series, would add up to more, or if λ̂ leans on nβ by more than 2 % per e-fold beyond
    two standard errors.

    * If λ̂ falls with γ and rises with nβ, both by more than a tenth per e-fold beyond two standard errors, γ holds the
      chain and not the loss. Then γ is lowered first, beginning where λ̂ ∝ k/(k + γ) would change by at most 2 %.
    * A rung that cannot be trusted, or whose error is above 2 %, ends its ladder. So does one from which on no rung can
      be flat: λ̂ leans on nβ (or γ) there, beyond two standard errors, and if its lean goes on shrinking as it did from
      the rung before, the last decade will still change λ̂ by more than 2 %.
    * So does one whose depth nβ (L(w*) − L(ŵ)) would take more than a tenth of λ̂ off within the next decade, since it
      is at least proportional to nβ: w* is no minimum at finer scales.
    * γ is not lowered if λ̂ falls with nβ where that ladder ended.
    * Without a plateau, the first rung is taken that agrees with all further ones of its ladder to 2 % within two
      standard errors. Else the first estimate, or, if γ held the chain, the first with a lower γ.

    A rung may take three times as many gradients as the first estimate. Each is asked for 2 %, whatever `rel_tol` is:
    nβ and γ say what is measured, and must not depend on how precisely. Its warm-up begins with step size and turning
    length of the rung before. The rung taken is estimated again with `rel_tol`, unless it is as precise already.

    Args:
        task: Model, data and loss.
        checkpoint: Where the chains begin.
        scale: n/ln n and the γ chosen there, see `choose_scale`.
        gradients: Which samples a gradient takes.
        settings: What was asked for.
        keep_localization: Whether γ stays, as one does that the user gave.
        progress: Whether a bar is shown (on a terminal).
        observe: Functions of the model to evaluate at every draw.

    Returns:
        The estimate; `how_found.reason` says how nβ and γ were chosen.
    """
    search = _Search(task, checkpoint, scale, gradients, settings, progress=progress, observe=observe)
    ladders = {UP: 0}
    if not keep_localization and _sharp(search.first):
        ladders = _ladders(search.first)
    climbs: list[_Climb] = []
    for factors, first in ladders.items():
        if factors is DOWN and climbs and climbs[-1].falls:
            break
        climbs.append(climb := search.climb(factors, first))
        if climb.plateau is not None:
            return search.on_plateau(climb, climb.plateau)
    for climb in climbs:
        decade = _flat_within_two_errors(climb.rungs)
        if decade is not None:
            return search.on_plateau(climb, decade, within_two_errors=True)
    return search.without_plateau(climbs)


class _Climb(NamedTuple):
    """One ladder of scales, climbed.

    Attributes:
        factors: By what nβ and γ are multiplied from rung to rung.
        first: Decade before which rungs were left out.
        rungs: Estimates by decade.
        plateau: Decade of the rung that is the plateau; None if there is none.
        ended: What ended the ladder if there is no plateau.
    """

    factors: tuple[float, float]
    first: int
    rungs: dict[int, LLCEstimate]
    plateau: int | None = None
    ended: LadderEnd | None = None

    @property
    def falls(self) -> bool:
        """Whether λ̂ fell from rung to rung where the ladder ended."""
        assert self.ended is not None
        llcs = [rung.llc for rung in self.rungs.values()]
        if self.ended.outcome is Outcome.NOT_A_MINIMUM or not self.ended.is_minimum:
            return True
        return self.ended.still_changes and llcs[-1] < llcs[-2]


class _Search:
    """Estimates of one checkpoint at several nβ and γ, which share L(w*) and recordings; the first is at n/ln n."""

    def __init__(
        self,
        task: Task,
        checkpoint: Checkpoint,
        scale: Scale,
        gradients: Gradients,
        settings: Settings,
        *,
        progress: bool,
        observe: Mapping[str, Observable] | None,
    ) -> None:
        self._asked, self._settings = settings, dataclasses.replace(settings, rel_tol=STEADY)
        self._task, self._checkpoint, self._scale, self._gradients = task, checkpoint, scale, gradients
        self._progress, self._observe = progress, observe
        self._grad_evals = 0
        began = time.monotonic()
        self.first = self._estimate(scale, self._settings)
        self._seconds = time.monotonic() - began
        given = settings.budget.max_grad_evals or settings.budget.at_most
        most = min(given, DEAREST * self.first.how_found.grad_evals)
        budget = dataclasses.replace(settings.budget, max_grad_evals=most)
        self._of_rung = dataclasses.replace(self._settings, budget=budget)

    def _estimate(self, scale: Scale, settings: Settings, near: LLCEstimate | None = None) -> LLCEstimate:
        start = None
        if near is not None and settings.num_burnin is None:
            start = start_from(near, scale.n_beta)
        found = estimate_checkpoint(
            self._task,
            self._checkpoint,
            scale,
            self._gradients,
            settings,
            start=start,
            progress=self._progress,
            observe=self._observe,
        )
        self._grad_evals += found.grad_evals_total
        return found

    def _rung(self, factors: tuple[float, float], decade: int, before: LLCEstimate) -> LLCEstimate:
        n_beta, gamma = (factor**decade for factor in factors)
        moved = self._scale._replace(n_beta=self._scale.n_beta * n_beta, localization=self._scale.localization * gamma)
        return self._estimate(moved, self._of_rung, before)

    @property
    def has_time(self) -> bool:
        """Whether a rung that takes twice the time of the first can end before the deadline."""
        return self._asked.budget.seconds_left > 2 * self._seconds

    def climb(self, factors: tuple[float, float], first: int) -> _Climb:
        """Rung by rung to a plateau, or to where there cannot be one."""
        rungs = {0: self.first}

        for decade in range(1, DECADES + 1):
            last = rungs[max(rungs)]
            if not _sharp(last):
                return _Climb(factors, first, rungs, ended=_ended(0, last))
            if 9 * last.depth > HELD * last.llc:  # nβ (L(w*) − L(ŵ)) grows with nβ at least, and λ̂ falls by as much
                return _Climb(factors, first, rungs, ended=LadderEnd(max(rungs), is_minimum=False))
            if decade < first:
                continue
            if not self.has_time:
                return _Climb(factors, first, rungs, ended=LadderEnd(max(rungs), is_out_of_time=True))
            rungs[decade] = self._rung(factors, decade, last)
            was, outside = (x.outcome is Outcome.OUTSIDE_BRACKET for x in (last, rungs[decade]))
            # A higher nβ may bring a value back into its bracket. A lower γ only opens more of what is beside w*: where
            # that is seen no more, chains no longer get there.
            crossed = outside != was if factors is DOWN else outside and not was
            if not _sharp(rungs[decade]) or crossed:
                return _Climb(factors, first, rungs, ended=_ended(decade, rungs.pop(decade)))
            if decade > first and steady(last, rungs[decade]) and not _leans(factors, rungs[decade], HELD):
                change = _to_come([last, rungs[decade]])
                goes_on = _to_come(list(rungs.values())) > max(STEADY, change) or _leans(factors, last, STEADY)
                return _Climb(factors, first, rungs, plateau=decade if goes_on and factors is UP else decade - 1)
            if not _may_end(factors, last, rungs[decade], DECADES - decade):
                return _Climb(factors, first, rungs, ended=LadderEnd(decade, still_changes=True))
        return _Climb(factors, first, rungs, ended=LadderEnd(DECADES, still_changes=True))

    def on_plateau(self, climb: _Climb, decade: int, within_two_errors: bool = False) -> LLCEstimate:
        """The rung that is one, with the reason that found it."""
        if climb.factors is DOWN:
            found = {"n_beta": NBetaRule.PLATEAU_IN_LOCALIZATION, "lowered": decade}
        else:
            found = {"n_beta": NBetaRule.PLATEAU, "decade": decade}
        return self._with_reason(climb.rungs[decade], within_two_errors=within_two_errors, **found)

    def without_plateau(self, climbs: list[_Climb]) -> LLCEstimate:
        """The first estimate, or the first with a lower γ where γ held the chain."""
        best, lowered, ended = self.first, 0, None
        for climb in climbs:
            if climb.factors is UP:
                ended = climb.ended
            elif climb.first in climb.rungs:
                best, lowered = climb.rungs[climb.first], climb.first
        return self._with_reason(best, n_beta=NBetaRule.NO_PLATEAU, lowered=lowered, ended=ended)

    def _with_reason(self, estimate: LLCEstimate, **found: Any) -> LLCEstimate:
        asked = self._asked
        is_enough = is_precise(estimate.llc, estimate.mcse, asked.rel_tol)
        if estimate.outcome is Outcome.CONVERGED and not is_enough and asked.num_draws is None and self.has_time:
            scale = self._scale._replace(n_beta=estimate.n_beta, localization=estimate.localization)
            again = self._estimate(scale, asked, estimate)
            estimate = again if again.outcome.trusted and again.mcse < estimate.mcse else estimate
            is_enough = is_precise(estimate.llc, estimate.mcse, asked.rel_tol)
        is_enough = is_enough and estimate.outcome is Outcome.BUDGET_EXHAUSTED
        outcome = Outcome.CONVERGED if is_enough else estimate.outcome
        is_flat = found["n_beta"] is NBetaRule.PLATEAU  # in γ too, or λ̂ ∝ k/(k + γ), k ∝ nβ, would not be flat in nβ
        return dataclasses.replace(
            estimate,
            outcome=outcome if is_flat else judge_scale(outcome, estimate.llc, estimate.leans),
            grad_evals_total=self._grad_evals,
            how_found=dataclasses.replace(estimate.how_found, reason=dataclasses.replace(self._scale.reason, **found)),
        )


def _ladders(first: LLCEstimate) -> dict[tuple[float, float], int]:
    """Which ladders to climb, in their order, and the first decade of each after n/ln n."""
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


def _leans(factors: tuple[float, float], rung: LLCEstimate, limit: float) -> bool:
    """Whether λ̂ changes by more than that share per e-fold, beyond two standard errors."""
    lean, error = _lean(factors, rung)
    return abs(lean) - 2 * error > limit


def _may_end(factors: tuple[float, float], before: LLCEstimate, last: LLCEstimate, left: int) -> bool:
    """Whether the last decade may be flat, if the lean goes on shrinking as it did from one rung to the next."""
    (was, was_error), (lean, error) = _lean(factors, before), _lean(factors, last)
    surely = max(0.0, abs(lean) - 2 * error)
    shrinks = surely / max(abs(was) + 2 * was_error, surely, 1e-300)
    return math.log(10) * surely * shrinks**left <= STEADY


def _flat_within_two_errors(rungs: dict[int, LLCEstimate]) -> int | None:
    for decade, after in itertools.pairwise(rungs):
        so_far = [rung for k, rung in rungs.items() if k <= after]
        further = [rung for k, rung in rungs.items() if k > decade]
        stays = _to_come(so_far) <= STEADY + 2 * _relative_error(*so_far[-2:])
        if after == decade + 1 and stays and all(steady(rungs[decade], rung, errors=2) for rung in further):
            return decade
    return None


def _first_decade(held: float) -> int:
    """The first decade of γ from which the next may change λ̂ by STEADY at most, where λ̂ ∝ k/(k + γ) falls by `held`."""
    ratio = held / max(1 - held, 1e-3)  # γ/k
    changes = (math.log1p(ratio / 10**k) - math.log1p(ratio / 10 ** (k + 1)) for k in itertools.count())
    return min(DECADES - 1, next(k for k, change in enumerate(changes) if change <= STEADY))


def _to_come(rungs: list[LLCEstimate]) -> float:
    """How far λ̂ would go, relatively, from the last but one of these on, if its changes were a geometric series."""
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


def _sharp(estimate: LLCEstimate) -> bool:
    # Outside its bracket a value is sharp all the same, and what a ladder is for: higher rungs may be inside.
    judged = estimate.outcome.trusted or estimate.outcome is Outcome.OUTSIDE_BRACKET
    return judged and estimate.llc > 0 and is_precise(estimate.llc, estimate.mcse, STEADY)


def _ended(decade: int, rung: LLCEstimate) -> LadderEnd:
    is_at_fault = not rung.outcome.trusted or rung.outcome is Outcome.BUDGET_EXHAUSTED
    return LadderEnd(decade, rung.outcome if is_at_fault else None, is_positive=rung.llc > 0)
