"""Stochastic-gradient Langevin dynamics, for parity with the literature."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.sampling.adaptation import check_step_size
from llckit.sampling.chain_group import OneByOne
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import FullPotential, MinibatchPotential
from llckit.sampling.sampler import Curvature, Info, Potential, Sampler

STIFFNESS = 0.2  # ε times the largest curvature: the stiffest direction is then 5 % too warm


class SGLDState(NamedTuple):
    """Position and step size."""

    weights: Tensor
    step_size: float


def sgld(*, step_size: float | None = None) -> Sampler:
    """Langevin steps w ← w − ε/2 ∇Û(w) + √ε η, η ~ N(0, 1) (Welling & Teh 2011; Lau et al., arXiv 2308.12108).

    Not corrected: with exact gradients a direction of curvature k of U has the variance 1/(k(1 − εk/4)), and is
    unstable at εk ≥ 4. Minibatch noise in ∇Û heats it further. The draw of a step is the point where its gradient was
    computed.

    Args:
        step_size: ε; None takes 0.2 over the largest curvature of U at w*.

    Returns:
        The sampler.

    Raises:
        InputError: A step size that is not positive.
    """
    given = check_step_size(step_size)

    def init(weights: Tensor, potential: Potential, curvature: Curvature) -> SGLDState:
        return SGLDState(weights, given or STIFFNESS / curvature())

    def step(state: SGLDState, potential: Potential, noise: Noise) -> tuple[SGLDState, Info]:
        size = state.step_size
        energy = potential(state.weights)
        moved = noise.normal(state.weights.shape[1])
        torch.add(state.weights, moved, alpha=math.sqrt(size), out=moved)
        moved.add_(energy.grad, alpha=-size / 2)
        ones = torch.ones_like(energy.excess)
        return state._replace(weights=moved), Info(energy, state.weights, ones, 1, size)

    return Sampler(
        name="sgld",
        settings={"step_size": given},
        accepts=frozenset({FullPotential, MinibatchPotential, OneByOne}),
        is_exact=False,
        init=init,
        step=step,
    )
