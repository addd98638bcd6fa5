"""`llckit watch`: estimates checkpoints as they appear, and tells of transitions once they are significant."""

from __future__ import annotations

import time
from argparse import Namespace
from typing import Literal

import numpy as np
from tqdm import tqdm

from llckit.errors import InputError
from llckit.llc import LLCCurve, estimate_curve
from llckit.posterior import behavioral_task, load_task
from llckit.store import CheckpointStore
from llckit.transitions import (
    FALSE_BOUNDARIES,
    MIN_CHECKPOINTS,
    Transition,
    check_false_boundaries,
    detect_transitions,
)

POLL = 2.0  # seconds between looks at the store


def follow(arguments: Namespace) -> int:
    """`llckit watch STORE --task FILE.py:NAME`: until Ctrl-C, or until nothing new has come for `--idle` seconds."""
    store = CheckpointStore(arguments.store, create=False)
    if store.path.is_file():
        raise InputError(f"{store.path} is an exported file, to which nothing is added: use llckit estimate")
    task = load_task(arguments.task, compile=arguments.compile)
    task = behavioral_task(task) if arguments.behavioral else task
    if arguments.idle is not None and not arguments.idle > 0:
        raise InputError(f"--idle is {arguments.idle:g}, expected seconds above 0")
    seen: set[int] = set()
    news = News(arguments.axis, check_false_boundaries(arguments.false_boundaries))
    last_change = time.monotonic()
    while True:
        steps = store.steps
        if not seen.issuperset(steps):
            curve = estimate_curve(store, task, steps, n_beta=arguments.n_beta, localization=arguments.localization)
            for row, step in enumerate(steps):
                if step not in seen:
                    print(_row(curve, row), flush=True)
            for line in news.of(curve):
                print(line, flush=True)
            seen.update(steps)
            last_change = time.monotonic()
        elif arguments.idle is not None and time.monotonic() - last_change > arguments.idle:
            print(f"nothing new for {arguments.idle:g} s: {len(steps)} checkpoints, {news.summary()}")
            return 0
        _wait(POLL)


class News:
    """What has been told about the transitions of a growing curve.

    Args:
        axis: As for `detect_transitions`.
        false_boundaries: Likewise; the bound is that of one look, and a run is looked at often.
    """

    def __init__(self, axis: Literal["log", "linear"] = "log", false_boundaries: float = FALSE_BOUNDARIES) -> None:
        self.told: list[Transition] = []
        self._axis: Literal["log", "linear"] = axis
        self._false_boundaries = false_boundaries

    def of(self, curve: LLCCurve) -> list[str]:
        """What a longer curve changes: transitions that are new, and those that are no longer there.

        Args:
            curve: Up to now.

        Returns:
            Sentences.
        """
        usable = np.isfinite(curve.llc) & curve.is_minimum & np.isfinite(curve.loss)
        if usable.sum() < MIN_CHECKPOINTS:
            return []
        now = int(curve.step[-1])
        found = list(detect_transitions(curve, axis=self._axis, false_boundaries=self._false_boundaries))
        lines = [_told(now, transition) for transition in found if not any(_same(transition, t) for t in self.told)]
        lines += [
            f"step {now}: the transition of type {before.kind} at {before.location:.0f} is withdrawn"
            for before in self.told
            if not any(_same(before, transition) for transition in found)
        ]
        self.told = found
        return lines

    def summary(self) -> str:
        """The transitions as they are seen now.

        Returns:
            A clause.
        """
        named = [f"{t.kind} {t.start:.0f}–{t.end:.0f}" for t in self.told]
        return f"transitions: {', '.join(named)}" if named else "no transition"


def _told(now: int, transition: Transition) -> str:
    low, high = transition.location_interval
    return (
        f"step {now}: a transition of type {transition.kind}{', hidden' if transition.hidden else ''}, since step "
        f"{transition.start:.0f}, steepest at {transition.location:.0f} ({low:.0f} … {high:.0f}), ΔLLC "
        f"{transition.delta_llc:+.4g} so far, probability {transition.probability:.2f}; told "
        f"{now - transition.location:.0f} steps after its steepest point"
    )


def _same(one: Transition, other: Transition) -> bool:
    """Whether both are the same move, as more of it is seen."""
    overlap = one.start < other.end and other.start < one.end
    return overlap and one.kind == other.kind and (one.delta_llc > 0) == (other.delta_llc > 0)


def _row(curve: LLCCurve, row: int) -> str:
    outcome = "" if curve.outcome is None else curve.outcome[row].value
    error = np.nan if curve.mcse is None else curve.mcse[row]
    return f"{curve.step[row]:9} {curve.loss[row]:12.6g} {curve.llc[row]:9.4g} {error:8.2g}  {outcome}"


def _wait(seconds: float) -> None:
    with tqdm(total=0, desc="waiting for checkpoints", bar_format="{desc} {elapsed}", leave=False, disable=None):
        time.sleep(seconds)
