"""`Guide`: a cheap stand-in that trajectories follow; the posterior itself accepts or rejects them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from llckit.posterior.local_posterior import Energy, LocalPosterior
from llckit.posterior.task import Task
from llckit.posterior.teacher import Teacher


class Guide:
    """Ũ_B(w) = nβ (K_B(w) + ∇L(w*)·(w − w*)) + γ/2 ‖w − w*‖², with K_B the behavioral loss of a minibatch B.

    The loss of a minibatch has its minimum far from w* if single samples keep a residual there, such as the noise of
    their labels. The distance from w*'s own outputs has no residual: w* is its minimum on every minibatch. Its
    curvature is that of the loss without the residuals' part, which averages out over all samples.

    Args:
        posterior: The posterior that the guide stands in for.
        task: The task of that posterior's checkpoint.
        size: Number of samples in B.

    Raises:
        InputError: The task has no behavioral loss, or its samples cannot be drawn singly.
    """

    def __init__(self, posterior: LocalPosterior, task: Task, size: int) -> None:
        self._posterior, self._size = posterior, size
        own = posterior.checkpoint
        self._behavior = own if task.behavioral else Teacher(task.flat_loss).checkpoint(own)
        _ = self._behavior.loss  # refused before any sampling
        self._slope = own.loss_grad

    def __call__(self, draw: Callable[[int, int], Tensor]) -> Callable[[Tensor], Energy]:
        """The stand-in of a new minibatch, the same for all rows.

        Args:
            draw: `draw(n, size)` gives `size` integers below n, shape (size,).

        Returns:
            Ũ_B as a function of weights of shape (rows, dim).
        """
        samples = self._behavior.samples
        minibatch = samples.subset(draw(samples.n, self._size))
        center, slope = self._posterior.checkpoint.weights, self._slope

        def potential(weights: Tensor) -> Energy:
            away = weights - center
            loss, grad = self._behavior.loss_and_grad(weights, minibatch)
            return self._posterior.energy(loss + (away @ slope).double(), grad + slope, weights)

        return potential
