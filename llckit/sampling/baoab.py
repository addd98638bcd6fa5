"""Underdamped Langevin dynamics by the BAOAB splitting: momentum that crosses flat directions, minibatches allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.checks import check_positive
from llckit.posterior import Energy
from llckit.sampling.adaptation import Steering, StepSize, check_step_size, start_step
from llckit.sampling.metropolis import keep, kinetic
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import FullPotential, MinibatchPotential
from llckit.sampling.sampler import Info, Potential, Sampler

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
    curvature k has the exact variance 1/k at every ε < 2/√k; other laws have an error of order ε². Gradient noise of
    variance s² in a direction heats it by ε²s²/(1 − c²), whatever its curvature. Half of that, summed over directions,
    is the `heat` that is subtracted from an estimate.

    The step is found by the acceptance that a Metropolis test would give: a leapfrog has the energy error
    ε²/8 (‖∇U(w′)‖² − ‖∇U(w)‖²), exactly so on quadratics, which takes gradients alone. Nets are sharper away from w*,
    where a step may be unstable. So a step with an error above 3, or into a potential that is not finite, is taken back
    and p is reversed. This is too rare to matter if the step fits, and keeps chains from leaving if it does not.

    Args:
        step_size: ε, fixed; None finds it. It is first 1/(2√k) with k the largest curvature of U at w*; dual averaging
            during the warm-up then leads to a would-be acceptance of 0.9, pooled over chains.
        friction: Γ; None takes 1/(10 ε), so that momentum lasts for 10 steps. Stiff directions then forget their energy
            within as many, and flat ones, whose curvature is not known beforehand, are crossed in 20 times fewer steps
            than with fresh momentum at each. More friction is less heat.

    Returns:
        The sampler.

    Raises:
        InputError: A number that is not positive.
    """
    given = check_step_size(step_size)
    if friction is not None:
        friction = check_positive("friction", friction, ", or None to have it found")

    def kept_by(size: float) -> float:
        return math.exp(-1 / PERSISTENCE if friction is None else -friction * size)

    def init(weights: Tensor, potential: Potential, curvature: Callable[[], float]) -> BAOABState:
        size = start_step(given, lambda: 0.5 / math.sqrt(curvature()))
        return BAOABState(weights, potential(weights), torch.zeros_like(weights), size)

    def step(state: BAOABState, potential: Potential, noise: Noise) -> tuple[BAOABState, Info]:
        size = state.step_size.value
        kept = kept_by(size)
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
        return 0.5 * size**2 * variance / (1 - kept_by(size) ** 2)

    steering = Steering(TARGET_ACCEPTANCE)
    return Sampler(
        name="baoab",
        settings={"step_size": given, "friction": friction},
        accepts=frozenset({FullPotential, MinibatchPotential}),
        is_exact=False,
        init=init,
        step=step,
        adapt=steering.adapt,
        freeze=steering.freeze,
        heat=heat,
    )
