"""Estimates made wrong on purpose: samplers at bad steps and with few draws, and how each estimate ended."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm import tqdm

import llckit as lk
from benchmarks._estimates import Z95
from benchmarks._models import own_loss, product_loss
from llckit.toys import LinearNet, Quadratic, two_layer_point

NO_DATA = (torch.zeros(10_000, 1),)
N_BETA = 1000.0
ERRORS = 2 * Z95  # from which on an estimate is outside its bracket


class Subject(NamedTuple):
    """A model at a minimum, its loss, and its largest curvature."""

    model: nn.Module
    loss_fn: Any
    largest: float


def subjects() -> dict[str, Subject]:
    """A potential with flat directions, a stiff one, and a linear net."""
    stiff, flat = torch.logspace(-3, 2, 20), torch.zeros(40)
    flat[:10] = torch.logspace(-2, 0, 10)
    return {
        "10 of 40 directions": Subject(Quadratic(flat), own_loss, 1.0),
        "stiff": Subject(Quadratic(stiff), own_loss, 100.0),
        "linear net": Subject(LinearNet(two_layer_point((4, 12, 6), (4, 6, 3))), product_loss, 8.0),
    }


def sampler_of(name: str, step: float) -> Any:
    """A sampler at a step size in the unit of SGLD's."""
    if name == "baoab":
        return lk.baoab(step_size=math.sqrt(step))
    return {"sgld": lk.sgld, "rmsprop_sgld": lk.rmsprop_sgld}[name](step_size=step)


def wrong_estimates(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Run all combinations.

    Args:
        grid: Values of `samplers`, `localizations`, `shares` (of the largest stable step), `lengths` (draws and
            burn-in) and `chains`.

    Returns:
        The number of runs, the outcomes of those whose numbers are outside their bracket, and those that only the
        bracket gave away.
    """
    outcomes: Counter[str] = Counter()
    alone = []
    models = subjects()
    names = ("samplers", "localizations", "shares", "lengths", "chains")
    runs: list[tuple[Any, ...]] = [*itertools.product(models, *(grid[name] for name in names))]
    for model, sampler, gamma, share, (draws, burnin), chains in tqdm(runs, desc="wrong", leave=False, disable=None):
        subject = models[model]
        how = {"sampler": sampler_of(sampler, share / (N_BETA * subject.largest + gamma)), "num_chains": chains}
        how |= {"num_draws": draws, "num_burnin": burnin, "n_beta": N_BETA, "localization": gamma, "progress": False}
        found = lk.estimate_llc(subject.model, NO_DATA, subject.loss_fn, **how)
        outcomes[label_of(found)] += 1
        if label_of(found) == lk.Outcome.OUTSIDE_BRACKET.value:
            name = f"{model}, γ {gamma:g}, {sampler} at {share} of 1/k, {burnin} + {draws} draws, {chains} chains"
            values = {"llc": found.llc, "mcse": found.mcse, "bracket": found.bracket, "virial": found.virial}
            alone.append({"name": name, "rhat": found.rhat} | values)
    return {"runs": len(runs), "outside_by_outcome": dict(outcomes), "found_by_the_bracket_alone": alone}


def label_of(found: lk.LLCEstimate) -> str:
    """The outcome, if the numbers are outside the bracket; otherwise that they are inside, or why nothing is known."""
    if found.bracket is None or found.bracket_margin is None or found.lower_finite is None:
        return "diverged" if found.outcome is lk.Outcome.DIVERGED else "not judged"
    low, high = found.lower_finite - found.bracket_margin[0], found.bracket[1] + found.bracket_margin[1]
    inside = low <= found.llc + ERRORS * found.mcse and found.llc - ERRORS * found.mcse <= high
    return "inside" if inside else found.outcome.value
