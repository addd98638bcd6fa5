"""What a warm-up begins with that goes on from another estimate, of another checkpoint or at another scale."""

from __future__ import annotations

import math

from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import Outcome
from llckit.sampling import Start


def start_from(found: LLCEstimate, n_beta: float | None = None) -> Start | None:
    """Step size and turning length with which another warm-up begins; None if it has to find them itself.

    The stiffest curvature of U is proportional to nβ, and so ε to 1/√nβ.

    Args:
        found: The estimate whose warm-up is shared.
        n_beta: nβ at which chains of the same checkpoint are to begin; None for those of another checkpoint.

    Returns:
        Both, and where the chains ended if the checkpoint is the same and that is known. None if the chains diverged,
        or used scales: ε and lengths are in units of these, which are not kept.
    """
    how = found.how_found
    if found.outcome is Outcome.DIVERGED or how.scale_ratio > 1:
        return None
    if n_beta is None:
        return Start(how.step_size, how.turning_length)
    step_size = how.step_size * math.sqrt(found.n_beta / n_beta)
    return Start(step_size, how.turning_length, None if found.trace is None else found.trace.last)
