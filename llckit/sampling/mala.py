"""The Metropolis-adjusted Langevin algorithm: Langevin steps made exact, if the full loss is affordable."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.posterior import Energy
from llckit.sampling.adaptation import Steering, StepSize, check_step_size, start_step
from llckit.sampling.metropolis import kinetic, metropolis
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import FullPotential
from llckit.sampling.sampler import Curvature, Info, Potential, Sampler

TARGET_ACCEPTANCE = 0.574  # optimal as the dimension grows, Roberts & Rosenthal (JRSS B 60, 1998)


class MALAState(NamedTuple):
    """Position, its energy, and the step size with what steers it."""

    weights: Tensor
    energy: Energy
    step_size: StepSize


def mala(*, step_size: float | None = None) -> Sampler:
    """Langevin proposals w′ = w − ε/2 ∇U(w) + √ε η, η ~ N(0, 1), accepted or not (Besag 1994; Roberts & Tweedie 1996).

    With η′ = η − √ε/2 (∇U(w) + ∇U(w′)) the proposal is accepted with probability min(1, exp(−ΔH)),
    ΔH = U(w′) − U(w) + ½‖η′‖² − ½‖η‖². It is a Hamiltonian trajectory of one leapfrog of length √ε.

    The law is the posterior's for every ε: a quadratic direction of curvature k has variance 1/k. Flat directions are
    crossed by diffusion, so the mean comes out too low until ~k/γ steps are made; `hmc` needs the square root of that.

    Args:
        step_size: ε, fixed; None finds it. It is first 1/k with k the largest curvature of U at w*; dual averaging
            during the warm-up then leads to an acceptance of 0.574, pooled over chains.

    Returns:
        The sampler.

    Raises:
        InputError: A step size that is not positive.
    """
    given = check_step_size(step_size)

    def init(weights: Tensor, potential: Potential, curvature: Curvature) -> MALAState:
        return MALAState(weights, potential(weights), start_step(given, lambda: 1 / curvature()))

    def step(state: MALAState, potential: Potential, noise: Noise) -> tuple[MALAState, Info]:
        size = state.step_size.value
        momentum = noise.normal(state.weights.shape[1])
        start = kinetic(momentum)
        middle = momentum.add_(state.energy.grad, alpha=-math.sqrt(size) / 2)
        proposal = torch.add(state.weights, middle, alpha=math.sqrt(size))
        proposed = potential(proposal)
        end = kinetic(middle.sub_(proposed.grad, alpha=math.sqrt(size) / 2))
        change = proposed.potential - state.energy.potential + (end - start)
        weights, energy, acceptance = metropolis(state.weights, state.energy, proposal, proposed, change, noise)
        return state._replace(weights=weights, energy=energy), Info(energy, weights, acceptance, 1, size)

    steering = Steering(TARGET_ACCEPTANCE)
    return Sampler(
        name="mala",
        settings={"step_size": given},
        accepts=frozenset({FullPotential}),
        is_exact=True,
        init=init,
        step=step,
        adapt=steering.adapt,
        freeze=steering.freeze,
    )
