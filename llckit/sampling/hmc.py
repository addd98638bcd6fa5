"""Hamiltonian Monte Carlo with jittered trajectory lengths: the default sampler where the full loss is affordable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy
from llckit.sampling.adaptation import StepSize, steering
from llckit.sampling.base import Info, Noise, Potential, Sampler, check_step_size
from llckit.sampling.metropolis import kinetic_change, metropolis

MAX_LEAPFROGS = 10
TARGET_ACCEPTANCE = 0.85
SHORTEST = 4.0  # a step is at least ε divided by this


class HMCState(NamedTuple):
    """Position, its energy, and the step size with what steers it."""

    weights: Tensor
    energy: Energy
    step_size: StepSize


def hmc(*, step_size: float | None = None, max_leapfrogs: int = MAX_LEAPFROGS) -> Sampler:
    """Hamiltonian Monte Carlo (Duane et al. 1987; Neal, arXiv 1206.1901), exact for every step size.

    A trajectory of ℓ leapfrogs p ← p − ε/2 ∇U(w), w ← w + εp, p ← p − ε/2 ∇U(w) from p ~ N(0, 1) is accepted with
    probability min(1, exp(−ΔH)), H = U + ½‖p‖². ℓ is uniform on 1 … `max_leapfrogs`, one number for all chains, so
    that no direction's period resonates with it. A step that the user has not fixed varies likewise, ε 4^(−u²) with
    uniform u: valleys that narrow away from w* are entered by the shorter ones. Crossing flat directions costs the
    square root of what Langevin steps need.

    Args:
        step_size: ε, fixed; None finds it: first 1/√k with k the largest curvature of U, then dual averaging during
            the warm-up to an acceptance of 0.85, pooled over chains.
        max_leapfrogs: the longest trajectory.

    Returns:
        The sampler.

    Raises:
        InputError: a step size or length that is not positive.
    """
    check_step_size(step_size)
    if not isinstance(max_leapfrogs, int) or max_leapfrogs < 1:
        raise InputError(f"max_leapfrogs is {max_leapfrogs!r}; expected an integer of at least 1")

    def init(weights: Tensor, potential: Potential, curvature: Callable[[], float]) -> HMCState:
        return HMCState(weights, potential(weights), StepSize.start(step_size or 1 / math.sqrt(curvature())))

    def step(state: HMCState, potential: Potential, noise: Noise) -> tuple[HMCState, Info]:
        length = 1 + int(noise.common() * max_leapfrogs)
        size = state.step_size.value
        if step_size is None:
            size *= SHORTEST ** -(noise.common() ** 2)
        start = noise.normal(state.weights.shape[1])
        momentum, weights, energy = start.clone(), state.weights, state.energy
        for _ in range(length):
            momentum = momentum.sub_(energy.grad, alpha=size / 2)
            weights = torch.add(weights, momentum, alpha=size)
            energy = potential(weights)
            momentum = momentum.sub_(energy.grad, alpha=size / 2)
        change = energy.potential - state.energy.potential + kinetic_change(start, momentum)
        weights, energy, acceptance = metropolis(state.weights, state.energy, weights, energy, change, noise)
        return state._replace(weights=weights, energy=energy), Info(
            energy, weights, acceptance, length, state.step_size.value
        )

    adapt, freeze = steering(TARGET_ACCEPTANCE, fixed=step_size is not None)
    return Sampler(
        name="hmc",
        settings={"step_size": step_size, "max_leapfrogs": max_leapfrogs},
        init=init,
        step=step,
        adapt=adapt,
        freeze=freeze,
        needs_full_loss=True,
        num_burnin=150,
        min_draws=150,
    )
