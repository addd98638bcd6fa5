"""Underdamped Langevin dynamics by the BAOAB splitting: momentum that crosses flat directions, minibatches allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy
from llckit.sampling.adaptation import StepSize, steering
from llckit.sampling.base import Info, Noise, Potential, Sampler, check_step_size, is_positive
from llckit.sampling.metropolis import keep, kinetic

PERSISTENCE = 10  # steps that momentum lasts
TARGET_ACCEPTANCE = 0.9
LARGEST_ERROR = 3.0  # thermal errors are ten times smaller at that acceptance, so only instability goes beyond


class BAOABState(NamedTuple):
    """Position, its energy, momentum, and the step size with what steers it."""

    weights: Tensor
    energy: Energy
    momentum: Tensor
    step_size: StepSize


def baoab(*, step_size: float | None = None, friction: float | None = None) -> Sampler:
    """Underdamped Langevin dynamics dw = p dt, dp = −∇U dt − Γp dt + √(2Γ) dB (Leimkuhler & Matthews 2013).

    One step: p ← p − ε/2 ∇Û(w), w ← w + ε/2 p, p ← cp + √(1 − c²) η with c = e^{−Γε}, w ← w + ε/2 p,
    p ← p − ε/2 ∇Û(w); the last gradient is the next step's first. With exact gradients a quadratic direction of
    curvature k has the exact variance 1/k at every ε < 2/√k; elsewhere the error is of order ε². Gradient noise of
    variance s² in a direction heats it by ε²s²/(1 − c²), whatever its curvature: half of that, summed over directions,
    is the `heat` that an estimate is relieved of.

    The step is found by what Metropolis would say of it: a leapfrog errs by ε²/8 (‖∇U(w′)‖² − ‖∇U(w)‖²) in energy,
    exactly so on quadratics, and that takes gradients alone. Nets are sharper away from w*, where a step may be
    unstable: one with an error above 3, or into a potential that is not finite, is taken back and p reversed. That is
    too rare to be felt where the step fits, and keeps chains from flying away where it does not.

    Args:
        step_size: ε, fixed; None finds it: first 1/(2√k) with k the largest curvature of U at w*, then dual averaging
            during the warm-up to a would-be acceptance of 0.9, pooled over chains.
        friction: Γ; None takes 1/(10 ε), momentum that lasts for 10 steps: stiff directions then forget their energy
            within as many, and flat ones, whose curvature nobody knows beforehand, are crossed in 20 times fewer
            steps than with fresh momentum at each. More friction is less heat.

    Returns:
        The sampler.

    Raises:
        InputError: A number that is not positive.
    """
    check_step_size(step_size)
    if friction is not None and not is_positive(friction):
        raise InputError(f"friction is {friction!r}; expected a positive number, or None to have it found")

    def init(weights: Tensor, potential: Potential, curvature: Callable[[], float]) -> BAOABState:
        size = StepSize.start(step_size or 0.5 / math.sqrt(curvature()))
        return BAOABState(weights, potential(weights), torch.zeros_like(weights), size)

    def step(state: BAOABState, potential: Potential, noise: Noise) -> tuple[BAOABState, Info]:
        size = state.step_size.value
        kept = math.exp(-1 / PERSISTENCE if friction is None else -friction * size)
        momentum = torch.add(state.momentum, state.energy.grad, alpha=-size / 2)
        weights = torch.add(state.weights, momentum, alpha=size / 2)
        momentum.mul_(kept).add_(noise.normal(momentum.shape[1]), alpha=math.sqrt(1 - kept**2))
        weights.add_(momentum, alpha=size / 2)
        energy = potential(weights)
        error = size**2 / 4 * (kinetic(energy.grad) - kinetic(state.energy.grad))  # ½‖∇U‖²
        finite = torch.isfinite(energy.potential) & torch.isfinite(error)
        acceptance = torch.where(finite, (-error).clamp(max=0).exp(), 0.0)
        stable = finite & (error < LARGEST_ERROR)
        momentum.sub_(energy.grad, alpha=size / 2)
        weights, energy = keep(stable, weights, energy, state.weights, state.energy)
        momentum = torch.where(stable[:, None], momentum, -state.momentum, out=momentum)
        new_state = state._replace(weights=weights, energy=energy, momentum=momentum)
        return new_state, Info(energy, weights, acceptance, 1, size)

    def heat(size: float, variance: float) -> float:
        kept = math.exp(-1 / PERSISTENCE if friction is None else -friction * size)
        return 0.5 * size**2 * variance / (1 - kept**2)

    adapt, freeze = steering(TARGET_ACCEPTANCE, fixed=step_size is not None)
    return Sampler(
        name="baoab",
        settings={"step_size": step_size, "friction": friction},
        init=init,
        step=step,
        adapt=adapt,
        freeze=freeze,
        needs_full_loss=False,
        heat=heat,
    )
