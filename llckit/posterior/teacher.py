"""`Teacher`: the loss that measures how far a model's outputs are from those of the checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from llckit.errors import InputError
from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.flat_loss import FlatLoss, LossFunction, LossModule
from llckit.posterior.trees import Tree, length

CHUNK = 1024  # samples per forward when the targets are made
KEPT_OPERATIONS = 1e11  # of three times as much as all targets cost, up to which they are made at once, and kept


class Teacher:
    """The behavioral loss of a model, see `behavioral_task`, and the checkpoints that bring their own targets.

    Args:
        user: The user's loss; it must call `model(...)` once and use what it returns.

    Attributes:
        flat_loss: The behavioral loss; its batches are pairs (batch of the user's, outputs of the checkpoint).

    Raises:
        InputError: The outputs cannot be observed, or the loss is not curved in them.
    """

    def __init__(self, user: FlatLoss) -> None:
        self.flat_loss = user.with_loss(_fitted_distance(user))
        self._outputs = LossModule(user.module.model, _Outputs(user.module.loss_fn))

    def checkpoint(self, user: Checkpoint) -> Checkpoint:
        """A checkpoint with its own outputs as targets.

        Args:
            user: The checkpoint under the user's loss.

        Returns:
            The same weights under the behavioral loss.
        """
        named = user.flat_loss.layout.named(user.weights, user.fixed)
        swapped = {f"model.{name}": value for name, value in named.items()}

        def outputs(batch: Tree) -> Tensor:
            with torch.no_grad():
                return functional_call(self._outputs, swapped, (batch,))

        keep = user.samples.n * user.price.sample <= KEPT_OPERATIONS
        pairs = user.samples.paired(outputs, CHUNK, keep=keep)
        return Checkpoint(self.flat_loss, user.weights, user.fixed, pairs, user.compiler, user)


class _Outputs:
    """What the model returns inside one call of the user's loss."""

    def __init__(self, user_loss: LossFunction) -> None:
        self._user_loss = user_loss

    def __call__(self, model: nn.Module, batch: Tree) -> Tensor:
        return self.and_loss(model, batch)[0]

    def and_loss(self, model: nn.Module, batch: Tree, replace: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The model's output inside one call of the user's loss, and that loss; `replace` is put in its place."""
        found: list[Tensor] = []

        def watch(module: nn.Module, inputs: Any, output: Any) -> Any:
            logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
            if not isinstance(logits, Tensor):
                raise InputError(
                    f"the model returns a {type(output).__name__}; expected a tensor or an object with .logits"
                )
            found.append(logits)
            if replace is None:
                return None
            if isinstance(output, Tensor):
                return replace
            output.logits = replace
            return output

        handle = model.register_forward_hook(watch)
        try:
            loss = self._user_loss(model, batch)
        finally:
            handle.remove()
        if len(found) != 1:
            raise InputError(f"loss_fn calls model(...) {len(found)} times; the behavioral loss needs exactly one call")
        return found[0], loss


class _Distance:
    """c KL(p_target ‖ p_output) of each sample, classes along `class_dim`; without classes c ‖output − target‖²."""

    def __init__(self, outputs: _Outputs, class_dim: int | None, scale: float) -> None:
        self._outputs, self._class_dim, self._scale = outputs, class_dim, scale

    def __call__(self, model: nn.Module, batch: Tree) -> Tensor:
        inputs, target = batch
        return self.between(self._outputs(model, inputs), target)

    def between(self, output: Tensor, target: Tensor) -> Tensor:
        if self._class_dim is None:
            each = (output - target).double().square().flatten(1).sum(1)
            return self._scale * each
        log_p = torch.log_softmax(target.double(), self._class_dim)
        log_q = torch.log_softmax(output.double(), self._class_dim)
        each = (log_p.exp() * (log_p - log_q)).sum(self._class_dim)
        return self._scale * each.flatten(1).mean(1) if each.dim() > 1 else self._scale * each


def _fitted_distance(user: FlatLoss) -> _Distance:
    """The distance whose curvature in the outputs is that of the user's loss, by trying a few samples."""
    model, batch = user.module.model, user.probe
    outputs = _Outputs(user.module.loss_fn)
    output, size = outputs(model, batch), length(batch)
    if output.dim() == 0 or output.shape[0] != size:
        raise InputError(
            f"the model gives shape {tuple(output.shape)} for {size} samples; expected {size} as the first dimension"
        )
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(output)

    @torch.no_grad()
    def loss(new: Tensor) -> float:
        try:
            return float(outputs.and_loss(model, batch, replace=new)[1].double().mean())
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the loss fails where other numbers stand in for the model's outputs ({error}); expected a loss "
                "of the outputs alone, without their derivatives"
            ) from error

    at, shift = normal(*output.shape), 0.1 * normal(*output.shape)
    class_dim = _class_dim(loss, at, normal)
    unit = _Distance(outputs, class_dim, 1.0)
    ours = float((unit.between(at + shift, at) + unit.between(at - shift, at)).mean())
    values = [loss(at + shift), loss(at - shift), loss(at)]
    rise = values[0] + values[1] - 2 * values[2]
    rounding = 8 * torch.finfo(output.dtype).eps * max(map(abs, values))
    if not rise > rounding:
        raise InputError(
            "the loss is not curved in the model's outputs, so their distance has no unit; expected a loss such as "
            "cross-entropy or squared error of what model(...) returns"
        )
    return _Distance(outputs, class_dim, rise / ours)


def _class_dim(loss: Callable[[Tensor], float], at: Tensor, normal: Callable[..., Tensor]) -> int | None:
    """The dimension along which a constant added to a sample's outputs leaves the loss as it is, as in a softmax."""
    for dim in dict.fromkeys((at.dim() - 1, 1)):
        if 0 < dim < at.dim() and at.shape[dim] > 1:
            constant = normal(*(1 if d == dim else s for d, s in enumerate(at.shape)))
            if abs(loss(at + constant) - loss(at)) <= 1e-5 * abs(loss(at)):
                return dim
    return None
