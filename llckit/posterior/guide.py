"""A cheap stand-in for the posterior: trajectories follow it, and the posterior itself accepts or rejects them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from llckit.posterior.behavioral import behavioral_task
from llckit.posterior.local import Energy, LocalPosterior
from llckit.posterior.task import Task


class Guide:
    """Ũ_B(w) = nβ (K_B(w) + ∇L(w*)·(w − w*)) + γ/2 ‖w − w*‖², with K_B the behavioral loss of a minibatch B.

    The loss of a minibatch has its minimum far from w* wherever single samples keep a residual there, such as the
    noise of their labels. The distance from w*'s own outputs has none: w* is its minimum on every minibatch, and its
    curvature is that of the loss but for the residuals' share, which averages out over all samples.

    Args:
        posterior: What it stands in for.
        task: Of that posterior.
        size: Samples in B.

    Raises:
        InputError: The task has no behavioral loss, or its samples cannot be drawn singly.
    """

    def __init__(self, posterior: LocalPosterior, task: Task, size: int) -> None:
        teacher = behavioral_task(task)
        point = posterior.point if task.behavioral else teacher.from_outputs(posterior.point)
        self._posterior = posterior
        self._behavior = LocalPosterior(teacher, point, n_beta=1.0, localization=0.0, rows=1)
        self._size = size

    def __call__(self, draw: Callable[[int, int], Tensor]) -> Callable[[Tensor], Energy]:
        """The stand-in of a new minibatch, the same for all rows.

        Args:
            draw: Gives `size` integers below n, shape (size,), for (n, size).

        Returns:
            Ũ_B, of weights of shape (rows, dim).
        """
        samples = self._behavior.point.samples
        minibatch = samples.subset(draw(samples.n, self._size))
        center, slope = self._posterior.point.weights, self._posterior.loss_grad

        def potential(weights: Tensor) -> Energy:
            away = weights - center
            loss, grad = self._behavior.loss_and_grad(weights, minibatch)
            return self._posterior.energy(loss + (away @ slope).double(), grad + slope, weights)

        return potential
