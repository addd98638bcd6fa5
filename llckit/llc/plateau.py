"""Where λ̂ is flat over the scale of loss: the learning coefficient is that plateau."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from llckit.llc.outcome import LLCEstimate, Outcome
from llckit.llc.point import Settings, estimate_point, reached
from llckit.llc.settings import Scale
from llckit.posterior import LocalPosterior, Observable, Point, Task

FLAT = 0.03  # per e-fold of nβ: |d ln λ̂ / d ln nβ| on a plateau
LEAST = 3  # rungs
STEADY = 0.02  # relative change per decade of nβ below which the default scale stays where it is
DECADES = 3  # of nβ above n/ln n, and of γ below its default, that are looked at
HELD = 0.1  # of λ̂, per e-fold: where it falls with γ and rises with nβ by more, γ holds the chain rather than the loss
UP, DOWN = (10.0, 1.0), (1.0, 0.1)  # by which nβ and γ are multiplied from rung to rung of a ladder


def estimate_on_plateau(
    task: Task,
    point: Point,
    scale: Scale,
    settings: Settings,
    *,
    hold_localization: bool = False,
    progress: bool = False,
    observe: Mapping[str, Observable] | None = None,
) -> LLCEstimate:
    """The LLC at a scale from which on it is flat, in nβ and in γ; at n/ln n where there is none.

    First at nβ = 1, 10, 100, 1000 n/ln n, with γ as chosen at n/ln n: the smallest from which a further decade changes
    λ̂ by 2 % at most, give or take its standard error, is taken, or the one after it where the changes so far, going on
    as a geometric series, would add up to more. Where w* stops being a minimum before that, or λ̂ goes on changing, and
    λ̂ at n/ln n leans on γ, the smallest of γ, γ/10, γ/100 and γ/1000 is sought likewise, at n/ln n.

    Where λ̂ at n/ln n falls with γ and rises with nβ, by more than a tenth per e-fold beyond two standard errors, γ
    holds the chain and not the loss. It is then lowered before nβ is raised, and rungs from which on λ̂ ∝ k/(k + γ), the
    law of regular directions, would still change by more than 2 % a decade are left out, two at most.

    A rung whose estimate fails, or has an error above 2 %, ends its ladder; every rung is asked for a standard error of
    2 % even where `rel_tol` is larger, so that nβ and γ, which say what is measured, do not depend on one that is. If
    that finds no plateau, the first rung will do with which all further ones of its ladder agree to 2 % within two
    standard errors, if changes as before it, a geometric series, end there too; the rule then says so. If there is none
    either, it is the first estimate, or the first with a lower γ where γ held the chain.

    Args:
        task: Model, data and loss.
        point: The checkpoint.
        scale: n/ln n and the γ chosen there, see `choose_scale`.
        settings: What finds it.
        hold_localization: Whether γ stays, as one does that the user gave.
        progress: Whether a bar is shown (on a terminal).
        observe: Functions of the model to evaluate at every draw.

    Returns:
        The estimate; `settings["rule"]` says how nβ and γ were chosen.
    """
    search = _Search(task, point, scale, settings, progress=progress, observe=observe)
    ladders = {UP: 0}
    if not hold_localization and _sharp(search.first):
        ladders = _ladders(search.first)
    climbs = []
    for factors, begin in ladders.items():
        climbs.append(climb := search.climb(factors, begin))
        if climb.plateau is not None:
            return search.on_plateau(climb, climb.plateau)
    for climb in climbs:
        decade = _flat_within_two_errors(climb.rungs)
        if decade is not None:
            return search.on_plateau(climb, decade, " within two errors")
    return search.without_plateau(climbs)


class _Climb(NamedTuple):
    """A ladder: by what nβ and γ are multiplied, rungs by decade, which one is the plateau, and what ended it if none.

    `begin` is the decade before which rungs were left out.
    """

    factors: tuple[float, float]
    begin: int
    rungs: dict[int, LLCEstimate]
    plateau: int | None
    ended: str


class _Search:
    """Estimates of one checkpoint at several nβ and γ, which share L(w*) and recordings; the first is at n/ln n."""

    def __init__(
        self,
        task: Task,
        point: Point,
        scale: Scale,
        settings: Settings,
        *,
        progress: bool,
        observe: Mapping[str, Observable] | None,
    ) -> None:
        self._rel_tol = settings.rel_tol
        self._settings = dataclasses.replace(settings, rel_tol=min(settings.rel_tol, STEADY))
        self._task, self._point, self._scale = task, point, scale
        posterior = LocalPosterior(task, point, n_beta=1.0, localization=0.0, rows=1)
        self._said: dict[str, Any] = {"progress": progress, "observe": observe, "posterior": posterior}
        self.first = estimate_point(task, point, scale, self._settings, **self._said)

    def _rung(self, factors: tuple[float, float], decade: int) -> LLCEstimate:
        n_beta, gamma = (factor**decade for factor in factors)
        moved = Scale(self._scale.n_beta * n_beta, self._scale.localization * gamma, "")
        only_compared = factors is DOWN and decade == DECADES
        settings = dataclasses.replace(self._settings, rel_tol=STEADY) if only_compared else self._settings
        return estimate_point(self._task, self._point, moved, settings, **self._said)

    def climb(self, factors: tuple[float, float], begin: int) -> _Climb:
        """Rung by rung to a plateau, or to where there cannot be one."""
        rungs = {0: self.first}

        def end(why: str) -> _Climb:
            return _Climb(factors, begin, rungs, None, why)

        for decade in range(1, DECADES + 1):
            last = rungs[max(rungs)]
            if not _sharp(last):
                return end(f"this estimate cannot tell: {_fault(last)}")
            if decade < begin:
                continue
            rungs[decade] = self._rung(factors, decade)
            was, outside = (x.outcome is Outcome.OUTSIDE_BRACKET for x in (last, rungs[decade]))
            # A higher nβ may bring a value back into its bracket. A lower γ only opens more of what is beside w*: where
            # that is seen no more, chains no longer get there.
            crossed = outside != was if factors is DOWN else outside and not was
            if not _sharp(rungs[decade]) or crossed:
                return end(f"{decade} decade{'s' * (decade > 1)} on: {_fault(rungs.pop(decade))}")
            if decade > begin and steady(last, rungs[decade]):
                change = _to_come([last, rungs[decade]])
                goes_on = _to_come(list(rungs.values())) > max(STEADY, change)
                return _Climb(factors, begin, rungs, decade if goes_on and factors is UP else decade - 1, "")
        return end(f"{DECADES} decades on it still changes")

    def on_plateau(self, climb: _Climb, decade: int, within: str = "") -> LLCEstimate:
        """The rung that is one, with the rule that found it."""
        if climb.factors is DOWN:
            rule = f"n_beta = n/ln(n), with the LLC flat in localization{within}; {self._localization(decade)}"
        else:
            times = f"{10**decade} " if decade else ""
            rule = f"n_beta = {times}n/ln(n), from which on the LLC is flat{within}; {self._localization(0)}"
        return self._named(climb.rungs[decade], rule)

    def without_plateau(self, climbs: list[_Climb]) -> LLCEstimate:
        """The first estimate, or the first with a lower γ where γ held the chain."""
        best, decade, ended = self.first, 0, ""
        for climb in climbs:
            if climb.factors is UP:
                ended = climb.ended
            elif climb.begin in climb.rungs:
                best, decade = climb.rungs[climb.begin], climb.begin
        return self._named(best, f"n_beta = n/ln(n), as no plateau was found ({ended}); {self._localization(decade)}")

    def _localization(self, decade: int) -> str:
        return self._scale.rule.split("; ")[1] + (f", a {10**decade}th of it" if decade else "")

    def _named(self, estimate: LLCEstimate, rule: str) -> LLCEstimate:
        exhausted = estimate.outcome is Outcome.BUDGET_EXHAUSTED
        enough = exhausted and reached(estimate.llc, estimate.mcse, self._rel_tol)
        outcome = Outcome.CONVERGED if enough else estimate.outcome
        return dataclasses.replace(estimate, outcome=outcome, settings=estimate.settings | {"rule": rule})


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
    return {DOWN: _begin(held), UP: 0} if surely > HELD else {UP: 0, DOWN: 0}


def _flat_within_two_errors(rungs: dict[int, LLCEstimate]) -> int | None:
    for decade, after in itertools.pairwise(rungs):
        so_far = [rung for k, rung in rungs.items() if k <= after]
        further = [rung for k, rung in rungs.items() if k > decade]
        stays = _to_come(so_far) <= STEADY + 2 * _relative_error(*so_far[-2:])
        if after == decade + 1 and stays and all(steady(rungs[decade], rung, errors=2) for rung in further):
            return decade
    return None


def _begin(held: float) -> int:
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
    return judged and estimate.llc > 0 and estimate.mcse <= STEADY * estimate.llc


def _fault(estimate: LLCEstimate) -> str:
    if not estimate.outcome.trusted or estimate.outcome is Outcome.BUDGET_EXHAUSTED:
        return estimate.outcome.value
    return "its error is above 2 %" if estimate.llc > 0 else "it is not above 0"


def find_plateau(n_beta: np.ndarray, llc: np.ndarray, mcse: np.ndarray, usable: np.ndarray) -> slice | None:
    """The longest stretch of rungs over which λ̂ is flat.

    A stretch is flat if a straight line through ln λ̂ against ln nβ, weighted by the errors, has a slope below FLAT in
    size, and no pair of neighbours has one above it by more than its own two standard errors.

    Args:
        n_beta: Ascending.
        llc: λ̂.
        mcse: Its standard error.
        usable: Which rungs may take part.

    Returns:
        Which rungs, at least three; None if there is no such stretch.
    """
    usable = usable & (llc > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, error = np.log(n_beta), np.log(llc), mcse / llc
    best: slice | None = None
    for first in range(len(n_beta)):
        for stop in range(first + LEAST, len(n_beta) + 1):
            rungs = slice(first, stop)
            if not usable[rungs].all():
                break
            if best is not None and stop - first < best.stop - best.start:
                continue
            step, rise = np.diff(x[rungs]), np.diff(y[rungs])
            doubt = 2 * np.hypot(error[rungs][1:], error[rungs][:-1])
            slope = np.polyfit(x[rungs], y[rungs], 1, w=1 / error[rungs])[0]
            if abs(slope) <= FLAT and (np.abs(rise) <= FLAT * step + doubt).all():
                best = rungs  # of two that are equally long, the one at the smaller scale of loss
    return best
