"""Hamiltonian Monte Carlo with jittered trajectory lengths: the default sampler where the full loss is affordable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy
from llckit.sampling.base import Info, Noise, Potential, Sampler

MAX_LEAPFROGS = 10
TARGET_ACCEPTANCE = 0.7
# Dual averaging's constants, Hoffman & Gelman (JMLR 15, 2014), section 3.2.1.
SHRINKAGE, OFFSET, DECAY = 0.05, 10.0, 0.75


class HMCState(NamedTuple):
    """Position, its energy, and the step size with the running sums of dual averaging."""

    weights: Tensor
    energy: Energy
    step_size: float
    center: float
    adapted: int
    error: float
    log_average: float


def hmc(*, step_size: float | None = None, max_leapfrogs: int = MAX_LEAPFROGS) -> Sampler:
    """Hamiltonian Monte Carlo (Duane et al. 1987; Neal, arXiv 1206.1901), exact for every step size.

    A trajectory of ℓ leapfrogs p ← p − ε/2 ∇U(w), w ← w + εp, p ← p − ε/2 ∇U(w) from p ~ N(0, 1) is accepted with
    probability min(1, exp(−ΔH)), H = U + ½‖p‖². ℓ is uniform on 1 … `max_leapfrogs`, one number for all chains, so
    that no direction's period resonates with it. Crossing flat directions costs the square root of what Langevin
    steps need.

    Args:
        step_size: ε, fixed; None finds it: first 1/√k with k the largest curvature of U, then dual averaging during
            the warm-up to an acceptance of 0.7, pooled over chains.
        max_leapfrogs: the longest trajectory.

    Returns:
        The sampler.

    Raises:
        InputError: a step size or length that is not positive.
    """
    if step_size is not None and not (isinstance(step_size, float | int) and 0 < step_size < math.inf):
        raise InputError(f"step_size is {step_size!r}; expected a positive number, or None to have it found")
    if not isinstance(max_leapfrogs, int) or max_leapfrogs < 1:
        raise InputError(f"max_leapfrogs is {max_leapfrogs!r}; expected an integer of at least 1")

    def init(weights: Tensor, potential: Potential, curvature: Callable[[], float]) -> HMCState:
        first = step_size or 1 / math.sqrt(curvature())
        return HMCState(weights, potential(weights), first, math.log(first), 0, 0.0, math.log(first))

    def step(state: HMCState, potential: Potential, noise: Noise) -> tuple[HMCState, Info]:
        length = 1 + int(noise.common() * max_leapfrogs)
        size = state.step_size
        start = noise.normal(state.weights.shape[1])
        momentum, weights, energy = start.clone(), state.weights, state.energy
        for _ in range(length):
            momentum = momentum.sub_(energy.grad, alpha=size / 2)
            weights = torch.add(weights, momentum, alpha=size)
            energy = potential(weights)
            momentum = momentum.sub_(energy.grad, alpha=size / 2)
        kinetic = 0.5 * (momentum.square().sum(1, dtype=torch.float64) - start.square().sum(1, dtype=torch.float64))
        change = energy.potential - state.energy.potential + kinetic
        acceptance = torch.where(torch.isfinite(change), (-change).clamp(max=0).exp(), 0.0)
        accept = noise.uniform() < acceptance
        weights = torch.where(accept[:, None], weights, state.weights)
        energy = Energy(
            *(
                torch.where(accept[:, None] if new.dim() > 1 else accept, new, old)
                for new, old in zip(energy, state.energy, strict=True)
            )
        )
        new_state = state._replace(weights=weights, energy=energy)
        return new_state, Info(energy, weights, acceptance, length, size)

    def adapt(state: HMCState, info: Info) -> HMCState:
        if step_size is not None:
            return state
        count = state.adapted + 1
        shortfall = TARGET_ACCEPTANCE - float(info.acceptance.mean())
        error = state.error + (shortfall - state.error) / (count + OFFSET)
        log_step = state.center - math.sqrt(count) / SHRINKAGE * error
        share = count**-DECAY
        log_average = share * log_step + (1 - share) * state.log_average
        return state._replace(step_size=math.exp(log_step), adapted=count, error=error, log_average=log_average)

    def freeze(state: HMCState) -> HMCState:
        if not state.adapted:
            return state
        log_step = state.log_average  # also where a further warm-up starts afresh
        return state._replace(step_size=math.exp(log_step), center=log_step, adapted=0, error=0.0)

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
