"""The Metropolis-adjusted Langevin algorithm: Langevin steps made exact, where the full loss is affordable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.posterior import Energy
from llckit.sampling.adaptation import StepSize, steering
from llckit.sampling.base import Info, Noise, Potential, Sampler, check_step_size
from llckit.sampling.metropolis import kinetic, metropolis

TARGET_ACCEPTANCE = 0.574  # optimal as the dimension grows, Roberts & Rosenthal (JRSS B 60, 1998)


class MALAState(NamedTuple):
    """Position, its energy, and the step size with what steers it."""

    weights: Tensor
    energy: Energy
    step_size: StepSize


def mala(*, step_size: float | None = None) -> Sampler:
    """Langevin proposals w′ = w − ε/2 ∇U(w) + √ε η, η ~ N(0, 1), accepted or not (Besag 1994; Roberts & Tweedie 1996).

    With η′ = η − √ε/2 (∇U(w) + ∇U(w′)) the proposal is accepted with probability min(1, exp(−ΔH)),
    ΔH = U(w′) − U(w) + ½‖η′‖² − ½‖η‖²: it is a Hamiltonian trajectory of one leapfrog of length √ε. The law is the
    posterior's for every ε, a quadratic direction of curvature k having variance 1/k, but flat directions are crossed
    by diffusion: the mean comes out too low until ~k/γ steps are made, which `hmc` reduces to its square root.

    Args:
        step_size: ε, fixed; None finds it: first 1/k with k the largest curvature of U at w*, then dual averaging
            during the warm-up to an acceptance of 0.574, pooled over chains.

    Returns:
        The sampler.

    Raises:
        InputError: A step size that is not positive.
    """
    check_step_size(step_size)

    def init(weights: Tensor, potential: Potential, curvature: Callable[[], float]) -> MALAState:
        return MALAState(weights, potential(weights), StepSize.start(step_size or 1 / curvature()))

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

    adapt, freeze = steering(TARGET_ACCEPTANCE, fixed=step_size is not None)
    return Sampler(
        name="mala",
        settings={"step_size": step_size},
        init=init,
        step=step,
        adapt=adapt,
        freeze=freeze,
        needs_full_loss=True,
    )
