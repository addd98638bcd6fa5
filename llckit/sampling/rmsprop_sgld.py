"""Langevin dynamics with RMSProp's diagonal preconditioner, for parity with the literature."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from llckit.checks import check_number, check_positive
from llckit.errors import InputError
from llckit.sampling.adaptation import check_step_size
from llckit.sampling.chain_group import OneByOne
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import FullPotential, MinibatchPotential
from llckit.sampling.sampler import Curvature, Info, Potential, Sampler

STIFFNESS = 0.2  # ε times the largest curvature, as in sgld
EPS = 0.1  # with it no direction can be stiffer than 0.2 / 0.1, half of what would be unstable


class RMSPropSGLDState(NamedTuple):
    """Position, mean squared gradient in units of k, how often it was updated, ε and k."""

    weights: Tensor
    square: Tensor
    updates: int
    step_size: float
    curvature: float


def rmsprop_sgld(*, step_size: float | None = None, decay: float = 0.99, eps: float = EPS) -> Sampler:
    """Langevin steps scaled weight by weight (Li et al., arXiv 1512.07666; Hitchcock & Hoogland, arXiv 2507.21449).

    v ← b v + (1 − b) ∇Û²/k from v = 1, v̂ = v/(1 − bᵗ), G = 1/(√v̂ + eps), w ← w − ε/2 G ∇Û(w) + √(εG) η, with k the
    largest curvature of U at w*. √k is the size of the stiffest gradient. So G is near 1 there and at most 1/eps in
    flat directions, and ε means what it means in `sgld`. In the units of others, who take the gradient of the loss
    alone: ε = nβ lr/√k, eps = nβ eps′/√k. A sampler sees only ∇U, so the statistics contain the localization; it adds
    √(γ/k) to √v̂ where the loss is flat, next to nothing beside eps.

    The correction for G's own dependence on w is left out, as in common use, so the law is not the posterior's even as
    ε → 0. A direction that is fast beside 1/(1 − b) steps has v constant and the variance 1/(k_i(1 − εGk_i/4)) of
    `sgld`. A slow one has v = (k_i w)²/k and density ∝ e^{−U}/G. It is too warm by the factor (eps + 2cx)/(eps + cx),
    x = √(k_i/k), c = √(2/π): 1 if x is far below eps, 1.42 at x = eps, and at most 2. The slowest directions that are
    not flat are affected most; a decay nearer to 1 makes them fewer.

    Args:
        step_size: ε; None takes 0.2 over the largest curvature of U at w*.
        decay: b, at least 0 and below 1.
        eps: Floor of √v̂.

    Returns:
        The sampler.

    Raises:
        InputError: A number out of its range.
    """
    given = check_step_size(step_size)
    decay = check_number("decay", decay, 0.0, hint := " and below 1, such as 0.99")
    if decay >= 1:
        raise InputError(f"decay is {decay}; expected a finite number >= 0{hint}")
    eps = check_positive("eps", eps, f", such as {EPS}")

    def init(weights: Tensor, potential: Potential, curvature: Curvature) -> RMSPropSGLDState:
        largest = curvature()
        return RMSPropSGLDState(weights, torch.ones_like(weights), 0, given or STIFFNESS / largest, largest)

    def step(state: RMSPropSGLDState, potential: Potential, noise: Noise) -> tuple[RMSPropSGLDState, Info]:
        size, updates = state.step_size, state.updates + 1
        energy = potential(state.weights)
        square = torch.addcmul(state.square * decay, energy.grad, energy.grad, value=(1 - decay) / state.curvature)
        scaled = size / ((square / (1 - decay**updates)).sqrt_() + eps)
        moved = torch.addcmul(state.weights, scaled, energy.grad, value=-0.5)
        moved.addcmul_(scaled.sqrt(), noise.normal(moved.shape[1]))
        ones = torch.ones_like(energy.excess)
        new_state = state._replace(weights=moved, square=square, updates=updates)
        return new_state, Info(energy, state.weights, ones, 1, size)

    return Sampler(
        name="rmsprop_sgld",
        settings={"step_size": given, "decay": decay, "eps": eps},
        accepts=frozenset({FullPotential, MinibatchPotential, OneByOne}),
        is_exact=False,
        init=init,
        step=step,
    )
