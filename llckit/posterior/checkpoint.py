"""`Checkpoint`: where sampling is centred, and what is computed there once: L(w*), ∇L(w*), curvature, recordings."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior.compiling import Compiler
from llckit.posterior.curvature import Spectrum, curvature
from llckit.posterior.flat_loss import Fixed, FlatLoss, Price
from llckit.posterior.replay import Replay
from llckit.posterior.samples import Samples
from llckit.posterior.trees import Tree

ACTIVATION_BYTES = 2**28  # what one forward and backward may keep; more samples than that go in chunks
PER_WEIGHT = 30  # operations of a step for each weight and row: noise, momenta, sums
KEPT = 2**22  # weights up to which ∇L(w*) is kept; for larger models it is computed whenever it is asked for


class Checkpoint:
    """One checkpoint of a task: weights w*, and L(w) = mean loss over its samples.

    What is costly is computed when it is first asked for, and kept: hand one checkpoint down, and do not make it anew.

    Args:
        flat_loss: The loss as a function of sampled weights.
        weights: w*, the sampled parameters as one vector, shape (dim,).
        fixed: What is not sampled, parameters and buffers by name; for a parameter sampled in part, all of it.
        samples: The data that defines L.
        compiler: Compiles recorded gradients; None leaves them as they are.
        user: The same weights under the user's own loss; None if this is that loss.

    Attributes:
        flat_loss: As given.
        weights: As given.
        fixed: As given.
        samples: As given.
        compiler: As given.
        user: The same weights under the user's own loss: the checkpoint given, or this one.
    """

    def __init__(
        self,
        flat_loss: FlatLoss,
        weights: Tensor,
        fixed: Fixed,
        samples: Samples,
        compiler: Compiler | None = None,
        user: Checkpoint | None = None,
    ) -> None:
        self.flat_loss, self.weights, self.fixed, self.samples = flat_loss, weights, fixed, samples
        self.compiler, self._user = compiler, user
        self._together = Replay(flat_loss, fixed, samples.block, compiler)
        self._kept_grad: Tensor | None = None

    @property
    def user(self) -> Checkpoint:
        """The same weights under the user's own loss; for a behavioral checkpoint with all of the task's samples."""
        return self if self._user is None else self._user

    @property
    def is_behavioral(self) -> bool:
        """Whether L is the distance from the checkpoint's own outputs: 0 at w*, on every sample, with no gradient."""
        return self._user is not None

    @property
    def dim(self) -> int:
        """Number of sampled weights."""
        return len(self.weights)

    def thinned(self, size: int, seed: int = 0) -> Checkpoint:
        """The same checkpoint with some of its samples, drawn without replacement.

        With one seed, a larger size keeps all samples of a smaller one.

        Args:
            size: Number of samples to keep; all are kept if there are no more, or if single ones cannot be drawn.
            seed: Seed of the draw.

        Returns:
            The checkpoint.
        """
        if size >= self.samples.n or not self.samples.is_indexable:
            return self
        order = torch.randperm(self.samples.n, generator=torch.Generator().manual_seed(seed), device="cpu")
        few = self.samples.subset(order[:size])
        return Checkpoint(self.flat_loss, self.weights, self.fixed, few, self.compiler, self._user)

    def at(self, weights: Tensor) -> Checkpoint:
        """The same loss and samples around other weights.

        Args:
            weights: Shape (dim,).

        Returns:
            Another checkpoint.
        """
        user = None if self._user is None else self._user.at(weights)
        return Checkpoint(self.flat_loss, weights, self.fixed, self.samples, self.compiler, user)

    # -- computed once ----------------------------------------------------------------------------------------

    @functools.cached_property
    def bytes_per_sample(self) -> int:
        """Bytes that autograd keeps for each sample and row, see `FlatLoss.saved_bytes`."""
        return self.flat_loss.saved_bytes(self.weights, self.fixed, self.samples)

    @functools.cached_property
    def price(self) -> Price:
        """What gradients cost, see `FlatLoss.price`."""
        return self.flat_loss.price(self.weights, self.fixed, self.samples)

    def gradient_operations(self, size: int, rows: int) -> float:
        """Operations of one gradient at every row, those that a call costs by itself included.

        Args:
            size: Samples in a gradient.
            rows: Gradients, each at its own weights.

        Returns:
            Operations.
        """
        together = self.flat_loss.is_batched(size * self.bytes_per_sample)
        call, row, sample = self.price
        return call * (1 if together else rows) + rows * (row + size * sample + PER_WEIGHT * self.dim)

    @functools.cached_property
    def loss(self) -> float:
        """L(w*) over all samples.

        Raises:
            InputError: L(w*) or ∇L(w*) is not finite.
        """
        loss, grad = self.loss_and_grad(self.weights[None])
        if not (torch.isfinite(loss).all() and torch.isfinite(grad).all()):
            raise InputError(
                f"at the checkpoint the loss over all samples is {float(loss)} and its gradient "
                f"{'finite' if torch.isfinite(grad).all() else 'not finite'}; expected finite numbers for every sample"
            )
        if len(self.weights) <= KEPT:
            self._kept_grad = grad[0]
        return float(loss)

    @property
    def loss_grad(self) -> Tensor:
        """∇L(w*), shape (dim,); above 4 million weights it is computed anew each time, so that it takes no memory."""
        _ = self.loss
        return self.loss_and_grad(self.weights[None])[1][0] if self._kept_grad is None else self._kept_grad

    @functools.cached_property
    def _spectrum(self) -> Spectrum:
        _ = self.loss  # refused before the work
        return curvature(lambda rows: self.loss_and_grad(rows)[1], self.weights)

    def curvature(self) -> Spectrum:
        """The eigenvalues of ∇²L(w*): all of them for small models, else by Lanczos; see `curvature`.

        Returns:
            Nodes and weights of the spectrum's density.
        """
        return self._spectrum

    # -- the loss at rows of weights --------------------------------------------------------------------------

    def loss_and_grad(self, rows: Tensor, samples: Samples | None = None) -> tuple[Tensor, Tensor]:
        """L and ∇L, in as many chunks of samples as memory asks for.

        Args:
            rows: Weights, shape (rows, dim).
            samples: Over which L is the mean; None takes all.

        Returns:
            Losses, float64, shape (rows,), and gradients, shape (rows, dim).
        """
        samples = self.samples if samples is None else samples
        batched, size = self._chunks(samples.n, len(rows))
        loss = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        grad: Tensor | None = None
        for batch, length in samples.chunks(size):
            losses, piece = self._losses_and_grads(rows, batch, batched=batched)
            share = length / samples.n
            loss.add_(losses, alpha=share)
            piece = piece if share == 1 else piece.mul_(share)
            grad = piece if grad is None else grad.add_(piece)
        assert grad is not None  # there is at least one sample
        return loss, grad

    def losses(self, rows: Tensor) -> Tensor:
        """L without gradients, for less: forward passes only.

        Args:
            rows: Weights, shape (rows, dim).

        Returns:
            Losses, float64, shape (rows,).
        """
        loss = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        batched, size = self._chunks(n := self.samples.n, len(rows))
        for batch, length in self.samples.chunks(size):
            loss += self.flat_loss.losses(rows, self.fixed, batch, batched=batched) * (length / n)
        return loss

    def minibatch_loss_and_grad(self, rows: Tensor, batch: Tree, size: int) -> tuple[Tensor, Tensor]:
        """Mean loss and its gradient on a minibatch of its own for every row.

        Args:
            rows: Weights, shape (rows, dim).
            batch: The minibatches, leaves of shape (rows, size, …).
            size: Samples in each.

        Returns:
            Losses, float64, shape (rows,), and gradients, shape (rows, dim).
        """
        batched, _ = self._chunks(size, len(rows))
        return self._losses_and_grads(rows, batch, batched=batched, own_batches=True)

    def minibatch_losses(self, rows: Tensor, batch: Tree, size: int) -> Tensor:
        """Mean loss on a minibatch of its own for every row, without gradients.

        Args:
            rows: Weights, shape (rows, dim).
            batch: The minibatches, leaves of shape (rows, size, …).
            size: Samples in each.

        Returns:
            Losses, float64, shape (rows,).
        """
        batched, _ = self._chunks(size, len(rows))
        return self.flat_loss.losses(rows, self.fixed, batch, batched=batched, own_batches=True)

    def _losses_and_grads(
        self, rows: Tensor, batch: Tree, *, batched: bool, own_batches: bool = False
    ) -> tuple[Tensor, Tensor]:
        if batched:
            return self._together(rows, batch, own_batches=own_batches)
        return self.flat_loss.losses_and_grads(rows, self.fixed, batch, batched=False, own_batches=own_batches)

    def _chunks(self, n: int, rows: int) -> tuple[bool, int]:
        """Whether rows are evaluated in one call, and at how many of n samples at a time."""
        batched = self.flat_loss.is_batched(n * self.bytes_per_sample)
        if not self.samples.is_separable:
            return batched, n
        return batched, max(1, ACTIVATION_BYTES // (max(1, self.bytes_per_sample) * (rows if batched else 1)))
