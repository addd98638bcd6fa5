"""Underdamped Langevin dynamics by the BAOAB splitting: large steps, and minibatches whose heat is measured."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.checks import check_positive
from llckit.posterior import Energy
from llckit.sampling.adaptation import FixedStep, SearchedStep, StepSize, check_step_size, start_step
from llckit.sampling.metropolis import keep, kinetic
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import FullPotential, MinibatchPotential, PairedMinibatches
from llckit.sampling.sampler import Curvature, Info, Potential, Sampler

STIFFNESS = 0.3  # ε²k of the stiffest direction; 4 is unstable
PERSISTENCE = 10  # steps that momentum lasts if no direction is held by a localization
LOOKS = (10, 40, 160)  # steps of the warm-up after which the curvature is measured again
MIN_DRAWS = 100
SHORTER = 0.7  # by which ε is multiplied after a step that was taken back
LARGEST_ERROR = 3.0  # of the energy in one step, beside √dim: thermal errors are ten times smaller


class BAOABState(NamedTuple):
    """Position, its energy, momentum, the step size, and what the warm-up needs to correct it."""

    weights: Tensor
    energy: Energy
    momentum: Tensor
    step_size: StepSize
    curvature: Curvature
    adapted: int = 0


def baoab(*, step_size: float | None = None, friction: float | None = None) -> Sampler:
    """Underdamped Langevin dynamics dw = p dt, dp = −∇U dt − Γp dt + √(2Γ) dB (Leimkuhler & Matthews 2013).

    One step: p ← p − ε/2 ∇Û(w), w ← w + ε/2 p, p ← cp + √(1 − c²) η with c = e^{−Γε}, w ← w + ε/2 p,
    p ← p − ε/2 ∇Û(w); the last gradient is the next step's first. With exact gradients a quadratic direction of
    curvature k has the exact variance 1/k at every ε < 2/√k; other laws have an error of order ε². So the step need not
    shrink with the number of weights, as a Metropolis test would ask.

    Noise of minibatches heats all chains. Where the potential comes in pairs (`PairedMinibatches`), its effect is
    measured and taken off.

    Nets are sharper away from w*, where a step may be unstable. So the curvature is measured again where chains are,
    three times in the warm-up. A step whose energy error ε²/8 (‖∇U(w′)‖² − ‖∇U(w)‖²), exact on quadratics, is above
    3 + √dim, or that ends in a potential that is not finite, is taken back and p is reversed. This is too rare to
    matter if the step fits, and keeps chains from leaving if it does not.

    Args:
        step_size: ε, fixed; None takes √(0.3/k) with k the largest curvature of U at w*, and later where chains are.
        friction: Γ; None takes 2√γ, which damps directions critically that the localization γ alone holds, so that they
            forget as fast as can be; without localization 1/(10 ε), so that momentum lasts for 10 steps. More friction
            is less heat.

    Returns:
        The sampler.

    Raises:
        InputError: A number that is not positive.
    """
    given = check_step_size(step_size)
    if friction is not None:
        friction = check_positive("friction", friction, ", or None to have it found")

    def kept_by(size: float, softest: float) -> float:
        if friction is not None:
            return math.exp(-friction * size)
        return math.exp(-2 * math.sqrt(softest) * size) if softest > 0 else math.exp(-1 / PERSISTENCE)

    def init(weights: Tensor, potential: Potential, curvature: Curvature) -> BAOABState:
        size = start_step(given, lambda: math.sqrt(STIFFNESS / curvature()))
        return BAOABState(weights, potential(weights), torch.zeros_like(weights), size, curvature)

    def step(state: BAOABState, potential: Potential, noise: Noise) -> tuple[BAOABState, Info]:
        size = state.step_size.value
        kept = kept_by(size, state.curvature.softest)
        momentum = torch.add(state.momentum, state.energy.grad, alpha=-size / 2)
        weights = torch.add(state.weights, momentum, alpha=size / 2)
        momentum.mul_(kept).add_(noise.normal(momentum.shape[1]), alpha=math.sqrt(1 - kept**2))
        weights.add_(momentum, alpha=size / 2)
        energy = potential(weights)
        momentum.sub_(energy.grad, alpha=size / 2)
        error = size**2 / 4 * (kinetic(energy.grad) - kinetic(state.energy.grad))  # kinetic(∇U) is ½‖∇U‖²
        # NaN if the gradient is not finite, and then not below any bound
        stable = torch.isfinite(energy.potential) & (error < LARGEST_ERROR + math.sqrt(weights.shape[1]))
        weights, energy = keep(stable, weights, energy, state.weights, state.energy)
        momentum = torch.where(stable[:, None], momentum, -state.momentum, out=momentum)
        new_state = state._replace(weights=weights, energy=energy, momentum=momentum)
        return new_state, Info(energy, weights, stable.double(), 1, size)

    def adapt(state: BAOABState, info: Info) -> BAOABState:
        state = state._replace(adapted=state.adapted + 1)
        if isinstance(state.step_size, FixedStep):
            return state
        size = state.step_size.value
        if state.adapted in LOOKS:
            size = math.sqrt(STIFFNESS / state.curvature.largest(state.weights))
        if not bool(info.acceptance.all()):
            size *= SHORTER
        return state._replace(step_size=SearchedStep.start(size))

    return Sampler(
        name="baoab",
        settings={"step_size": given, "friction": friction},
        accepts=frozenset({FullPotential, MinibatchPotential, PairedMinibatches}),
        is_exact=False,
        init=init,
        step=step,
        adapt=adapt,
        min_draws=MIN_DRAWS,
    )
