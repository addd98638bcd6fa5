"""One estimate by llckit, and the plain numbers that results keep of it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import llckit as lk

Z95 = 1.959964
TRUSTED = {outcome.value for outcome in lk.Outcome if outcome.trusted}
TINY = {"max_grad_evals": 150, "num_chains": 4}  # settings of an estimate for --quick
SHORT_RUN = TINY | {"seed": 1_000_003, "progress": False}  # … and of the long run that it is compared with


def timed_estimate(model: Any, data: Any, loss_fn: Any, **settings: Any) -> tuple[lk.LLCEstimate, dict[str, Any]]:
    """Estimate an LLC.

    Args:
        model: At w*.
        data: Its samples.
        loss_fn: Its loss.
        settings: Further arguments of `estimate_llc`.

    Returns:
        The estimate, and its numbers by name, with the seconds that it took.
    """
    start = time.perf_counter()
    found = lk.estimate_llc(model, data, loss_fn, progress=False, **settings)
    return found, numbers_of(found) | {"seconds": time.perf_counter() - start}


def numbers_of(found: lk.LLCEstimate) -> dict[str, Any]:
    """What results keep of every estimate."""
    return {
        "llc": found.llc,
        "mcse": found.mcse,
        "n_beta": found.n_beta,
        "localization": found.localization,
        "outcome": found.outcome.value,
        "grad_evals": found.how_found.grad_evals,
    }


def spread(errors: Any) -> dict[str, float | None]:
    """Median, 95th percentile and largest of some errors; None of no errors."""
    sizes = np.abs(np.asarray(errors, dtype=float))
    if not len(sizes):
        return {"median": None, "percentile_95": None, "worst": None}
    return {
        "median": float(np.median(sizes)),
        "percentile_95": float(np.percentile(sizes, 95)),
        "worst": float(sizes.max()),
    }
