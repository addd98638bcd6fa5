"""The stochastic-gradient Nosé-Hoover thermostat, for parity with the literature."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.checks import check_positive
from llckit.errors import InputError
from llckit.sampling.adaptation import check_step_size
from llckit.sampling.chain_group import OneByOne
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import FullPotential, MinibatchPotential
from llckit.sampling.sampler import Curvature, Info, Potential, Sampler

STIFFNESS = 0.1  # ε² times the largest curvature: that direction is 2.5 % warmer than flat ones


class SGNHTState(NamedTuple):
    """Position, momentum, friction per step of every row, and step size."""

    weights: Tensor
    momentum: Tensor
    friction: Tensor
    step_size: float


def sgnht(*, step_size: float | None = None, diffusion: float = 0.01) -> Sampler:
    """Momentum whose friction ξ rises until each chain has the right temperature (Ding et al., NeurIPS 2014).

    p ← (1 − ξ)p − ε ∇Û(w) + √(2a) η, w ← w + εp, ξ ← ξ + a²(‖p‖²/dim − 1), one ξ per chain, from ξ = a. These are the
    paper's equations in units of time in which its A is 1, so results do not depend on the scale of the weights; ε² is
    what others call the learning rate. Minibatch noise of variance s², the same in all directions, only raises ξ to
    a + ε²s²/2. Differences between directions remain.

    With exact gradients and steady ξ, a quadratic direction of curvature k has variance (1 − ξ/2)T/k,
    T = (a/ξ)/(1 − ξ/2 − ε²k/4), and ξ makes the mean of T over directions 1. The law is too cold by ξ/2 as a whole,
    warmer in stiff directions than in flat ones, and exact as ε and a → 0. The step is not adapted: a net much sharper
    away from w* needs a smaller one by hand, or `baoab`.

    Args:
        step_size: ε; None takes √(0.1/k) with k the largest curvature of U at w*.
        diffusion: a, below 1; momentum lasts for about 1/a steps.

    Returns:
        The sampler.

    Raises:
        InputError: A number out of its range.
    """
    given, a = check_step_size(step_size), check_positive("diffusion", diffusion, hint := " below 1, such as 0.01")
    if a >= 1:
        raise InputError(f"diffusion is {a}; expected a positive number{hint}")

    def init(weights: Tensor, potential: Potential, curvature: Curvature) -> SGNHTState:
        friction = torch.full_like(weights[:, 0], a, dtype=torch.float64)
        return SGNHTState(weights, torch.zeros_like(weights), friction, given or math.sqrt(STIFFNESS / curvature()))

    def step(state: SGNHTState, potential: Potential, noise: Noise) -> tuple[SGNHTState, Info]:
        size = state.step_size
        energy = potential(state.weights)
        momentum = state.momentum * (1 - state.friction)[:, None].to(state.momentum.dtype)
        momentum.sub_(energy.grad, alpha=size).add_(noise.normal(momentum.shape[1]), alpha=math.sqrt(2 * a))
        moved = torch.add(state.weights, momentum, alpha=size)
        temperature = momentum.square().mean(1, dtype=torch.float64)
        friction = state.friction + a**2 * (temperature - 1)
        ones = torch.ones_like(energy.excess)
        new_state = state._replace(weights=moved, momentum=momentum, friction=friction)
        return new_state, Info(energy, state.weights, ones, 1, size)

    return Sampler(
        name="sgnht",
        settings={"step_size": given, "diffusion": a},
        accepts=frozenset({FullPotential, MinibatchPotential, OneByOne}),
        is_exact=False,
        init=init,
        step=step,
    )
