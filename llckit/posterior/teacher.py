"""`Teacher`: the loss that measures how far a model's outputs are from those of the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from llckit.errors import InputError
from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.distance import Curved, Distance
from llckit.posterior.flat_loss import FlatLoss, LossModule
from llckit.posterior.output_weights import OutputWeights
from llckit.posterior.outputs import Outputs
from llckit.posterior.samples import Samples
from llckit.posterior.trees import Tree

CHUNK = 1024  # samples per forward when the targets are made
KEPT_OPERATIONS = 1e11  # of three times as much as all targets cost, up to which they are made at once, and kept
LOOKED_AT = 256  # samples that show whether outputs count unequally, if targets are not made at once


class Teacher:
    """The behavioral loss of a model, see `behavioral_task`, and the checkpoints that bring their own targets.

    Args:
        user: The user's loss; it must call `model(...)` once and use what it returns.

    Attributes:
        flat_loss: The behavioral loss; its batches are pairs (batch of the user's, target), see `Distance`.

    Raises:
        InputError: The outputs cannot be observed, or the loss is not curved in them.
    """

    def __init__(self, user: FlatLoss) -> None:
        model, batch = user.module.model, user.probe
        self._outputs = Outputs(user.module.loss_fn, model, batch)
        curved = Curved(self._outputs, model, batch)
        self._weights = OutputWeights(self._outputs, curved.space, model, batch)
        scale = curved.scale(self._weights(model, batch))
        self.flat_loss = user.with_loss(Distance(self._outputs, curved.space, scale))
        self._counts_alike: bool | None = None

    def checkpoint(self, user: Checkpoint) -> Checkpoint:
        """A checkpoint with its own outputs as targets, and with their weights unless all count alike.

        Args:
            user: The checkpoint under the user's loss.

        Returns:
            The same weights under the behavioral loss.

        Raises:
            InputError: There is no telling what outputs count, or they take too much memory.
        """
        named = user.flat_loss.layout.named(user.weights, user.fixed)
        swapped = {f"model.{name}": value for name, value in named.items()}

        def at_checkpoint(function: Callable[[nn.Module, Tree], Tensor]) -> Callable[[Tree], Tensor]:
            module = LossModule(user.flat_loss.module.model, function)
            return torch.no_grad()(lambda batch: functional_call(module, swapped, (batch,)))

        outputs, weights = at_checkpoint(self._outputs), at_checkpoint(self._weights)
        samples, whole = user.samples, not user.samples.is_separable
        keep = whole or samples.n * user.price.sample <= KEPT_OPERATIONS
        size = samples.n if whole else CHUNK
        if self._counts_alike is None:
            batches = (batch for batch, _ in samples.chunks(size)) if keep else _some(samples)
            self._counts_alike = all(bool((weights(batch) == 1).all()) for batch in batches)
        target = outputs if self._counts_alike else lambda batch: (outputs(batch), weights(batch))
        pairs = samples.paired(target, size, keep=keep)
        if whole and pairs.block is None:
            raise InputError(
                f"the outputs of all {samples.n} samples do not fit into memory, and the loss weighs samples against "
                "each other (a mean over tokens, or class weights); expected one loss per sample, shape (batch,)"
            )
        return Checkpoint(self.flat_loss, user.weights, user.fixed, pairs, user.compiler, user)


def _some(samples: Samples) -> Iterator[Tree]:
    """A batch of samples from all over the data, or the first ones."""
    if samples.is_indexable:
        yield samples.gather(torch.linspace(0, samples.n - 1, LOOKED_AT, device="cpu").long())
    else:
        yield samples.first(LOOKED_AT)
