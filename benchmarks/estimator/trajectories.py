"""Which trajectories? The error of one chain after the same number of gradients, warm-up included.

    python -m benchmarks.estimator.trajectories

The default `hmc()` finds its lengths by itself. It stands beside

* HMC with ℓ uniform on 1 … ℓ_max for four ℓ_max, the best of which ChEES (Hoffman, Radul & Sountsov 2021) looks for;
* MALT (Riou-Durand & Vogrinc, arXiv 2202.13230) of the same lengths, with momentum that lasts one trajectory;
* GHMC, one leapfrog a trajectory with momentum that lasts as long, which MEADS (Hoffman & Sountsov 2022) adapts.

Figures are root mean squares over 16 chains of the error of a chain's mean, relative to the exact or long-run value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import llckit as lk
from benchmarks._estimates import SHORT_RUN
from benchmarks._harness import Document, begin
from benchmarks._models import local_posterior
from benchmarks._tables import digits, percent, table
from llckit.posterior import Energy, LocalPosterior
from llckit.sampling import FixedDraws, Info, Noise, Sampler, sample
from llckit.sampling.adaptation import Steering, StepSize, start_step
from llckit.sampling.metropolis import kinetic, metropolis
from llckit.sampling.potentials import FullPotential
from llckit.toys import catalog

TARGETS = (  # with nβ in units of n/ln n: the larger, the flatter are flat directions beside the others
    ("quadratic, rank 15 of 30, rotated", 1),
    ("w1^2 w2^2", 1),
    ("w1^2 w2^2", 100),
    ("tanh 1-3-1 at zero", 1),
    ("linear 10-8-12, rank 3, deepest point", 1),
    ("linear 10-8-12, rank 3, deepest point", 100),
    ("linear 20-5-16-8-13, rank 1, deepest point", 1),
    ("linear 20-5-16-8-13, rank 1, deepest point", 100),
    ("superposition 5-gon", 1),
)
DEFAULT = "hmc(), no tuning"
LENGTHS = (4, 16, 64, 256)
LONG_RUN = {"rel_tol": 0.003, "max_grad_evals": 60_000, "num_chains": 32, "seed": 77, "progress": False}


class State(NamedTuple):
    """Position, energy, momentum and step size."""

    weights: Tensor
    energy: Energy
    momentum: Tensor
    step_size: StepSize


def malt(length: int, lasting: int) -> Sampler:
    """Trajectories of underdamped Langevin steps, accepted by the sum of their energy errors; of one step: GHMC."""
    fresh = length > 1

    def init(weights: Tensor, potential, curvature) -> State:
        size = start_step(None, lambda: 1 / math.sqrt(curvature()))
        return State(weights, potential(weights), torch.zeros_like(weights), size)

    def step(state: State, potential, noise: Noise) -> tuple[State, Info]:
        size, remaining = state.step_size.value, math.exp(-0.5 / lasting)
        fluctuation = math.sqrt(1 - remaining**2)
        dim = state.weights.shape[1]
        weights, energy = state.weights, state.energy
        momentum = noise.normal(dim) if fresh else state.momentum
        change = torch.zeros(len(weights), dtype=torch.float64)
        for _ in range(length):
            momentum = remaining * momentum + fluctuation * noise.normal(dim)
            before, potential_before = momentum, energy.potential
            momentum = momentum - size / 2 * energy.grad
            weights = weights + size * momentum
            energy = potential(weights)
            momentum = momentum - size / 2 * energy.grad
            change = change + energy.potential - potential_before + (kinetic(momentum) - kinetic(before))
            momentum = remaining * momentum + fluctuation * noise.normal(dim)
        moved, energy, acceptance = metropolis(state.weights, state.energy, weights, energy, change, noise)
        accepted = (moved == weights).all(1)
        momentum = torch.where(accepted[:, None], momentum, -state.momentum)
        new = state._replace(weights=moved, energy=energy, momentum=momentum)
        return new, Info(energy, moved, acceptance, length, size)

    steering = Steering(0.85)
    return Sampler(
        "malt", {}, frozenset({FullPotential}), True, init, step, adapt=steering.adapt, freeze=steering.freeze
    )


def candidates(lengths: tuple[int, ...]) -> dict[str, Sampler]:
    """All samplers by name, the default first."""
    found = {DEFAULT: lk.hmc()} | {f"HMC, up to {length}": lk.hmc(max_leapfrogs=length) for length in lengths}
    found |= {f"MALT, {length}": malt(length, length) for length in lengths}
    return found | {f"GHMC, lasting {length}": malt(1, length) for length in lengths}


def error_of(posterior: LocalPosterior, sampler: Sampler, value: float, budget: int) -> float:
    """Relative root mean square error of a chain's mean; half of the gradients are warm-up."""
    trace = sample(posterior, sampler, num_burnin=budget, stopping=FixedDraws(budget, budget))
    return float(np.sqrt(np.mean((trace.excess.mean(axis=0) / value - 1) ** 2)))


def measure(target: tuple[str, int], sizes: Mapping[str, Any]) -> dict[str, float]:
    """Errors of all samplers on one target."""
    name, times = target
    toy = {toy.name: toy for toy in catalog()}[name]
    n_beta = len(toy.data[0]) / math.log(len(toy.data[0]))
    few = {"n_beta": n_beta, "num_burnin": 1, "num_draws": 4, "num_chains": 2, "progress": False}
    chosen = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, **few)  # for the γ that is chosen by default at n/ln n
    scale = {"n_beta": times * n_beta, "localization": chosen.localization}
    if toy.exact is not None:
        value = toy.exact(scale["n_beta"], scale["localization"])
    else:
        value = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, **scale, **sizes["long_run"]).llc
    posterior = local_posterior(lk.Task(toy.model, toy.data, toy.loss_fn), rows=sizes["chains"], **scale)
    samplers = candidates(sizes["lengths"])
    return {
        label: error_of(posterior, sampler, value, sizes["gradients"])
        for label, sampler in tqdm(samplers.items(), desc="samplers", leave=False, disable=None)
    }


def summarize(targets: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """For each sampler the largest error over targets, in units of the best sampler's on that target."""
    names = next(iter(targets.values()))
    return {name: max(errors[name] / min(errors.values()) for errors in targets.values()) for name in names}


def report(document: Document) -> str:
    """Errors by sampler and target."""
    targets, worst = document["cases"], document["summary"]
    ratios = [row[DEFAULT] / min(error for name, error in row.items() if name != DEFAULT) for row in targets.values()]
    rows = [
        [name, *(percent(errors[name]) for errors in targets.values()), digits(ratio, 2)]
        for name, ratio in worst.items()
    ]
    return (
        f"None is best everywhere. After {document['settings']['gradients']} gradients the default errs at most "
        f"{digits(max(ratios), 2)} times as much as the best of the others does in hindsight.\n\n"
        + table(["sampler", *targets, "worst / best of all"], rows)
    )


def main() -> None:
    """Run all samplers on all targets."""
    sizes = {
        "targets": (len(TARGETS), 1),
        "lengths": (LENGTHS, (4,)),
        "chains": (16, 4),
        "gradients": (6000, 150),  # a chain, half of them warm-up
        "long_run": (LONG_RUN, SHORT_RUN),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    cases = {f"{name}, x{times}": (name, times) for name, times in TARGETS[: run.sizes["targets"]]}
    run.measure(cases, lambda target: measure(target, run.sizes), summarize)


if __name__ == "__main__":
    main()
