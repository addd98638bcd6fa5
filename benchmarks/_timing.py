"""Sides that take turns on the clock, and the sides that several benchmarks have."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from benchmarks._models import Case
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, Sampler, sample

CHAINS = 10
ENDLESS = 10**6  # gradients, so that draws end a run


def medians_in_turns(sides: Mapping[str, Callable[[], int]], seconds: float, least: int = 5) -> dict[str, float]:
    """Median seconds of a pass by side; all sides take turns, so that a busy machine slows all of them.

    Args:
        sides: What is run, by name; each gives the number of its passes.
        seconds: How long it goes on, times the number of sides.
        least: Turns that there are at least; the first one, which may record or compile, does not count.

    Returns:
        Seconds by name.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    end, turns = time.perf_counter() + seconds * len(sides), 0
    while time.perf_counter() < end or turns < least:
        for name, side in sides.items():
            start = time.perf_counter()
            passes = side()
            times[name].append((time.perf_counter() - start) / passes)
        turns += 1
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def bare_passes(case: Case) -> Callable[[], int]:
    """Forward and backward of the model alone, as often as there are chains; gives the number of passes."""

    def run() -> int:
        for _ in range(CHAINS):
            case.loss_fn(case.model, case.data).backward()
            case.model.zero_grad()
        return CHAINS

    return run


def drawing(posterior: LocalPosterior, sampler: Sampler, draws: int) -> Callable[[], int]:
    """Some draws of all chains by the driver, as users get them; gives the number of its gradients."""

    def run() -> int:
        trace = sample(posterior, sampler, num_burnin=0, stopping=FixedDraws(draws, ENDLESS))
        return posterior.rows * trace.grad_evals

    return run
