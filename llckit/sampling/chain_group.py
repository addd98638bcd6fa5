"""Chains that move together: all chains of a checkpoint, or one at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import LocalPosterior, largest_eigenvalue
from llckit.sampling.jumps import Jumps
from llckit.sampling.noise import Noise, PairedNoise
from llckit.sampling.potentials import PairedMinibatches, choose_potential
from llckit.sampling.sampler import Curvature, Info, Sampler

CURVATURE_SAMPLES = 2048  # enough for a first step size
CURVATURE_BATCH, CURVATURE_STEPS = 32, 8  # the least with minibatches, and steps of Lanczos
LARGE = 2**20  # weights from which on chains are moved one at a time, if the sampler accepts it

Observe = Callable[[Tensor], Mapping[str, np.ndarray]]


class OneByOne:
    """Each chain is a group of its own, with the memory for the gradient and the noise of one chain, not of all.

    A sampler that accepts this must treat every row by itself, adapt nothing, and spend the same gradients in each row.
    """

    @staticmethod
    def split(posterior: LocalPosterior) -> list[LocalPosterior]:
        """The posteriors of the single chains."""
        return [posterior.row(r) for r in range(posterior.rows)]


class StepRecord(NamedTuple):
    """What a step says of all chains at once.

    Attributes:
        grad_evals: Gradients per chain, jumps and measurements included.
        step_size: ε.
        turning_length: Leapfrogs after which chains turn back; 0 if unknown.
        scale_ratio: Largest scale of a weight over the smallest; 1 if there are none.
    """

    grad_evals: int
    step_size: float
    turning_length: float
    scale_ratio: float


class Draw(NamedTuple):
    """What is kept of a draw, chain by chain.

    Attributes:
        columns: Excess, squared distance, virial, acceptance, noise and heat, shape (6, chains); see `Trace`.
        observed: Values of the observed functions, each of shape (chains,).
    """

    columns: np.ndarray
    observed: Mapping[str, np.ndarray]

    @classmethod
    def joined(cls, parts: Sequence[Draw]) -> Draw:
        """The draws of several groups as one.

        Args:
            parts: One draw of each group, in the order of the chains.

        Returns:
            The draw of all chains.
        """
        return cls(
            np.concatenate([part.columns for part in parts], axis=1),
            {name: np.concatenate([part.observed[name] for part in parts]) for name in parts[0].observed},
        )


class ChainGroup:
    """Chains that move together.

    Args:
        posterior: The posterior of these chains, one row each.
        sampler: The sampler that moves them.
        seed: Seed of all chains.
        first: Number of the first of these chains among all.
        batch_size: Samples per gradient; None takes all.
        control: Whether w* is a control variate of paired minibatches.
        curvature: Of U.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        sampler: Sampler,
        seed: int,
        first: int,
        batch_size: int | None,
        control: bool,
        curvature: Curvature,
    ) -> None:
        weights = posterior.checkpoint.weights
        self._posterior, self._sampler = posterior, sampler
        noise = Noise(seed, posterior.rows, weights, first)
        self._potential = choose_potential(sampler, posterior, batch_size, noise, control=control)
        self._noise = noise if self._potential.copies == 1 else PairedNoise(noise)
        self._jumps = (
            Jumps(posterior, Noise(seed, posterior.rows, weights, first, stream=2))
            if Jumps in sampler.accepts
            else None
        )
        self._last_virial = torch.full_like(posterior.n_beta, torch.nan)
        rows = posterior.rows * self._potential.copies
        self._state: Any = sampler.init(weights.repeat(rows, 1), self._potential, curvature)

    @property
    def weights(self) -> Tensor:
        """Where the chains are, shape (chains, dim)."""
        return self._state.weights[-self._posterior.rows :]

    @property
    def step_cost(self) -> int:
        """Gradients per chain of a step, at the least."""
        return self._potential.gradients

    def warm_up(self) -> StepRecord:
        """One step, and what the sampler learns from it."""
        info, jumped = self._move()
        self._state = self._sampler.adapt(self._state, info)
        return self._record(info, jumped)

    def freeze(self) -> None:
        """End the warm-up."""
        self._state = self._sampler.freeze(self._state)

    def draw(self, number: int, observe: Observe) -> tuple[StepRecord, Draw]:
        """One step, and what is measured there.

        Args:
            number: Number of the draw, from 0.
            observe: Maps weights (rows, dim) to values (rows,) by name.

        Returns:
            What the step says of all chains at once, and what is kept of the draw.
        """
        info, further = self._move()
        chains = slice(-self._posterior.rows, None)
        weights, energy = info.weights[chains], info.energy
        observed = observe(weights)
        if number % self._potential.virial_every == 0:
            self._last_virial = self._posterior.along(weights, self._potential.gradient(info)[chains])
        excess = energy.excess[chains]
        heat = energy.excess[: self._posterior.rows] - excess  # 0 where chains have one row
        columns = (
            excess,
            energy.distance2[chains],
            self._last_virial,
            info.acceptance[chains],
            energy.noise[chains],
            heat,
        )
        return self._record(info, further), Draw(torch.stack(columns).cpu().numpy(), observed)

    def _move(self) -> tuple[Info, int]:
        """One step, after a jump if that pays; and the gradients that jumping took."""
        jumped = 0
        if self._jumps is not None:
            weights, energy, jumped = self._jumps.before_step(self._state.weights, self._state.energy)
            self._state = self._state._replace(weights=weights, energy=energy)
        self._state, info = self._sampler.step(self._state, self._potential, self._noise)
        return info, jumped

    def _record(self, info: Info, further: int) -> StepRecord:
        spent = further + info.grad_evals * self._potential.gradients
        return StepRecord(spent, info.step_size, info.turning_length, info.scale_ratio)


def chain_groups(
    posterior: LocalPosterior, sampler: Sampler, seed: int, batch_size: int | None, *, control: bool
) -> list[ChainGroup]:
    """All chains at w*: in one group or, for a large model whose sampler accepts `OneByOne`, each in its own.

    Args:
        posterior: The posterior, one row per chain.
        sampler: The sampler that will move them.
        seed: Seed of all randomness.
        batch_size: Samples per gradient; None takes all.
        control: Whether w* is a control variate of paired minibatches.

    Returns:
        The groups, in the order of the chains.

    Raises:
        InputError: The sampler does not accept minibatches and a batch size is given, or it is above the number of
            samples.
    """
    n = posterior.checkpoint.samples.n
    if batch_size is not None and batch_size > n:
        raise InputError(f"batch_size is {batch_size}; expected at most the {n} samples there are, or None for all")
    at_center: list[float] = []

    def largest(weights: Tensor | None) -> float:
        if weights is None and at_center:  # groups share it
            return at_center[0]
        of = _largest_on_few if PairedMinibatches in sampler.accepts else _largest
        found = max(
            float((posterior.n_beta * of(posterior, batch_size, weights) + posterior.localization).max()), 1e-12
        )
        if weights is None:
            at_center.append(found)
        return found

    curvature = Curvature(largest, float(posterior.localization.min()))
    one_by_one = OneByOne in sampler.accepts and posterior.dim >= LARGE
    parts = OneByOne.split(posterior) if one_by_one else [posterior]
    return [ChainGroup(part, sampler, seed, r, batch_size, control, curvature) for r, part in enumerate(parts)]


def _largest(posterior: LocalPosterior, batch_size: int | None, weights: Tensor | None) -> float:
    """The largest curvature of L at w*, from its whole spectrum."""
    assert weights is None  # samplers that ask elsewhere take few samples and steps
    checkpoint = posterior.checkpoint
    few = checkpoint if batch_size is None else checkpoint.thinned(max(batch_size, CURVATURE_SAMPLES))
    return few.curvature().largest


def _largest_on_few(posterior: LocalPosterior, batch_size: int | None, weights: Tensor | None) -> float:
    """The same at w*, or at the first of some rows, by the few steps of Lanczos that the largest eigenvalue needs."""
    size = CURVATURE_SAMPLES if batch_size is None else max(batch_size, CURVATURE_BATCH)
    few = posterior.checkpoint.thinned(size)
    center = few.weights if weights is None else weights[0]
    return largest_eigenvalue(lambda rows: few.loss_and_grad(rows)[1], center, CURVATURE_STEPS)
