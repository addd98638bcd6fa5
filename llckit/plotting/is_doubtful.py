"""Which estimates of a curve pictures and reports mark: doubtful ones, and those that depend on their scale."""

from __future__ import annotations

import numpy as np

from llckit.llc import LLCCurve, Outcome

__all__ = ["depends_on_scale", "is_doubtful"]


def is_doubtful(curve: LLCCurve) -> np.ndarray:
    """Which estimates not to rely on: the outcome says so, or λ̂ is not finite.

    Args:
        curve: A curve.

    Returns:
        Bools, shape (steps,).
    """
    failed = np.zeros(len(curve), dtype=bool)
    if curve.outcome is not None:
        failed |= [not outcome.trusted for outcome in curve.outcome]
    return failed | ~np.isfinite(curve.llc)


def depends_on_scale(curve: LLCCurve) -> np.ndarray:
    """Which estimates have an honest error but are no LLC, since they depend on nβ or γ.

    Args:
        curve: A curve.

    Returns:
        Bools, shape (steps,).
    """
    if curve.outcome is None:
        return np.zeros(len(curve), dtype=bool)
    return np.array([outcome is Outcome.SCALE_DEPENDENT for outcome in curve.outcome])
