"""The tempered, localised posterior around one checkpoint, with its gradient for all chains at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior.data import Samples, Tree
from llckit.posterior.rows import is_batched, losses_and_grads_of, losses_of, saved_bytes
from llckit.posterior.task import Point, Task

ACTIVATION_BYTES = 2**28  # what one forward and backward may keep; more samples than that go in chunks


class Energy(NamedTuple):
    """The posterior at some rows of weights.

    Attributes:
        excess: nβ (L(w) − L(w*)), float64, shape (rows,); not the loss's unit but dimensionless.
        potential: U(w) = excess + γ/2 ‖w − w*‖², float64, shape (rows,).
        grad: ∇U(w), shape (rows, dim).
        distance2: ‖w − w*‖², float64, shape (rows,).
    """

    excess: Tensor
    potential: Tensor
    grad: Tensor
    distance2: Tensor


class LocalPosterior:
    """U_r(w) = nβ_r (L(w) − L(w*)) + γ_r/2 ‖w − w*‖², the negative log density of row r (Lau et al., arXiv 2308.12108).

    Args:
        task: model, data and loss.
        point: the checkpoint w*.
        n_beta: nβ, shape (rows,) or a number.
        localization: γ, likewise.
        rows: how many.

    Attributes:
        loss: L(w*) on all samples.
        loss_grad: ∇L(w*), shape (dim,).
        rows, dim: the shape of the weights it takes.

    Raises:
        InputError: L(w*) or its gradient is not finite.
    """

    def __init__(
        self, task: Task, point: Point, *, n_beta: float | Tensor, localization: float | Tensor, rows: int
    ) -> None:
        self._task = task
        self.point = point
        self.rows, self.dim = rows, task.dim
        as_rows = {"dtype": torch.float64, "device": task.device}
        self.n_beta = torch.as_tensor(n_beta, **as_rows).expand(rows)
        self.localization = torch.as_tensor(localization, **as_rows).expand(rows)
        self._bytes_per_sample = saved_bytes(task, point)
        self._away = point.weights.new_empty(rows, task.dim)  # kept: new memory of that size costs page faults
        loss, grad = self.loss_and_grad(point.weights[None])
        self.loss, self.loss_grad = float(loss), grad[0]
        if not (torch.isfinite(loss).all() and torch.isfinite(grad).all()):
            raise InputError(
                f"at the checkpoint the loss over all samples is {self.loss} and its gradient "
                f"{'finite' if torch.isfinite(grad).all() else 'not finite'}; expected finite numbers for every sample"
            )

    def __call__(self, weights: Tensor, indices: Tensor | None = None) -> Energy:
        """The posterior at `weights`.

        Args:
            weights: shape (rows, dim).
            indices: shape (rows, batch): estimate excess and gradient from these samples, a minibatch B of its own for
                every row; None uses all. With w* on the same samples as control variate both are unbiased, and their
                noise vanishes towards w*: ∇L_B(w) − ∇L_B(w*) + ∇L(w*), the gradient of
                L_B(w) − L_B(w*) − (∇L_B(w*) − ∇L(w*))·(w − w*).

        Returns:
            Excess, potential, gradient and squared distance of every row.
        """
        away = torch.sub(weights, self.point.weights, out=self._away if weights.shape == self._away.shape else None)
        if indices is None:
            loss, grad = self.loss_and_grad(weights)
            rise = loss - self.loss
        else:
            batch, size = self.point.samples.gather(indices), indices.shape[1]
            losses, grad = self._batch_loss_and_grad(weights, batch, size)
            baseline, paired = self._batch_loss_and_grad(self.point.weights.expand(weights.shape), batch, size)
            error = paired - self.loss_grad
            rise = losses - baseline - (error * away).sum(1, dtype=torch.float64)
            grad = grad - error
        return self.energy(rise, grad, away)

    def energy(self, rise: Tensor, grad: Tensor, away: Tensor) -> Energy:
        """nβ ΔL + γ/2 ‖w − w*‖² and its gradient, for any loss in the place of L.

        Args:
            rise: ΔL, that loss above w*, float64, shape (rows,).
            grad: its gradient, shape (rows, dim); overwritten.
            away: w − w*, likewise.

        Returns:
            Excess, potential, gradient and squared distance of every row.
        """
        grad.mul_(self.n_beta[:, None].to(grad.dtype)).addcmul_(away, self.localization[:, None].to(grad.dtype))
        return self._energy(rise, grad, away)

    def _energy(self, rise: Tensor, grad: Tensor, away: Tensor) -> Energy:
        excess, distance2 = self.n_beta * rise, torch.linalg.vector_norm(away, dim=1, dtype=torch.float64).square()
        return Energy(excess, excess + 0.5 * self.localization * distance2, grad, distance2)

    def without_gradient(self, weights: Tensor) -> Energy:
        """The posterior at `weights`, for less: forward passes only.

        Args:
            weights: shape (rows, dim).

        Returns:
            As from a call, but for the gradient: NaN, shape (rows,).
        """
        loss = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        batched, size = self._pieces(n := self.point.samples.n, len(weights))
        for batch, length in self.point.samples.chunks(size):
            loss += losses_of(self._task, weights, self.point, batch, batched=batched) * (length / n)
        return self._energy(loss - self.loss, torch.full_like(loss, torch.nan), weights - self.point.weights)

    def thinned(self, size: int) -> LocalPosterior:
        """The same posterior on some of its samples: cheaper where their number hardly matters, as for curvature.

        Args:
            size: how many to keep.

        Returns:
            A posterior of one row.
        """
        point = self.point.thinned(size)
        return LocalPosterior(self._task, point, n_beta=self.n_beta[0], localization=self.localization[0], rows=1)

    def loss_and_grad(self, weights: Tensor, samples: Samples | None = None) -> tuple[Tensor, Tensor]:
        """L and ∇L, in as many pieces as memory asks for.

        Args:
            weights: any number of rows, shape (k, dim).
            samples: over which L is the mean; None takes all.

        Returns:
            Losses, float64, shape (k,), and gradients, shape (k, dim).
        """
        samples = self.point.samples if samples is None else samples
        batched, size = self._pieces(samples.n, len(weights))
        loss = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        grad: Tensor | None = None
        for batch, length in samples.chunks(size):
            losses, piece = losses_and_grads_of(self._task, weights, self.point, batch, batched=batched)
            share = length / samples.n
            loss.add_(losses, alpha=share)
            piece = piece if share == 1 else piece.mul_(share)
            grad = piece if grad is None else grad.add_(piece)
        assert grad is not None  # there is at least one sample
        return loss, grad

    def _batch_loss_and_grad(self, weights: Tensor, batch: Tree, size: int) -> tuple[Tensor, Tensor]:
        batched, _ = self._pieces(size, len(weights))
        return losses_and_grads_of(self._task, weights, self.point, batch, batched=batched, own_batches=True)

    def _pieces(self, n: int, rows: int) -> tuple[bool, int]:
        """Whether rows are evaluated together, and at how many of n samples at a time."""
        batched = is_batched(self._task, n * self._bytes_per_sample)
        return batched, max(1, ACTIVATION_BYTES // (max(1, self._bytes_per_sample) * (rows if batched else 1)))
