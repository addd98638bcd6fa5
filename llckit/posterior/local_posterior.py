"""`LocalPosterior`: the tempered, localised posterior around a checkpoint, with its gradient for all chains at once."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.trees import Tree, leaves

BLOCK = 2**15  # weights of a row that are compared with w* at a time: they stay in the cache, and no copy is made


class Energy(NamedTuple):
    """The posterior at some rows of weights.

    Attributes:
        excess: nβ (L(w) − L(w*)), float64, shape (rows,); not the loss's unit but dimensionless.
        potential: U(w) = excess + γ/2 ‖w − w*‖², float64, shape (rows,).
        grad: ∇U(w), shape (rows, dim).
        distance2: ‖w − w*‖², float64, shape (rows,).
        noise: Half the difference of two independent estimates of the excess, whose mean it is; 0 if it is exact, or
            one estimate alone. float64, shape (rows,).
    """

    excess: Tensor
    potential: Tensor
    grad: Tensor
    distance2: Tensor
    noise: Tensor


class AtCenter(NamedTuple):
    """What minibatches, one for each row, say at w*.

    Attributes:
        losses: L_B(w*), float64, shape (rows,); None for 0.
        error: ∇L_B(w*) − ∇L(w*), shape (rows, dim); None if there is no control variate, or it is 0.
    """

    losses: Tensor | None = None
    error: Tensor | None = None

    def repeated(self, times: int) -> AtCenter:
        """The same for several copies of all rows, one after the other."""
        losses = None if self.losses is None else self.losses.repeat(times)
        return AtCenter(losses, None if self.error is None else self.error.repeat(times, 1))

    def taken_off(
        self, posterior: LocalPosterior, losses: Tensor, grad: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """ΔL and its gradient as minibatches estimate them, without what they say at w*.

        Args:
            posterior: Where w* is.
            losses: L_B(w), float64, shape (rows,).
            grad: ∇L_B(w), shape (rows, dim); overwritten.
            weights: w, shape (rows, dim).

        Returns:
            L_B(w) − L_B(w*) and ∇L_B(w); with a control variate its part is taken off both.
        """
        rise = losses if self.losses is None else losses - self.losses
        if self.error is None:
            return rise, grad
        return rise - posterior.along(weights, self.error), grad.sub_(self.error)


class LocalPosterior:
    """U_r(w) = nβ_r (L(w) − L(w*)) + γ_r/2 ‖w − w*‖², the negative log density of row r (Lau et al., arXiv 2308.12108).

    Args:
        checkpoint: w* and L.
        n_beta: nβ, shape (rows,) or a number.
        localization: γ, shape (rows,) or a number.
        rows: Number of rows: one for each chain and scale.

    Attributes:
        checkpoint: As given.
        rows: As given.
        dim: Number of sampled weights.
        n_beta: nβ, float64, shape (rows,).
        localization: γ, float64, shape (rows,).

    Raises:
        InputError: L(w*) or its gradient is not finite, when all samples are first asked for.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, n_beta: float | Tensor, localization: float | Tensor, rows: int
    ) -> None:
        self.checkpoint, weights = checkpoint, checkpoint.weights
        self.rows, self.dim = rows, len(weights)
        as_rows = {"dtype": torch.float64, "device": weights.device}
        self.n_beta = torch.as_tensor(n_beta, **as_rows).expand(rows)
        self.localization = torch.as_tensor(localization, **as_rows).expand(rows)
        self._columns = [x[:, None].to(weights.dtype) for x in (self.n_beta, self.localization)]
        self._away = weights.new_empty(rows, min(self.dim, BLOCK))  # kept: new memory costs page faults
        self._loss_grad = _SharedGradient(checkpoint)

    def row(self, r: int) -> LocalPosterior:
        """The posterior of one row, which shares all memory with this one.

        Args:
            r: Index of the row.

        Returns:
            A posterior of one row.
        """
        one = copy.copy(self)
        one.rows, one.n_beta, one.localization = 1, self.n_beta[r : r + 1], self.localization[r : r + 1]
        one._away, one._columns = self._away[:1], [column[r : r + 1] for column in self._columns]
        return one

    def repeated(self, times: int) -> LocalPosterior:
        """The posterior with all its rows several times over, one copy of all after the other.

        Args:
            times: How often.

        Returns:
            A posterior of `times` as many rows.
        """
        return LocalPosterior(
            self.checkpoint,
            n_beta=self.n_beta.repeat(times),
            localization=self.localization.repeat(times),
            rows=times * self.rows,
        )

    def __call__(self, weights: Tensor, indices: Tensor | None = None) -> Energy:
        """The posterior at `weights`.

        Args:
            weights: w, shape (rows, dim).
            indices: Shape (rows, batch): estimate excess and gradient from these samples, a minibatch B of its own for
                every row; None uses all. With w* on the same samples as control variate both are unbiased, and their
                noise vanishes towards w*: ∇L_B(w) − ∇L_B(w*) + ∇L(w*), the gradient of
                L_B(w) − L_B(w*) − (∇L_B(w*) − ∇L(w*))·(w − w*).

        Returns:
            Excess, potential, gradient and squared distance of every row.
        """
        checkpoint = self.checkpoint
        if indices is None:
            loss, grad = checkpoint.loss_and_grad(weights)
            return self.energy(loss - checkpoint.loss, grad, weights)
        batch, size = checkpoint.samples.gather(indices), indices.shape[1]
        losses, grad = checkpoint.minibatch_loss_and_grad(weights, batch, size)
        at_center = self.at_center(batch, size, control=True)
        return self.energy(*at_center.taken_off(self, losses, grad, weights), weights)

    def at_center(self, batch: Tree, size: int, *, control: bool) -> AtCenter:
        """What minibatches say at w*, to be taken off from what they say elsewhere.

        Args:
            batch: The minibatches, leaves of shape (rows, size, …).
            size: Samples in each.
            control: Whether their gradients at w* are a control variate, which takes ∇L(w*) of all samples.

        Returns:
            Losses and, as control variate, gradients less ∇L(w*).
        """
        checkpoint = self.checkpoint
        if checkpoint.is_behavioral:
            return AtCenter()
        rows = checkpoint.weights.expand(len(leaves(batch)[0]), self.dim)
        if not control:
            return AtCenter(checkpoint.minibatch_losses(rows, batch, size))
        losses, error = checkpoint.minibatch_loss_and_grad(rows, batch, size)
        return AtCenter(losses, error.sub_(self._loss_grad.value))

    def energy(self, rise: Tensor, grad: Tensor, weights: Tensor, noise: Tensor | None = None) -> Energy:
        """nβ ΔL + γ/2 ‖w − w*‖² and its gradient, for any loss in the place of L.

        Args:
            rise: ΔL, that loss above w*, float64, shape (rows,).
            grad: Its gradient, shape (rows, dim); overwritten.
            weights: w, shape (rows, dim).
            noise: Half the difference of two estimates of ΔL whose mean `rise` is; None for 0.

        Returns:
            Excess, potential, gradient and squared distance of every row.
        """
        n_beta, localization = self._columns
        distance2 = torch.zeros_like(rise)
        for part, away in self._away_by_blocks(weights):
            grad[:, part].mul_(n_beta).addcmul_(away, localization)
            distance2 += torch.linalg.vector_norm(away, dim=1, dtype=torch.float64).square()
        return self._energy(rise, grad, distance2, noise)

    def _energy(self, rise: Tensor, grad: Tensor, distance2: Tensor, noise: Tensor | None = None) -> Energy:
        excess = self.n_beta * rise
        noise = torch.zeros_like(excess) if noise is None else self.n_beta * noise
        return Energy(excess, excess + 0.5 * self.localization * distance2, grad, distance2, noise)

    def along(self, weights: Tensor, vectors: Tensor) -> Tensor:
        """(w − w*) · v of every row; with ∇U for v it is the virial, of mean `dim` under the posterior.

        Args:
            weights: w, shape (rows, dim).
            vectors: v, shape (rows, dim).

        Returns:
            float64, shape (rows,).
        """
        total = torch.zeros(len(weights), dtype=torch.float64, device=weights.device)
        for part, away in self._away_by_blocks(weights):
            total += away.mul_(vectors[:, part]).sum(1, dtype=torch.float64)
        return total

    def _away_by_blocks(self, weights: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Pieces of w − w*, each valid until the next one is asked for."""
        memory = self._away if len(weights) == len(self._away) else torch.empty_like(weights[:, :BLOCK])
        for start in range(0, self.dim, BLOCK):
            part = slice(start, min(start + BLOCK, self.dim))
            out = memory[:, : part.stop - part.start]
            yield part, torch.sub(weights[:, part], self.checkpoint.weights[part], out=out)

    def without_gradient(self, weights: Tensor) -> Energy:
        """The posterior at `weights`, for less: forward passes only.

        Args:
            weights: w, shape (any number of rows, dim).

        Returns:
            As from a call, but for the gradient: NaN, shape (rows,).
        """
        loss = self.checkpoint.losses(weights)
        distance2 = torch.zeros_like(loss)
        for _, away in self._away_by_blocks(weights):
            distance2 += torch.linalg.vector_norm(away, dim=1, dtype=torch.float64).square()
        return self._energy(loss - self.checkpoint.loss, torch.full_like(loss, torch.nan), distance2)


class _SharedGradient:
    """∇L(w*), computed when minibatches first need it, kept even for large models, and shared by all rows."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint

    @functools.cached_property
    def value(self) -> Tensor:
        return self._checkpoint.loss_grad
