"""What is new about the transitions of a growing curve."""

from __future__ import annotations

from typing import Literal

import numpy as np

from llckit.llc import LLCCurve
from llckit.transitions import FALSE_BOUNDARIES, MIN_CHECKPOINTS, Transition, detect_transitions

__all__ = ["News"]


class News:
    """The transitions that have been reported so far.

    Args:
        axis: Axis over which to smooth, as for `detect_transitions`.
        false_boundaries: False boundaries allowed on average in a curve that has none. The bound is that of one look,
            and a run is looked at often.
    """

    def __init__(self, axis: Literal["log", "linear"] = "log", false_boundaries: float = FALSE_BOUNDARIES) -> None:
        self._reported: list[Transition] = []
        self._axis: Literal["log", "linear"] = axis
        self._false_boundaries = false_boundaries

    def of(self, curve: LLCCurve) -> list[str]:
        """What a longer curve changes: new transitions, and withdrawn ones.

        Args:
            curve: The curve up to now.

        Returns:
            One line each.
        """
        usable = np.isfinite(curve.llc) & curve.is_minimum & np.isfinite(curve.loss)
        if usable.sum() < MIN_CHECKPOINTS:
            return []
        now = int(curve.step[-1])
        found = list(detect_transitions(curve, axis=self._axis, false_boundaries=self._false_boundaries))
        lines = [_report(now, stage) for stage in found if not any(_same(stage, before) for before in self._reported)]
        lines += [
            f"step {now}: the transition of type {before.kind} at {before.location:.0f} is withdrawn"
            for before in self._reported
            if not any(_same(before, stage) for stage in found)
        ]
        self._reported = found
        return lines

    def summary(self) -> str:
        """The transitions reported last.

        Returns:
            Such as "transitions: A 10–200", or "no transition".
        """
        named = [f"{stage.kind} {stage.start:.0f}–{stage.end:.0f}" for stage in self._reported]
        return f"transitions: {', '.join(named)}" if named else "no transition"


def _report(now: int, stage: Transition) -> str:
    low, high = stage.location_interval
    return (
        f"step {now}: a transition of type {stage.kind}{', hidden' if stage.hidden else ''}, since step "
        f"{stage.start:.0f}, steepest at {stage.location:.0f} ({low:.0f} … {high:.0f}), ΔLLC "
        f"{stage.delta_llc:+.4g} so far, probability {stage.probability:.2f}; reported "
        f"{now - stage.location:.0f} steps after its steepest point"
    )


def _same(one: Transition, other: Transition) -> bool:
    """Whether both are the same move, at different lengths of the curve."""
    overlap = one.start < other.end and other.start < one.end
    return overlap and one.kind == other.kind and (one.delta_llc > 0) == (other.delta_llc > 0)
