"""Which trajectories? The error of one chain after the same number of gradients, warm-up included.

    python benchmarks/samplers.py [--out benchmarks/results/samplers.json]

The default `hmc()`, which finds its lengths by itself, beside HMC with ℓ uniform on 1 … ℓ_max for four ℓ_max, the best
of which is what ChEES (Hoffman, Radul & Sountsov 2021) looks for; MALT (Riou-Durand & Vogrinc, arXiv 2202.13230) of the
same lengths, with momentum that lasts one trajectory; and GHMC, one leapfrog a trajectory with momentum that lasts as
long, which is what MEADS (Hoffman & Sountsov 2022) adapts. Figures are root mean squares over 16 chains of the error of
a chain's mean, relative to the exact or long-run value.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.llc.settings import choose_scale
from llckit.posterior import Energy, LocalPosterior
from llckit.sampling import FixedDraws, Info, Noise, Sampler, sample
from llckit.sampling.adaptation import SearchedStep, Steering, StepSize
from llckit.sampling.metropolis import kinetic, metropolis
from llckit.sampling.potentials import AllSamples
from llckit.toys import catalog

RESULTS = Path(__file__).parent / "results" / "samplers.json"
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
LENGTHS = (4, 16, 64, 256)
CHAINS, BUDGET = 16, 6000  # gradients a chain, half of them warm-up
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
        size = SearchedStep.start(1 / math.sqrt(curvature()))
        return State(weights, potential(weights), torch.zeros_like(weights), size)

    def step(state: State, potential, noise: Noise) -> tuple[State, Info]:
        size, kept = state.step_size.value, math.exp(-0.5 / lasting)
        dim = state.weights.shape[1]
        weights, energy = state.weights, state.energy
        momentum = noise.normal(dim) if fresh else state.momentum
        change = torch.zeros(len(weights), dtype=torch.float64)
        for _ in range(length):
            momentum = kept * momentum + math.sqrt(1 - kept**2) * noise.normal(dim)
            before, potential_before = momentum, energy.potential
            momentum = momentum - size / 2 * energy.grad
            weights = weights + size * momentum
            energy = potential(weights)
            momentum = momentum - size / 2 * energy.grad
            change = change + energy.potential - potential_before + (kinetic(momentum) - kinetic(before))
            momentum = kept * momentum + math.sqrt(1 - kept**2) * noise.normal(dim)
        moved, energy, acceptance = metropolis(state.weights, state.energy, weights, energy, change, noise)
        accepted = (moved == weights).all(1)
        momentum = torch.where(accepted[:, None], momentum, -state.momentum)
        new = state._replace(weights=moved, energy=energy, momentum=momentum)
        return new, Info(energy, moved, acceptance, length, size)

    steering = Steering(0.85)
    accepts = frozenset({AllSamples})
    return Sampler("malt", {}, accepts, True, init, step, adapt=steering.adapt, freeze=steering.freeze)


def error_of(posterior: LocalPosterior, sampler: Sampler, value: float) -> float:
    """Relative root mean square error of a chain's mean; half of the gradients are warm-up."""
    trace = sample(posterior, sampler, num_burnin=BUDGET, stopping=FixedDraws(BUDGET, BUDGET))
    return float(np.sqrt(np.mean((trace.excess.mean(axis=0) / value - 1) ** 2)))


def main() -> None:
    """Run all samplers on all targets."""
    parser = argparse.ArgumentParser(description="trajectories compared")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    candidates = {"hmc(), no tuning": lk.hmc()}
    candidates |= {f"HMC, up to {length}": lk.hmc(max_leapfrogs=length) for length in LENGTHS}
    candidates |= {f"MALT, {length}": malt(length, length) for length in LENGTHS}
    candidates |= {f"GHMC, lasting {length}": malt(1, length) for length in LENGTHS}
    toys = {toy.name: toy for toy in catalog()}
    rows = {}
    for target, times in TARGETS:
        toy, name = toys[target], f"{target}, x{times}"
        task = lk.Task(toy.model, toy.data, toy.loss_fn)
        scale = choose_scale(task, task.checkpoint())
        where = {"n_beta": times * scale.n_beta, "localization": scale.localization}
        if toy.exact is not None:
            value = toy.exact(where["n_beta"], where["localization"])
        else:
            value = lk.estimate_llc(toy.model, toy.data, toy.loss_fn, **where, **LONG_RUN).llc
        posterior = LocalPosterior(task.checkpoint(), **where, rows=CHAINS)
        rows[name] = {
            label: error_of(posterior, sampler, value) for label, sampler in tqdm(candidates.items(), desc=name[:24])
        }
        document = {"environment": environment(), "chains": CHAINS, "gradients": BUDGET, "errors": rows}
        arguments.out.write_text(json.dumps(document) + "\n")
    print(f"{'':24s}" + " ".join(f"{name[:9] + name[-5:]:>14s}" for name in rows) + "  worst / best of all")
    for label in candidates:
        ratios = [errors[label] / min(errors.values()) for errors in rows.values()]
        print(f"{label:24s}" + " ".join(f"{100 * x[label]:13.2f}%" for x in rows.values()) + f"  {max(ratios):.1f}")


if __name__ == "__main__":
    main()
