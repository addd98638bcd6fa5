"""The loss at many rows of weights: all in one batched call, or one after the other in the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.func import vmap

from llckit.posterior.data import Tree, tree_map

if TYPE_CHECKING:
    from llckit.posterior.task import Point, Task

# Bytes that a row touches. Below it a call costs more than its arithmetic; above it batched matrix products are slower
# than single ones on a CPU, and rows of their own find their activations in the cache.
BATCHED_BYTES = 2**19
THREADED_BYTES = 2**22  # from which one row is worth several threads


def is_batched(task: Task, pass_bytes: int) -> bool:
    """Whether rows are better evaluated together.

    The rule counts bytes and not seconds, so that numbers do not depend on how busy a machine is.

    Args:
        task: Says whether its loss can be batched at all.
        pass_bytes: Activations of one row.

    Returns:
        True for one batched call.
    """
    return (task.device.type != "cpu" or pass_bytes + 4 * task.dim < BATCHED_BYTES) and task.vmaps


def saved_bytes(task: Task, point: Point) -> int:
    """Bytes that autograd keeps for each further sample of a batch and row, by measurement.

    Args:
        task: Model, data and loss.
        point: The checkpoint.

    Returns:
        Bytes per sample; 0 for a loss that does not look at the data.
    """
    if point.samples.n < 4:
        return 0
    kept, sizes = [], []
    for size in (2, 4):
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        batch, length = next(point.samples.chunks(size))  # a loader's own batches may hold fewer
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.enable_grad():
            task.loss(point.weights.clone().requires_grad_(), point.fixed, batch)
        kept.append(total)
        sizes.append(length)
    if sizes[0] == sizes[1]:
        return kept[0] // sizes[0]
    return max(0, (kept[1] - kept[0]) // (sizes[1] - sizes[0]))


@contextmanager
def steady_threads(task: Task) -> Iterator[None]:
    """One thread while rows are small, so that numbers depend neither on their number nor on who else is at work.

    Sums are rounded in another order by other numbers of threads. Small rows hardly gain from them; a curve gains more
    from workers. Large rows get as many threads as torch has.

    Args:
        task: Says what a pass over its data touches.
    """
    threads = torch.get_num_threads()
    own = task.original
    large = own.samples.n * saved_bytes(own, own.point()) + 4 * own.dim >= THREADED_BYTES
    if large or own.device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def losses_of(task: Task, weights: Tensor, point: Point, batch: Tree, *, batched: bool) -> Tensor:
    """Mean loss of a batch, without gradients.

    Args:
        task: Model and loss.
        weights: Shape (rows, dim).
        point: Supplies what is not sampled.
        batch: One batch for all rows.
        batched: Whether rows are evaluated together.

    Returns:
        float64 losses, shape (rows,).
    """
    with torch.no_grad():
        if batched:
            return vmap(task.loss, in_dims=(0, None, None))(weights, point.fixed, batch)
        with _Borrowed(task, point) as model:
            return torch.stack([model.loss(row, batch).double() for row in weights])


def losses_and_grads_of(
    task: Task, weights: Tensor, point: Point, batch: Tree, *, batched: bool, own_batches: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean loss of a batch and its gradient.

    Args:
        task: Model and loss.
        weights: Shape (rows, dim).
        point: Supplies what is not sampled.
        batch: One batch for all rows, or with `own_batches` one for each (leaves start with `rows`).
        batched: Whether rows are evaluated together.
        own_batches: Whether every row has its own batch.

    Returns:
        float64 losses, shape (rows,), and gradients, shape (rows, dim).
    """
    weights = weights.detach()
    with torch.enable_grad():
        if batched:
            inside = weights.requires_grad_()
            losses = vmap(task.loss, in_dims=(0, None, 0 if own_batches else None))(inside, point.fixed, batch)
            (grads,) = torch.autograd.grad(losses.sum(), inside)
            return losses.detach(), grads
        losses = torch.empty(len(weights), dtype=torch.float64, device=weights.device)
        grads = torch.empty_like(weights)
        with _Borrowed(task, point) as model:
            for r, row in enumerate(weights):
                own = tree_map(lambda x, r=r: x[r], batch) if own_batches else batch
                loss = model.loss(row, own)
                model.collect(torch.autograd.grad(loss, model.parameters, materialize_grads=True), out=grads[r])
                losses[r] = loss.detach()
    return losses, grads


class _Borrowed:
    """The model with a checkpoint's weights for a while, and afterwards as it was."""

    # Weights are put into the model, not swapped in by functional_call: that costs more than a small model's forward.
    def __init__(self, task: Task, point: Point) -> None:
        self._task, self._fixed = task, point.fixed
        self._tensors = dict(task.model.named_parameters()) | dict(task.model.named_buffers())
        self._kept = {name: tensor.data for name, tensor in self._tensors.items()}
        self.parameters = [self._tensors[name] for name in task.shapes]

    def __enter__(self) -> _Borrowed:
        for name, value in self._fixed.items():
            tensor = self._tensors[name]
            tensor.data = value if isinstance(tensor, nn.Parameter) else value.clone()  # forward may write into buffers
        return self

    def __exit__(self, *error: object) -> None:
        for name, tensor in self._tensors.items():
            tensor.data = self._kept[name]

    def loss(self, row: Tensor, batch: Tree) -> Tensor:
        """Mean loss of a batch at one row of weights, in the user's precision where the user took the mean."""
        if self._task.indices:
            values = self._task.named(row, self._fixed)
            for name, parameter in zip(self._task.shapes, self.parameters, strict=True):
                parameter.data = values[name]
        else:
            for parameter, piece in zip(self.parameters, row.split(self._task.sizes), strict=True):
                parameter.data = piece.view(parameter.shape)
        loss = self._task.loss_fn(self._task.model, batch)
        return loss.double().mean() if loss.dim() else loss

    def collect(self, grads: Sequence[Tensor], out: Tensor) -> None:
        """One vector from the gradients of all parameters."""
        indices = self._task.indices
        pieces = (
            grad.reshape(-1)[indices[name]] if name in indices else grad.reshape(-1)
            for name, grad in zip(self._task.shapes, grads, strict=True)
        )
        torch.cat([*pieces], out=out)
