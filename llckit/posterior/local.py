"""The tempered, localised posterior around one checkpoint, with its gradient for all chains at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior.data import Samples, Tree
from llckit.posterior.replay import Replay
from llckit.posterior.rows import is_batched, losses_and_grads_of, losses_of, saved_bytes
from llckit.posterior.task import Point, Task

ACTIVATION_BYTES = 2**28  # what one forward and backward may keep; more samples than that go in chunks
BLOCK = 2**15  # weights of a row that are compared with w* at a time: they stay in the cache, and no copy is made
KEPT = 2**22  # weights up to which ∇L(w*) is kept; of larger models it is computed when it is first asked for


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
        task: Model, data and loss.
        point: The checkpoint w*.
        n_beta: nβ, shape (rows,) or a number.
        localization: γ, likewise.
        rows: How many.

    Attributes:
        loss: L(w*) on all samples.
        rows, dim: The shape of the weights it takes.

    Raises:
        InputError: L(w*) or its gradient is not finite.
    """

    def __init__(
        self, task: Task, point: Point, *, n_beta: float | Tensor, localization: float | Tensor, rows: int
    ) -> None:
        self._task = task
        self.point = point
        self._set_rows(n_beta, localization, rows)
        self._bytes_per_sample = saved_bytes(task, point)
        self._together = Replay(task, point)
        loss, grad = self.loss_and_grad(point.weights[None])
        self.loss = float(loss)
        self._loss_grad = grad[0] if task.dim <= KEPT else None
        if not (torch.isfinite(loss).all() and torch.isfinite(grad).all()):
            raise InputError(
                f"at the checkpoint the loss over all samples is {self.loss} and its gradient "
                f"{'finite' if torch.isfinite(grad).all() else 'not finite'}; expected finite numbers for every sample"
            )

    def _set_rows(self, n_beta: float | Tensor, localization: float | Tensor, rows: int) -> None:
        weights = self.point.weights
        self.rows, self.dim = rows, len(weights)
        as_rows = {"dtype": torch.float64, "device": weights.device}
        self.n_beta = torch.as_tensor(n_beta, **as_rows).expand(rows)
        self.localization = torch.as_tensor(localization, **as_rows).expand(rows)
        self._columns = [x[:, None].to(weights.dtype) for x in (self.n_beta, self.localization)]
        self._away = weights.new_empty(rows, min(self.dim, BLOCK))  # kept: new memory costs page faults

    def scaled(self, *, n_beta: float | Tensor, localization: float | Tensor, rows: int) -> LocalPosterior:
        """The posterior of the same checkpoint at other scales, with its L(w*) and whatever has been recorded.

        Args:
            n_beta: nβ, shape (rows,) or a number.
            localization: γ, likewise.
            rows: How many.

        Returns:
            Another posterior.
        """
        other = copy.copy(self)
        other._set_rows(n_beta, localization, rows)
        return other

    @property
    def loss_grad(self) -> Tensor:
        """∇L(w*), shape (dim,)."""
        if self._loss_grad is None:
            self._loss_grad = self.loss_and_grad(self.point.weights[None])[1][0]
        return self._loss_grad

    def row(self, r: int) -> LocalPosterior:
        """The posterior of one row, which shares all memory with this one.

        Args:
            r: Which row.

        Returns:
            A posterior of one row.
        """
        one = copy.copy(self)
        one.rows, one.n_beta, one.localization = 1, self.n_beta[r : r + 1], self.localization[r : r + 1]
        one._away, one._columns = self._away[:1], [column[r : r + 1] for column in self._columns]
        return one

    def __call__(self, weights: Tensor, indices: Tensor | None = None) -> Energy:
        """The posterior at `weights`.

        Args:
            weights: Shape (rows, dim).
            indices: Shape (rows, batch): estimate excess and gradient from these samples, a minibatch B of its own for
                every row; None uses all. With w* on the same samples as control variate both are unbiased, and their
                noise vanishes towards w*: ∇L_B(w) − ∇L_B(w*) + ∇L(w*), the gradient of
                L_B(w) − L_B(w*) − (∇L_B(w*) − ∇L(w*))·(w − w*).

        Returns:
            Excess, potential, gradient and squared distance of every row.
        """
        if indices is None:
            loss, grad = self.loss_and_grad(weights)
            return self.energy(loss - self.loss, grad, weights)
        batch, size = self.point.samples.gather(indices), indices.shape[1]
        losses, grad = self._batch_loss_and_grad(weights, batch, size)
        baseline, error = self._batch_loss_and_grad(self.point.weights.expand(weights.shape), batch, size)
        error -= self.loss_grad
        return self.energy(losses - baseline - self.along(weights, error), grad.sub_(error), weights)

    def energy(self, rise: Tensor, grad: Tensor, weights: Tensor) -> Energy:
        """nβ ΔL + γ/2 ‖w − w*‖² and its gradient, for any loss in the place of L.

        Args:
            rise: ΔL, that loss above w*, float64, shape (rows,).
            grad: Its gradient, shape (rows, dim); overwritten.
            weights: w, shape (rows, dim).

        Returns:
            Excess, potential, gradient and squared distance of every row.
        """
        n_beta, localization = self._columns
        distance2 = torch.zeros_like(rise)
        for part, away in self._away_by_blocks(weights):
            grad[:, part].mul_(n_beta).addcmul_(away, localization)
            distance2 += torch.linalg.vector_norm(away, dim=1, dtype=torch.float64).square()
        return self._energy(rise, grad, distance2)

    def _energy(self, rise: Tensor, grad: Tensor, distance2: Tensor) -> Energy:
        excess = self.n_beta * rise
        return Energy(excess, excess + 0.5 * self.localization * distance2, grad, distance2)

    def along(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """(w − w*) · v of every row; with ∇U for v it is the virial, of mean `dim` under the posterior.

        Args:
            weights: w, shape (rows, dim).
            vectors: v, likewise.

        Returns:
            float64, shape (rows,).
        """
        total = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        for part, away in self._away_by_blocks(weights):
            total += away.mul_(vectors[:, part]).sum(1, dtype=torch.float64)
        return total

    def _away_by_blocks(self, weights: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Pieces of w − w*, each valid until the next one is asked for."""
        kept = self._away if len(weights) == len(self._away) else torch.empty_like(weights[:, :BLOCK])
        for start in range(0, self.dim, BLOCK):
            part = slice(start, min(start + BLOCK, self.dim))
            out = kept[:, : part.stop - part.start]
            yield part, torch.sub(weights[:, part], self.point.weights[part], out=out)

    def without_gradient(self, weights: Tensor) -> Energy:
        """The posterior at `weights`, for less: forward passes only.

        Args:
            weights: Shape (rows, dim).

        Returns:
            As from a call, but for the gradient: NaN, shape (rows,).
        """
        loss = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        batched, size = self._pieces(n := self.point.samples.n, len(weights))
        for batch, length in self.point.samples.chunks(size):
            loss += losses_of(self._task, weights, self.point, batch, batched=batched) * (length / n)
        distance2 = torch.zeros_like(loss)
        for _, away in self._away_by_blocks(weights):
            distance2 += torch.linalg.vector_norm(away, dim=1, dtype=torch.float64).square()
        return self._energy(loss - self.loss, torch.full_like(loss, torch.nan), distance2)

    def thinned(self, size: int) -> LocalPosterior:
        """The same posterior on some of its samples: cheaper where their number hardly matters, as for curvature.

        Args:
            size: How many to keep.

        Returns:
            A posterior of one row.
        """
        point = self.point.thinned(size)
        return LocalPosterior(self._task, point, n_beta=self.n_beta[0], localization=self.localization[0], rows=1)

    def loss_and_grad(self, weights: Tensor, samples: Samples | None = None) -> tuple[Tensor, Tensor]:
        """L and ∇L, in as many pieces as memory asks for.

        Args:
            weights: Any number of rows, shape (k, dim).
            samples: Over which L is the mean; None takes all.

        Returns:
            Losses, float64, shape (k,), and gradients, shape (k, dim).
        """
        samples = self.point.samples if samples is None else samples
        batched, size = self._pieces(samples.n, len(weights))
        loss = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        grad: Tensor | None = None
        for batch, length in samples.chunks(size):
            losses, piece = self._losses_and_grads(weights, batch, batched=batched)
            share = length / samples.n
            loss.add_(losses, alpha=share)
            piece = piece if share == 1 else piece.mul_(share)
            grad = piece if grad is None else grad.add_(piece)
        assert grad is not None  # there is at least one sample
        return loss, grad

    def _batch_loss_and_grad(self, weights: Tensor, batch: Tree, size: int) -> tuple[Tensor, Tensor]:
        batched, _ = self._pieces(size, len(weights))
        return self._losses_and_grads(weights, batch, batched=batched, own_batches=True)

    def _losses_and_grads(
        self, weights: Tensor, batch: Tree, *, batched: bool, own_batches: bool = False
    ) -> tuple[Tensor, Tensor]:
        if batched:
            return self._together(weights, batch, own_batches=own_batches)
        return losses_and_grads_of(self._task, weights, self.point, batch, batched=False, own_batches=own_batches)

    def _pieces(self, n: int, rows: int) -> tuple[bool, int]:
        """Whether rows are evaluated together, and at how many of n samples at a time."""
        batched = is_batched(self._task, n * self._bytes_per_sample)
        return batched, max(1, ACTIVATION_BYTES // (max(1, self._bytes_per_sample) * (rows if batched else 1)))
