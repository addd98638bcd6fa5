"""The kinds of potential that chains can move in; a sampler's `accepts` names those that it can take."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy, LocalPosterior
from llckit.posterior.trees import tree_map
from llckit.sampling.noise import Noise
from llckit.sampling.sampler import Info, Sampler


class PotentialKind(Protocol):
    """A potential U, and how to measure the virial (w − w*)·∇U at draws from it.

    Attributes:
        virial_every: Draws from one measurement of the virial to the next.
        copies: Rows that a chain has; the last of them is the one that counts.
        gradients: What one call costs a chain, in gradients of its samples.
    """

    virial_every: ClassVar[int]
    copies: ClassVar[int]
    gradients: int

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
    copies: ClassVar[int] = 1
    gradients: int = 1

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
    copies: ClassVar[int] = 1
    gradients: int = 1

    def __init__(self, posterior: LocalPosterior, batch_size: int, noise: Noise) -> None:
        self._posterior, self._batch_size, self._noise = posterior, batch_size, noise

    def __call__(self, weights: Tensor) -> Energy:
        """Estimates of U and ∇U at `weights`."""
        return self._posterior(weights, self._noise.integers(self._posterior.checkpoint.samples.n, self._batch_size))

    def gradient(self, info: Info) -> Tensor:
        """The step's own gradient."""
        return info.energy.grad


class PairedMinibatches:
    """U estimated from minibatches, for chains in pairs that show what the noise of minibatches does.

    Both chains of a pair see the same random numbers. The second moves by minibatches of `batch_size` samples, the
    first by half of each. To first order the noise heats the first by twice as much as the second, so their difference
    is the heat of the second. Both halves of a minibatch are independent estimates of the excess at one place, whose
    covariance over draws is the variance of the excess itself.

    Args:
        posterior: The posterior that is sampled, one row for each pair.
        batch_size: Samples in a minibatch; of an odd number one is left out, and 1 counts as 2.
        noise: Source of the random numbers that choose them.
        control: Whether w* is a control variate, which takes the gradient of all samples once.
    """

    virial_every: ClassVar[int] = 1
    copies: ClassVar[int] = 2

    def __init__(self, posterior: LocalPosterior, batch_size: int, noise: Noise, *, control: bool) -> None:
        self._posterior, self._both = posterior, posterior.repeated(2)
        self._half, self._noise, self._control = max(1, batch_size // 2), noise, control
        self.gradients = 3 if control else 2  # 1½, and at w* one more, or forward passes that cost a third

    def __call__(self, weights: Tensor) -> Energy:
        """Estimates of U and ∇U at `weights`: all first chains, then all second ones."""
        posterior, size, pairs = self._posterior, self._half, len(weights) // 2
        checkpoint, second = posterior.checkpoint, weights[pairs:]
        indices = self._noise.integers(checkpoint.samples.n, 2 * size)
        one, other = (checkpoint.samples.gather(part) for part in indices.split(size, dim=1))
        at_center = posterior.at_center(one, size, control=self._control)
        for_both = tree_map(lambda x: torch.cat([x, x]), one)
        found = checkpoint.minibatch_loss_and_grad(weights, for_both, size)
        rise, grad = at_center.repeated(2).taken_off(posterior, *found, weights)
        at_center = posterior.at_center(other, size, control=self._control)
        found = checkpoint.minibatch_loss_and_grad(second, other, size)
        other_rise, other_grad = at_center.taken_off(posterior, *found, second)
        noise = torch.zeros_like(rise)
        noise[pairs:] = (rise[pairs:] - other_rise) / 2
        rise[pairs:] = (rise[pairs:] + other_rise) / 2
        grad[pairs:].add_(other_grad).div_(2)
        return self._both.energy(rise, grad, weights, noise)

    def gradient(self, info: Info) -> Tensor:
        """The step's own gradient."""
        return info.energy.grad


class EnergyPotential:
    """U of all samples without its gradient, for trajectories that follow a guide.

    Args:
        posterior: The posterior that is sampled.
    """

    virial_every: ClassVar[int] = 10  # the guide is there to save gradients of all samples
    copies: ClassVar[int] = 1
    gradients: int = 1

    def __init__(self, posterior: LocalPosterior) -> None:
        self._posterior = posterior

    def __call__(self, weights: Tensor) -> Energy:
        """U at `weights`; NaN in place of ∇U."""
        return self._posterior.without_gradient(weights)

    def gradient(self, info: Info) -> Tensor:
        """∇U of all samples, computed here."""
        return self._posterior(info.weights).grad


def choose_potential(
    sampler: Sampler, posterior: LocalPosterior, batch_size: int | None, noise: Noise, *, control: bool
) -> FullPotential | MinibatchPotential | PairedMinibatches | EnergyPotential:
    """The potential that a run asks for, if the sampler accepts it.

    Args:
        sampler: The sampler that will move the chains.
        posterior: The posterior that is sampled.
        batch_size: Samples per gradient; None takes all.
        noise: Source of the random numbers that choose minibatches.
        control: Whether w* is a control variate of pairs.

    Returns:
        The potential.

    Raises:
        InputError: A batch size is given, and the sampler does not accept minibatches.
    """
    if EnergyPotential in sampler.accepts:
        return EnergyPotential(posterior)
    if batch_size is None:
        return FullPotential(posterior)
    if PairedMinibatches in sampler.accepts:
        return PairedMinibatches(posterior, batch_size, noise, control=control)
    if MinibatchPotential not in sampler.accepts:
        why = "compares energies of all samples" if sampler.is_exact else "needs gradients of all samples"
        raise InputError(
            f"batch_size is {batch_size}; expected None, since {sampler.name} {why}; leave it out, use baoab, or leave "
            "the sampler to llckit, which lets minibatches guide"
        )
    return MinibatchPotential(posterior, batch_size, noise)
