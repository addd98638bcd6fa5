"""The kinds of potential that chains can move in; a sampler's `accepts` names those that it can take."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy, LocalPosterior
from llckit.sampling.noise import Noise
from llckit.sampling.sampler import Info, Sampler


class PotentialKind(Protocol):
    """A potential, with what measuring the virial at its draws takes.

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


class AllSamples:
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


class Minibatches:
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


class EnergiesOnly:
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
) -> PotentialKind:
    """The potential that a run asks for, if the sampler accepts it.

    Args:
        sampler: The sampler that will move the chains.
        posterior: The posterior that is sampled.
        batch_size: Samples per gradient; None takes all.
        noise: Source of the random numbers that choose minibatches.

    Returns:
        The potential.

    Raises:
        InputError: Minibatches are asked for, or all samples, and the sampler does not accept them.
    """
    if EnergiesOnly in sampler.accepts:
        return EnergiesOnly(posterior)
    kind = AllSamples(posterior) if batch_size is None else Minibatches(posterior, batch_size, noise)
    if type(kind) not in sampler.accepts:
        why = "compares energies of all samples" if sampler.is_exact else "does not accept this"
        raise InputError(
            f"batch_size is {batch_size}; expected {'None' if batch_size else 'a number'}, since {sampler.name} {why}; "
            "leave it out, use baoab, or leave the sampler to llckit, which lets minibatches guide"
        )
    return kind
