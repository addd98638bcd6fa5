"""The kinds of potential that chains can move in; a sampler's `accepts` names those that it can take."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy, LocalPosterior
from llckit.sampling.noise import Noise
from llckit.sampling.sampler import Info, Sampler


class PotentialKind(Protocol):
    """A potential U, and how to measure the virial (w − w*)·∇U at draws from it.

    Attributes:
        virial_every: Draws from one measurement of the virial to the next.
    """

    virial_every: ClassVar[int]

    def __call__(self, weights: Tensor, /) -> Energy:
        """Energy of every row at `weights`, shape (rows, dim)."""
        ...

    def gradient(self, info: Info) -> Tensor:
        """∇U at the draw of a step, shape (rows, dim)."""
        ...


class FullPotential:
    """U of all samples, with its gradient.

    Args:
        posterior: The posterior that is sampled.
    """

    virial_every: ClassVar[int] = 1

    def __init__(self, posterior: LocalPosterior) -> None:
        self._posterior = posterior

    def __call__(self, weights: Tensor) -> Energy:
        """U and ∇U at `weights`."""
        return self._posterior(weights)

    def gradient(self, info: Info) -> Tensor:
        """The step's own gradient."""
        return info.energy.grad


class MinibatchPotential:
    """U estimated from a new minibatch at each call, one for every row.

    Args:
        posterior: The posterior that is sampled.
        batch_size: Samples in a minibatch.
        noise: Source of the random numbers that choose them.
    """

    virial_every: ClassVar[int] = 1

    def __init__(self, posterior: LocalPosterior, batch_size: int, noise: Noise) -> None:
        self._posterior, self._batch_size, self._noise = posterior, batch_size, noise

    def __call__(self, weights: Tensor) -> Energy:
        """Estimates of U and ∇U at `weights`."""
        return self._posterior(weights, self._noise.integers(self._posterior.checkpoint.samples.n, self._batch_size))

    def gradient(self, info: Info) -> Tensor:
        """The step's own gradient."""
        return info.energy.grad

    def noise(self, weights: Tensor) -> np.ndarray:
        """Total variance of a minibatch's ∇U, from two minibatches per row.

        Args:
            weights: Where it is measured, shape (rows, dim).

        Returns:
            ½‖difference of both gradients‖², shape (rows,).
        """
        difference = self(weights).grad - self(weights).grad
        return difference.square().sum(1, dtype=torch.float64).cpu().numpy() / 2


class EnergyPotential:
    """U of all samples without its gradient, for trajectories that follow a guide.

    Args:
        posterior: The posterior that is sampled.
    """

    virial_every: ClassVar[int] = 10  # the guide is there to save gradients of all samples

    def __init__(self, posterior: LocalPosterior) -> None:
        self._posterior = posterior

    def __call__(self, weights: Tensor) -> Energy:
        """U at `weights`; NaN in place of ∇U."""
        return self._posterior.without_gradient(weights)

    def gradient(self, info: Info) -> Tensor:
        """∇U of all samples, computed here."""
        return self._posterior(info.weights).grad


def choose_potential(
    sampler: Sampler, posterior: LocalPosterior, batch_size: int | None, noise: Noise
) -> FullPotential | MinibatchPotential | EnergyPotential:
    """The potential that a run asks for, if the sampler accepts it.

    Args:
        sampler: The sampler that will move the chains.
        posterior: The posterior that is sampled.
        batch_size: Samples per gradient; None takes all.
        noise: Source of the random numbers that choose minibatches.

    Returns:
        The potential.

    Raises:
        InputError: A batch size is given, and the sampler does not accept minibatches.
    """
    if EnergyPotential in sampler.accepts:
        return EnergyPotential(posterior)
    if batch_size is None:
        return FullPotential(posterior)
    if MinibatchPotential not in sampler.accepts:
        why = "compares energies of all samples" if sampler.is_exact else "needs gradients of all samples"
        raise InputError(
            f"batch_size is {batch_size}; expected None, since {sampler.name} {why}; leave it out, use baoab, or leave "
            "the sampler to llckit, which lets minibatches guide"
        )
    return MinibatchPotential(posterior, batch_size, noise)
