"""`FlatLoss`: the mean loss of a batch as a function of flat weights, all rows in one batched call or one by one."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.func import functional_call, vmap
from torch.utils.flop_counter import flop_registry

from llckit.posterior.layout import Layout
from llckit.posterior.recording import LeanMode
from llckit.posterior.samples import Samples
from llckit.posterior.trees import Tree, tree_map

# Bytes that a row touches. Below it a call costs more than its arithmetic; above it batched matrix products are slower
# than single ones on a CPU, and rows of their own find their activations in the cache.
BATCHED_BYTES = 2**19
# In the time of so many operations of a matrix product a core calls a gradient, calls a kernel, and writes a number.
CALL, KERNEL, ELEMENT = 1e7, 6e5, 50

LossFunction = Callable[[nn.Module, Any], Tensor]
Fixed = Mapping[str, Tensor]


class LossModule(nn.Module):
    """The loss as a module, so that `functional_call` swaps weights for whatever loss_fn does with the model.

    Args:
        model: The user's model.
        loss_fn: `loss_fn(model, batch)`, the mean loss of a batch or one loss per sample.
    """

    def __init__(self, model: nn.Module, loss_fn: LossFunction) -> None:
        super().__init__()
        self.model = model
        self.loss_fn = loss_fn

    def forward(self, batch: Tree) -> Tensor:
        """The loss of a batch."""
        return self.loss_fn(self.model, batch)


class Price(NamedTuple):
    """What gradients cost, in operations: matrix products are counted, all else is put into the same unit.

    Attributes:
        call: Of one call of the model.
        row: Of each row of weights in it, whatever the number of samples.
        sample: Of each sample in each row.
    """

    call: float
    row: float
    sample: float


class FlatLoss:
    """The mean loss of a batch and its gradient, as functions of the sampled weights in one vector.

    Args:
        module: Model and loss.
        layout: Which of the model's parameters are sampled.
        probe: A batch of a few samples, on which a batched call is tried.

    Attributes:
        module: As given.
        layout: As given.
        probe: As given.
        vmaps: Whether rows can run in one batched call; tried when it is first asked.
    """

    def __init__(self, module: LossModule, layout: Layout, probe: Tree) -> None:
        self.module, self.layout, self.probe = module, layout, probe
        self._like: FlatLoss | None = None

    def with_loss(self, loss_fn: LossFunction) -> FlatLoss:
        """Another loss of the same model; it runs batched where this one does.

        Args:
            loss_fn: `loss_fn(model, batch)`.

        Returns:
            The other loss as a function of the same vector.
        """
        other = FlatLoss(LossModule(self.module.model, loss_fn), self.layout, self.probe)
        other._like = self
        return other

    def own_weights(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The model's own state: its sampled weights, shape (dim,), and what is fixed; see `Layout.split`."""
        return self.layout.split(self.layout.own_state())

    def mean(self, weights: Tensor, fixed: Fixed, batch: Tree) -> Tensor:
        """Mean loss of one batch at one vector of weights.

        Args:
            weights: Shape (dim,).
            fixed: Tensors that are not sampled, by name.
            batch: One batch of the samples.

        Returns:
            A float64 scalar, differentiable in `weights`.
        """
        swapped = {f"model.{name}": value for name, value in self.layout.named(weights, fixed).items()}
        losses = functional_call(self.module, swapped, (batch,))
        return losses.double().mean()

    def losses(self, rows: Tensor, fixed: Fixed, batch: Tree, *, batched: bool, own_batches: bool = False) -> Tensor:
        """Mean loss of a batch at each row, without gradients.

        Args:
            rows: Weights, shape (rows, dim).
            fixed: Tensors that are not sampled, by name.
            batch: One batch for all rows, or with `own_batches` one for each (leaves start with `rows`).
            batched: Whether rows are evaluated in one call.
            own_batches: Whether every row has its own batch.

        Returns:
            float64 losses, shape (rows,).
        """
        with torch.no_grad():
            if batched:
                return vmap(self.mean, in_dims=(0, None, 0 if own_batches else None))(rows, fixed, batch)
            with _Borrowed(self, fixed) as model:
                batches = (tree_map(lambda x, r=r: x[r], batch) if own_batches else batch for r in range(len(rows)))
                return torch.stack([model.loss(row, own).double() for row, own in zip(rows, batches, strict=True)])

    def losses_and_grads(
        self, rows: Tensor, fixed: Fixed, batch: Tree, *, batched: bool, own_batches: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Mean loss of a batch and its gradient at each row.

        Args:
            rows: Weights, shape (rows, dim).
            fixed: Tensors that are not sampled, by name.
            batch: One batch for all rows, or with `own_batches` one for each (leaves start with `rows`).
            batched: Whether rows are evaluated in one call.
            own_batches: Whether every row has its own batch.

        Returns:
            float64 losses, shape (rows,), and gradients, shape (rows, dim).
        """
        rows = rows.detach()
        with torch.enable_grad():
            if batched:
                inside = rows.requires_grad_()
                losses = vmap(self.mean, in_dims=(0, None, 0 if own_batches else None))(inside, fixed, batch)
                (grads,) = torch.autograd.grad(losses.sum(), inside)
                return losses.detach(), grads
            losses = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
            grads = torch.empty_like(rows)
            with _Borrowed(self, fixed) as model:
                for r, row in enumerate(rows):
                    own = tree_map(lambda x, r=r: x[r], batch) if own_batches else batch
                    loss = model.loss(row, own)
                    pieces = torch.autograd.grad(loss, model.parameters, materialize_grads=True)
                    self.layout.flat(pieces, out=grads[r])
                    losses[r] = loss.detach()
        return losses, grads

    @functools.cached_property
    def vmaps(self) -> bool:
        """Whether rows can run in one batched call; tried when it is first asked."""
        return self._can_vmap() if self._like is None else self._like.vmaps

    def _can_vmap(self) -> bool:
        center, fixed = self.own_weights()
        rows = torch.stack([center, center * (1 + 1e-3)])
        _, expected = self.losses_and_grads(rows, fixed, self.probe, batched=False)
        try:
            with warnings.catch_warnings():
                # The slow fallback of a missing batching rule speaks through a warning only.
                warnings.filterwarnings("error", message=".*batching rule.*")
                _, found = self.losses_and_grads(rows, fixed, self.probe, batched=True)
        except Exception:
            return False
        finally:  # a model that keeps its activations would keep those of a batched call, which nothing can copy
            self.losses(rows, fixed, self.probe, batched=False)
        largest = float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max())
        return torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * largest, equal_nan=True)

    def is_batched(self, pass_bytes: int) -> bool:
        """Whether rows are better evaluated in one call.

        The rule counts bytes and not seconds, so that numbers do not depend on how busy a machine is.

        Args:
            pass_bytes: Activations of one row.

        Returns:
            True for one batched call.
        """
        small = pass_bytes + 4 * self.layout.dim < BATCHED_BYTES
        return (self.layout.device.type != "cpu" or small) and self.vmaps

    def saved_bytes(self, weights: Tensor, fixed: Fixed, samples: Samples) -> int:
        """Measure the bytes that autograd keeps for each further sample of a batch and row.

        Args:
            weights: Shape (dim,).
            fixed: Tensors that are not sampled, by name.
            samples: The data.

        Returns:
            Bytes per sample; 0 for a loss that does not look at the data.
        """
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        def of(batch: Tree) -> int:
            nonlocal total
            total = 0
            with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor), torch.enable_grad():
                self.mean(weights.clone().requires_grad_(), fixed, batch)
            return total

        return _for_each_further_sample(of, samples)

    def price(self, weights: Tensor, fixed: Fixed, samples: Samples) -> Price:
        """Count what a gradient costs; the count is the same on every machine.

        Args:
            weights: Shape (dim,).
            fixed: Tensors that are not sampled, by name.
            samples: The data.

        Returns:
            The price.
        """
        calls = 0

        def of(batch: Tree) -> int:
            nonlocal calls
            rows = weights.clone().requires_grad_()
            with _Kernels() as kernels, torch.enable_grad():
                loss = self.mean(rows, fixed, batch)
                if loss.requires_grad:
                    torch.autograd.grad(loss, rows)
            calls = kernels.calls
            return kernels.operations + ELEMENT * kernels.elements

        batch, few = next(samples.chunks(2))
        least = of(batch)
        sample = _for_each_further_sample(of, samples)
        return Price(CALL + KERNEL * calls, max(0, least - few * sample), sample)


def _for_each_further_sample(cost: Callable[[Tree], int], samples: Samples) -> int:
    """By how much the cost of a batch grows with each further sample; 0 if there are too few samples to tell."""
    if samples.n < 4:
        return 0
    (small, few), (large, more) = (next(samples.chunks(size)) for size in (2, 4))  # a loader's batches may hold fewer
    if few == more:
        return cost(small) // few
    return max(0, (cost(large) - cost(small)) // (more - few))


class _Kernels(LeanMode):
    """Counts what is called, the operations of matrix products, and the numbers that are written."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.operations = self.elements = 0

    def __torch_dispatch__(
        self, func: OpOverload, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        with self:
            found = func.decompose(*args, **given)
        if found is not NotImplemented:
            return found  # of parts that have been counted
        found = func(*args, **given)
        if not func.is_view:
            self.calls += 1
            parts = found if isinstance(found, (tuple, list)) else [found]
            self.elements += sum(part.numel() for part in parts if isinstance(part, Tensor))
        formula = flop_registry.get(func.overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **given, out_val=found)
        return found


class _Borrowed:
    """The model with a checkpoint's weights for a while, and afterwards as it was."""

    # Weights are put into the model, not swapped in by functional_call: that costs more than a small model's forward.
    def __init__(self, flat_loss: FlatLoss, fixed: Fixed) -> None:
        self._module, self._layout, self._fixed = flat_loss.module, flat_loss.layout, fixed
        model = self._module.model
        self._tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self._before = {name: tensor.data for name, tensor in self._tensors.items()}
        self.parameters = [self._tensors[name] for name in self._layout.shapes]

    def __enter__(self) -> _Borrowed:
        for name, value in self._fixed.items():
            tensor = self._tensors[name]
            tensor.data = value if isinstance(tensor, nn.Parameter) else value.clone()  # forward may write into buffers
        return self

    def __exit__(self, *error: object) -> None:
        for name, tensor in self._tensors.items():
            tensor.data = self._before[name]

    def loss(self, row: Tensor, batch: Tree) -> Tensor:
        """Mean loss of a batch at one row of weights, in the user's precision where the user took the mean."""
        if self._layout.indices:
            values = self._layout.named(row, self._fixed)
            for name, parameter in zip(self._layout.shapes, self.parameters, strict=True):
                parameter.data = values[name]
        else:
            for parameter, piece in zip(self.parameters, row.split(self._layout.sizes), strict=True):
                parameter.data = piece.view(parameter.shape)
        loss = self._module.loss_fn(self._module.model, batch)
        return loss.double().mean() if loss.dim() else loss
