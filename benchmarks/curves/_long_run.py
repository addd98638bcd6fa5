"""The LLC by a long run of plain Langevin dynamics, apart from llckit's samplers: what its estimates are held to.

Underdamped Langevin dynamics of w ~ exp(−nβ L(w) − γ/2 ‖w − w*‖²) with unit mass and friction √γ, by the splitting
BAOAB (Leimkuhler & Matthews 2013), with the gradient of a new minibatch at every step. The step h is small beside the
curvature, h² k_max = 0.1. The noise of minibatches is then averaged over some 1/(h √γ) steps, and what it heats is
within the error. A draw is nβ (L_B(w) − L_B(w*)) on the minibatch that comes next, which knows nothing of w.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm import tqdm

Losses = Callable[[nn.Module, tuple[Tensor]], Tensor]


class Chains(NamedTuple):
    """How long is run.

    Attributes:
        chains: Independent chains.
        warm_up: Steps of each that are left out.
        draws: Steps of each that are kept, in a round.
        tolerance: Standard error, relative to the LLC, above which another round follows.
        rounds: Rounds at most.
        batch: Sequences of a minibatch.
        stiffness: h² k_max.
        curvature_batch: Sequences on which k_max is found.
    """

    chains: int
    warm_up: int
    draws: int
    tolerance: float
    rounds: int
    batch: int
    stiffness: float
    curvature_batch: int


class Potential:
    """nβ L_B(w) + γ/2 ‖w − w*‖² around a model's weights.

    Args:
        model: At w*; its weights are overwritten.
        losses: Loss of each sequence.
        tokens: All sequences.
        n_beta: nβ.
        localization: γ.
    """

    def __init__(self, model: nn.Module, losses: Losses, tokens: Tensor, n_beta: float, localization: float) -> None:
        self.model, self.losses, self.tokens = model, losses, tokens
        self.n_beta, self.localization = n_beta, localization
        self.parameters = [*model.parameters()]
        self.star = parameters_to_vector(self.parameters).detach().clone()
        with torch.no_grad():
            self.star_losses = torch.cat([losses(model, (some,)) for some in tokens.split(64)])

    def gradient(self, weights: Tensor, batch: Tensor) -> tuple[Tensor, float]:
        """∇U on a minibatch, and nβ (L_B(w) − L_B(w*))."""
        vector_to_parameters(weights, self.parameters)
        loss = self.losses(self.model, (self.tokens[batch],)).mean()
        gradient = parameters_to_vector(torch.autograd.grad(loss, self.parameters))
        excess = self.n_beta * (loss.item() - self.star_losses[batch].mean().item())
        return self.n_beta * gradient + self.localization * (weights - self.star), excess

    def largest_curvature(self, batch: Tensor, direction: Tensor, rounds: int = 10) -> float:
        """k_max = nβ h_max + γ at w*, by power iteration on a minibatch from some direction."""
        vector_to_parameters(self.star, self.parameters)
        size = direction.norm().item()
        with sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
            loss = self.losses(self.model, (self.tokens[batch],)).mean()
            gradient = parameters_to_vector(torch.autograd.grad(loss, self.parameters, create_graph=True))
            for _ in range(rounds):
                product = torch.autograd.grad(gradient @ (direction / size), self.parameters, retain_graph=True)
                direction = parameters_to_vector(product)
                size = direction.norm().item()
        return self.n_beta * size + self.localization


class Chain:
    """One chain, which begins at w*.

    Args:
        potential: Around the checkpoint.
        step: h.
        batch: Sequences of a minibatch.
        seed: Of all randomness.
    """

    def __init__(self, potential: Potential, step: float, batch: int, seed: int) -> None:
        self.potential, self.step, self.batch = potential, step, batch
        self.generator = torch.Generator().manual_seed(seed)
        self.kept = math.exp(-math.sqrt(potential.localization) * step)
        self.weights = potential.star.clone()
        self.momentum = self._noise()
        self.force, _ = self._look()

    def run(self, steps: int, bar: tqdm[Any]) -> tuple[list[float], list[float]]:
        """Go on; gives the excess and the kinetic temperature, a mean square momentum, after each step."""
        excesses, temperatures = [], []
        for _ in range(steps):
            self.momentum -= self.step / 2 * self.force
            self.weights += self.step / 2 * self.momentum
            self.momentum = self.kept * self.momentum + math.sqrt(1 - self.kept**2) * self._noise()
            self.weights += self.step / 2 * self.momentum
            self.force, excess = self._look()
            self.momentum -= self.step / 2 * self.force
            excesses.append(excess)
            temperatures.append(self.momentum.square().mean().item())
            bar.update()
        return excesses, temperatures

    def _noise(self) -> Tensor:
        return torch.randn(self.weights.shape, generator=self.generator)

    def _look(self) -> tuple[Tensor, float]:
        batch = torch.randint(len(self.potential.tokens), (self.batch,), generator=self.generator)
        return self.potential.gradient(self.weights, batch)


def long_run(potential: Potential, how: Chains, seed: int, title: str = "") -> dict[str, Any]:
    """E[nβ (L(w) − L(w*))] with its error.

    Args:
        potential: Around the checkpoint.
        how: How long is run.
        seed: Of all randomness; chain c takes seed + c.
        title: Of the bar.

    Returns:
        `llc`, its standard error `se` from the spread of chains, the means of chains and of the first and second
        halves of their draws, the number of draws of each and their variance, the kinetic temperature (1 without heat),
        k_max, the step h and the mean loss at w*.
    """
    generator = torch.Generator().manual_seed(seed)
    some = torch.randint(len(potential.tokens), (how.curvature_batch,), generator=generator)
    stiffest = potential.largest_curvature(some, torch.randn(potential.star.shape, generator=generator))
    step = math.sqrt(how.stiffness / stiffest)
    chains = [Chain(potential, step, how.batch, seed + number) for number in range(how.chains)]
    excess, temperature = np.empty((how.chains, 0)), np.empty((how.chains, 0))
    with tqdm(total=how.chains * (how.warm_up + how.draws), desc=title, leave=False, disable=None) as bar:
        for chain in chains:
            chain.run(how.warm_up, bar)
        for _ in range(how.rounds):
            found = np.array([chain.run(how.draws, bar) for chain in chains])  # chains, two, draws
            excess, temperature = np.hstack([excess, found[:, 0]]), np.hstack([temperature, found[:, 1]])
            llc, se = _mean_and_error(excess)
            if se <= how.tolerance * abs(llc):
                break
    llc, se = _mean_and_error(excess)
    middle = excess.shape[1] // 2
    return {
        "llc": llc,
        "se": se,
        "llc_per_chain": excess.mean(1),
        "halves": [excess[:, :middle].mean(), excess[:, middle:].mean()],
        "draws": excess.shape[1],
        "variance": excess.var(axis=1, ddof=1).mean(),
        "temperature": temperature.mean(),
        "largest_curvature": stiffest,
        "step_size": step,
        "loss": potential.star_losses.mean().item(),
    }


def _mean_and_error(excess: np.ndarray) -> tuple[float, float]:
    means = excess.mean(1)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(len(means)))
