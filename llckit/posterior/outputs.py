"""`Outputs`: what a model returns inside one call of the user's loss, and that loss where other outputs stand there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.flat_loss import LossFunction
from llckit.posterior.trees import Tree, length


class Outputs:
    """The outputs of a model that the user's loss compares with its targets.

    Args:
        user_loss: `loss_fn(model, batch)`; it must call `model(...)` once.
        model: The user's model.
        batch: A few samples, on which both are tried.

    Raises:
        InputError: The outputs cannot be observed, or the loss is not a function of them.
    """

    def __init__(self, user_loss: LossFunction, model: nn.Module, batch: Tree) -> None:
        self._user_loss, self._head = user_loss, ""
        output, head = self._tried(model, batch)
        if output.dim() == 0 or output.shape[0] != length(batch):
            raise InputError(
                f"the model gives shape {tuple(output.shape)} for {length(batch)} samples; expected {length(batch)} as "
                "the first dimension"
            )
        if not self._depends(model, batch):
            # A loss that the model computes itself sees the outputs as they leave the last layer.
            self._head = head
            if not head or not self._depends(model, batch):
                raise InputError(
                    "the loss is not a function of the model's outputs, as where the model computes it itself from "
                    "labels; expected a loss of what model(...) returns, such as "
                    "cross_entropy(model(inputs).logits, labels)"
                )

    def __call__(self, model: nn.Module, batch: Tree) -> Tensor:
        """The model's outputs, as they are.

        Args:
            model: The model.
            batch: A batch of the user's.

        Returns:
            Outputs, whose first dimension counts the samples.

        Raises:
            InputError: The loss does not call the model once, or the model does not return outputs.
        """
        found: list[Tensor] = []
        with _hooked(model, lambda output: found.append(_tensor_of(output))):
            self._user_loss(model, batch)
        if len(found) != 1:
            raise InputError(f"loss_fn calls model(...) {len(found)} times; the behavioral loss needs exactly one call")
        return found[0]

    def loss_of(self, model: nn.Module, batch: Tree, other: Callable[[Tensor], Tensor]) -> Tensor:
        """The user's loss with other outputs in the place of the model's.

        Args:
            model: The model.
            batch: A batch of the user's.
            other: Maps the model's outputs to those that stand in for them.

        Returns:
            The mean loss of the batch, a float64 scalar.

        Raises:
            InputError: The loss fails there.
        """
        try:
            with _hooked(model.get_submodule(self._head), lambda output: _replaced(output, other(_tensor_of(output)))):
                return self._user_loss(model, batch).double().mean()
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the loss fails where other numbers stand in for the model's outputs ({error}); expected a loss "
                "of the outputs alone, without their derivatives, that takes any numbers: of logits rather than "
                "probabilities"
            ) from error

    def _tried(self, model: nn.Module, batch: Tree) -> tuple[Tensor, str]:
        """The outputs, and the name of the layer that gives the same tensor; an empty name if there is none."""
        given: list[tuple[str, Any]] = []
        with ExitStack() as stack:
            for name, module in model.named_modules():
                if name:
                    stack.enter_context(_hooked(module, lambda output, name=name: given.append((name, output))))
            output = self(model, batch)
        return output, next((name for name, found in given if found is output), "")

    def _depends(self, model: nn.Module, batch: Tree) -> bool:
        put: list[Tensor] = []

        def other(output: Tensor) -> Tensor:
            put.append(output.detach().requires_grad_())
            return put[0]

        with torch.enable_grad():
            loss = self.loss_of(model, batch, other)
            return loss.requires_grad and torch.autograd.grad(loss, put[0], allow_unused=True)[0] is not None


@contextmanager
def _hooked(module: nn.Module, function: Callable[[Any], Any]) -> Iterator[None]:
    """For a while the module's output goes through a function; where that gives None, it stays."""
    handle = module.register_forward_hook(lambda _, inputs, output: function(output))
    try:
        yield
    finally:
        handle.remove()


def _tensor_of(output: Any) -> Tensor:
    logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor):
        raise InputError(
            f"the model returns a {type(output).__name__}; expected a tensor or an object with .logits: let the model "
            "return its outputs alone, and compute the loss from them in loss_fn"
        )
    return logits


def _replaced(output: Any, new: Tensor) -> Any:
    if isinstance(output, Tensor):
        return new
    if isinstance(output, tuple) and hasattr(output, "_replace"):
        return output._replace(logits=new)  # pyright: ignore[reportAttributeAccessIssue]
    setattr(output, "logits", new)  # noqa: B010 (no class that is known has it)
    return output
