"""Where λ̂ is flat over the scale of loss: the learning coefficient is that plateau."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from llckit.llc.estimate_checkpoint import CheckpointChains
from llckit.llc.gradients import Gradients
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import Outcome, judge_scale
from llckit.llc.rungs import (
    DECADES,
    DOWN,
    HELD,
    STEADY,
    UP,
    depends_on_n_beta,
    ended_by,
    flat_within_two_errors,
    is_sharp,
    ladders_of,
    leans,
    may_end,
    steady,
    to_come,
)
from llckit.llc.scale import Scale
from llckit.llc.scale_reason import LadderEnd, NBetaRule
from llckit.llc.settings import Settings
from llckit.llc.start_from import start_from
from llckit.llc.statistics import is_precise
from llckit.posterior import Checkpoint, Observable, Task

FURTHER = 100  # steps of the warm-up after γ was lowered
DEAREST = 3  # times as many gradients as the first estimate took: a rung that needs more ends its ladder


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
    far, continued as a geometric series, would add up to more, or if λ̂ leans on nβ or γ by more than 2 % per e-fold
    beyond two standard errors.

    * If λ̂ falls with γ and rises with nβ, both by more than a tenth per e-fold beyond two standard errors, γ holds the
      chain and not the loss. Then γ is lowered first, beginning where λ̂ ∝ k/(k + γ) would change by at most 2 %, and
      no further if γ holds it no more and λ̂ still rises so with nβ: it would, whatever γ is.
    * A rung that cannot be trusted, or whose error is above 2 %, ends its ladder. So does one from which on no rung can
      be flat: λ̂ leans on nβ (or γ) there, beyond two standard errors, and if its lean goes on shrinking as it did from
      the rung before, the last decade will still change λ̂ by more than 2 %.
    * So does one whose depth nβ (L(w*) − L(ŵ)) would take more than a tenth of λ̂ off within the next decade, since it
      is at least proportional to nβ: w* is no minimum at finer scales.
    * γ is not lowered if λ̂ falls with nβ where that ladder ended.
    * Without a plateau, the first rung is taken that agrees with all further ones of its ladder to 2 % within two
      standard errors. Else the first estimate, or, if γ held the chain, the first with a lower γ.

    A rung may take three times as many gradients as the first estimate, and none begins that could not take as many as
    the first. Each is asked for 2 %, whatever `rel_tol` is:
    nβ and γ say what is measured, and must not depend on how precisely. Its warm-up begins with step size and turning
    length of the rung before, where its chains ended. The chains of the rung taken go on to `rel_tol`; not so if its
    value depends on its scale, unless a budget was given.

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
    if not keep_localization and is_sharp(search.first):
        ladders = ladders_of(search.first)
    climbs: list[_Climb] = []
    for factors, first in ladders.items():
        if factors is DOWN and climbs and climbs[-1].falls:
            break
        climbs.append(climb := search.climb(factors, first))
        if climb.plateau is not None:
            return search.on_plateau(climb, climb.plateau)
    for climb in climbs:
        decade = flat_within_two_errors(climb.rungs)
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
        self._asked, self._budget = settings, settings.budget
        self._task, self._checkpoint, self._scale, self._gradients = task, checkpoint, scale, gradients
        self._progress, self._observe = progress, observe
        self._operations = gradients.operations(checkpoint, settings.chains_for(checkpoint))
        self._grad_evals = 0
        self._made: list[tuple[LLCEstimate, CheckpointChains]] = []
        began = time.monotonic()
        self.first = self._estimate(scale)
        self._seconds = time.monotonic() - began

    def _estimate(
        self,
        scale: Scale,
        near: LLCEstimate | None = None,
        at_most: int | None = None,
        num_burnin: int | None = None,
    ) -> LLCEstimate:
        """One scale, with what is left of the budget or `at_most` so many gradients."""
        budget = self._budget
        if at_most is not None:
            budget = dataclasses.replace(budget, max_grad_evals=min(at_most, budget.grad_evals(self._operations, 1)))
        settings = dataclasses.replace(self._asked, rel_tol=STEADY, budget=budget)
        start = None
        if near is not None and settings.num_burnin is None:
            start = start_from(near, scale.n_beta)
            settings = dataclasses.replace(settings, num_burnin=num_burnin)
        chains = CheckpointChains(
            self._task,
            self._checkpoint,
            scale,
            self._gradients,
            settings,
            start=start,
            progress=self._progress,
            observe=self._observe,
        )
        found = chains.estimate(settings)
        self._made.append((found, chains))
        self._count(found, found.grad_evals_total)
        return found

    def _more(self, estimate: LLCEstimate) -> LLCEstimate:
        """The same with the error that was asked for."""
        chains = next(chains for found, chains in self._made if found is estimate)
        try:
            found = chains.estimate(dataclasses.replace(self._asked, budget=self._budget))
        except KeyboardInterrupt:
            if not self._asked.may_be_interrupted:
                raise
            return estimate
        self._count(found, found.grad_evals_total - estimate.grad_evals_total)
        return found

    def _count(self, found: LLCEstimate, grad_evals: int) -> None:
        self._grad_evals += grad_evals
        self._budget = self._budget.after(grad_evals, self._operations)
        if found.trace is not None and found.trace.is_interrupted:
            self._interrupt()

    def _interrupt(self) -> None:
        self._budget = dataclasses.replace(self._budget, deadline=0.0)

    def _rung(self, factors: tuple[float, float], decade: int, before: LLCEstimate) -> LLCEstimate:
        n_beta, gamma = (factor**decade for factor in factors)
        moved = self._scale._replace(n_beta=self._scale.n_beta * n_beta, localization=self._scale.localization * gamma)
        # With a lower γ chains have to go further along flat directions than where they come from.
        num_burnin = FURTHER if factors is DOWN else None
        return self._estimate(moved, before, DEAREST * self.first.how_found.grad_evals, num_burnin)

    def allows(self, part: float) -> bool:
        """Whether so many times the gradients of the first estimate, and twice its time as often, are left."""
        has_time = self._budget.seconds_left > 2 * part * self._seconds
        return has_time and self._budget.allows(int(part * self.first.how_found.grad_evals), self._operations)

    def climb(self, factors: tuple[float, float], first: int) -> _Climb:
        """Rung by rung to a plateau, or to where there cannot be one."""
        rungs = {0: self.first}

        for decade in range(1, DECADES + 1):
            last = rungs[max(rungs)]
            if not is_sharp(last):
                return _Climb(factors, first, rungs, ended=ended_by(0, last))
            if 9 * last.depth > HELD * last.llc:  # nβ (L(w*) − L(ŵ)) grows with nβ at least, and λ̂ falls by as much
                return _Climb(factors, first, rungs, ended=LadderEnd(max(rungs), is_minimum=False))
            if decade < first:
                continue
            if not self.allows(1):
                return _Climb(factors, first, rungs, ended=LadderEnd(max(rungs), is_out_of_time=True))
            try:
                rungs[decade] = self._rung(factors, decade, last)
            except KeyboardInterrupt:
                if not self._asked.may_be_interrupted:
                    raise
                self._interrupt()
                return _Climb(factors, first, rungs, ended=LadderEnd(max(rungs), is_out_of_time=True))
            was, outside = (x.outcome is Outcome.OUTSIDE_BRACKET for x in (last, rungs[decade]))
            # A higher nβ may bring a value back into its bracket. A lower γ only opens more of what is beside w*: where
            # that is seen no more, chains no longer get there.
            crossed = outside != was if factors is DOWN else outside and not was
            if not is_sharp(rungs[decade]) or crossed:
                return _Climb(factors, first, rungs, ended=ended_by(decade, rungs.pop(decade)))
            if decade > first and steady(last, rungs[decade]) and not leans(factors, rungs[decade], HELD):
                change = to_come([last, rungs[decade]])
                leaning = any(leans(ladder, last, STEADY) for ladder in (UP, DOWN))
                goes_on = to_come(list(rungs.values())) > max(STEADY, change) or leaning
                return _Climb(factors, first, rungs, plateau=decade if goes_on and factors is UP else decade - 1)
            if factors is DOWN and depends_on_n_beta(rungs[decade]):
                return _Climb(factors, first, rungs, ended=LadderEnd(decade, still_changes=True))
            if not may_end(factors, last, rungs[decade], DECADES - decade):
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
        reason = dataclasses.replace(self._scale.reason, **found)
        is_flat = found["n_beta"] is NBetaRule.PLATEAU  # in γ too, or λ̂ ∝ k/(k + γ), k ∝ nβ, would not be flat in nβ
        is_enough = is_precise(estimate.llc, estimate.mcse, asked.rel_tol)
        judged = judge_scale(estimate.outcome, estimate.llc, estimate.leans, reason.taken)
        depends = not is_flat and judged is Outcome.SCALE_DEPENDENT
        is_worth_it = not (depends and asked.budget.is_default)  # a value that its scale moves by more than a tenth
        is_open = asked.num_draws is None and estimate.outcome is Outcome.CONVERGED and not is_enough
        if is_open and is_worth_it and self.allows(0):
            estimate = self._more(estimate)
            is_enough = is_precise(estimate.llc, estimate.mcse, asked.rel_tol)
        outcome = estimate.outcome
        if asked.num_draws is None and outcome in (Outcome.CONVERGED, Outcome.BUDGET_EXHAUSTED):
            outcome = Outcome.CONVERGED if is_enough else Outcome.BUDGET_EXHAUSTED
        return dataclasses.replace(
            estimate,
            outcome=outcome if is_flat else judge_scale(outcome, estimate.llc, estimate.leans, reason.taken),
            grad_evals_total=self._grad_evals,
            how_found=dataclasses.replace(estimate.how_found, reason=reason),
        )
