"""Where λ̂ is flat over the scale of loss: the learning coefficient is that plateau."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from llckit.llc.outcome import LLCEstimate, Outcome
from llckit.llc.point import Settings, estimate_point, reached
from llckit.llc.settings import Scale
from llckit.posterior import Observable, Point, Task

FLAT = 0.03  # per e-fold of nβ: |d ln λ̂ / d ln nβ| on a plateau
LEAST = 3  # rungs
STEADY = 0.02  # relative change per decade of nβ below which the default scale stays where it is
DECADES = 3  # of nβ above n/ln n, and of γ below its default, that are looked at


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
    λ̂ by 2 % at most, give or take its standard error, is taken. Where w* stops being a minimum before that, or λ̂ goes
    on changing, and λ̂ at n/ln n leans on γ, the same is tried at n/ln n with γ, γ/10, γ/100 and γ/1000. A rung whose
    estimate fails, or has an error above 2 %, ends its ladder; every rung is asked for a standard error of 2 % even
    where `rel_tol` is larger, so that nβ and γ, which say what is measured, do not depend on it.

    Args:
        task: model, data and loss.
        point: the checkpoint.
        scale: n/ln n and the γ chosen there, see `choose_scale`.
        settings: what finds it.
        hold_localization: whether γ stays, as one does that the user gave.
        progress: whether a bar is shown (on a terminal).
        observe: functions of the model to evaluate at every draw.

    Returns:
        The estimate; `settings["rule"]` says how nβ and γ were chosen.
    """
    asked, settings = settings.rel_tol, dataclasses.replace(settings, rel_tol=min(settings.rel_tol, STEADY))
    first = estimate_point(task, point, scale, settings, progress=progress, observe=observe)
    held = scale.rule.split("; ")[1]

    def climb(factors: tuple[float, float]) -> tuple[LLCEstimate | None, int, str]:
        """The first rung whose next is the same, how many decades away it is, and what ended the ladder."""
        last = first
        for decade in range(1, DECADES + 1):
            if not _sharp(last):
                return None, 0, f"this estimate cannot tell: {last.outcome.value}"
            n_beta, gamma = (factor**decade for factor in factors)
            moved = Scale(scale.n_beta * n_beta, scale.localization * gamma, "")
            rung = estimate_point(task, point, moved, settings, progress=progress, observe=observe)
            left_bracket = rung.outcome is Outcome.OUTSIDE_BRACKET and last.outcome is not Outcome.OUTSIDE_BRACKET
            if not _sharp(rung) or left_bracket:
                return None, 0, f"{decade} decade{'s' * (decade > 1)} on: {rung.outcome.value}"
            if steady(last, rung):
                return last, decade - 1, ""
            last = rung
        return None, 0, f"{DECADES} decades on it still changes"

    def named(estimate: LLCEstimate, rule: str) -> LLCEstimate:
        enough = estimate.outcome is Outcome.BUDGET_EXHAUSTED and reached(estimate.llc, estimate.mcse, asked)
        outcome = Outcome.CONVERGED if enough else estimate.outcome
        return dataclasses.replace(estimate, outcome=outcome, settings=estimate.settings | {"rule": rule})

    found, decade, ended = climb((10.0, 1.0))
    if found is not None:
        times = "" if decade == 0 else f"{10**decade} "
        return named(found, f"n_beta = {times}n/ln(n), from which on the LLC is flat; {held}")
    leans = abs(first.sensitivity_localization) > STEADY * abs(first.llc)
    if leans and not hold_localization:
        found, decade, _ = climb((1.0, 0.1))
        if found is not None:
            times = "" if decade == 0 else f", a {10**decade}th of it"
            return named(found, f"n_beta = n/ln(n), with the LLC flat in localization; {held}{times}")
    return named(first, f"n_beta = n/ln(n), as no plateau was found ({ended}); {held}")


def steady(lower: LLCEstimate, higher: LLCEstimate) -> bool:
    """Whether λ̂ changes by no more than STEADY, give or take one standard error, between two rungs.

    Args:
        lower: the estimate at one.
        higher: the estimate at the next.

    Returns:
        Whether it does.
    """
    error = math.hypot(lower.mcse / lower.llc, higher.mcse / higher.llc)
    return abs(math.log(higher.llc / lower.llc)) <= STEADY + error


def _sharp(estimate: LLCEstimate) -> bool:
    # Outside its bracket a value is sharp all the same, and what a ladder is for: higher rungs may be inside.
    judged = estimate.outcome.trusted or estimate.outcome is Outcome.OUTSIDE_BRACKET
    return judged and estimate.llc > 0 and estimate.mcse <= STEADY * estimate.llc


def find_plateau(n_beta: np.ndarray, llc: np.ndarray, mcse: np.ndarray, usable: np.ndarray) -> slice | None:
    """The longest stretch of rungs over which λ̂ is flat.

    A stretch is flat if a straight line through ln λ̂ against ln nβ, weighted by the errors, has a slope below FLAT in
    size, and no pair of neighbours has one above it by more than its own two standard errors.

    Args:
        n_beta: ascending.
        llc: λ̂.
        mcse: its standard error.
        usable: which rungs may take part.

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
