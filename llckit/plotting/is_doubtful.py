"""Which estimates of a curve are marked as doubtful, in pictures and reports."""

from __future__ import annotations

import numpy as np

from llckit.llc import LLCCurve

__all__ = ["is_doubtful"]


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
