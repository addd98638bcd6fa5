"""The model as its own teacher: a loss of which every checkpoint is a minimum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from llckit.errors import InputError
from llckit.posterior.data import Tree
from llckit.posterior.door import PROBE
from llckit.posterior.task import Point, Task, _Loss

CHUNK = 1024  # samples per forward when the targets are made


def behavioral_task(task: Task) -> BehavioralTask:
    """The same model and inputs, with the checkpoint's own outputs as targets.

    K(w) = c · mean_i KL(p_{w*}(x_i) ‖ p_w(x_i)) if the loss is invariant under adding a constant to a sample's
    outputs (a softmax), else K(w) = c · mean_i ‖f_w(x_i) − f_{w*}(x_i)‖². w* is a minimum with K(w*) = 0 by
    construction, at every scale; c makes the curvature in the outputs that of the user's loss, so that both agree where
    the loss is at a minimum (Bushnaq et al., arXiv 2405.10927, call this the behavioral loss).

    Args:
        task: Its `loss_fn` must call `model(...)` once and use what it returns: a tensor, or an object with a tensor
            `.logits`.

    Returns:
        A task of the same model, data and n (the task itself if it is behavioral already).

    Raises:
        InputError: Not a task, the outputs cannot be seen, or the loss is not curved in them.
    """
    if not isinstance(task, Task):
        raise InputError(f"task is a {type(task).__name__}; expected llckit.Task(model, data, loss_fn)")
    return task if isinstance(task, BehavioralTask) else BehavioralTask(task)


class BehavioralTask(Task):
    """A task whose loss is the distance from the checkpoint's own outputs; see `behavioral_task`."""

    behavioral = True

    def __init__(self, task: Task) -> None:
        self.__dict__.update(task.__dict__)
        self._original = task
        self.reference = None if task.reference is None else task.reference._replace(behavioral=True)
        self._user_loss = task.loss_fn
        batch, size = next(task.samples.chunks(PROBE))
        output, _ = self._run(self.model, batch)
        if output.dim() == 0 or output.shape[0] != size:
            raise InputError(
                f"the model gives shape {tuple(output.shape)} for {size} samples; expected one output per sample first"
            )
        generator = torch.Generator().manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64).to(output)

        at, shift = normal(*output.shape), 0.1 * normal(*output.shape)

        @torch.no_grad()
        def user(new: Tensor) -> float:
            try:
                return float(self._run(self.model, batch, replace=new)[1].double().mean())
            except InputError:
                raise
            except Exception as error:
                raise InputError(
                    f"the loss fails where other numbers stand in for the model's outputs ({error}); expected a loss "
                    "of the outputs alone, without their derivatives"
                ) from error

        self._class_dim: int | None = None
        for dim in dict.fromkeys((output.dim() - 1, 1)):
            if 0 < dim < output.dim() and output.shape[dim] > 1:
                constant = normal(*(1 if d == dim else s for d, s in enumerate(output.shape)))
                if abs(user(at + constant) - user(at)) <= 1e-5 * abs(user(at)):
                    self._class_dim = dim
                    break
        self._scale = 1.0
        ours = float((self._divergence(at + shift, at) + self._divergence(at - shift, at)).mean())
        values = [user(at + shift), user(at - shift), user(at)]
        rise = values[0] + values[1] - 2 * values[2]
        rounding = 8 * torch.finfo(output.dtype).eps * max(map(abs, values))
        self._scale = rise / ours
        if not rise > rounding:
            raise InputError(
                "the loss is not curved in the model's outputs, so their distance has no unit; expected a loss such as "
                "cross-entropy or squared error of what model(...) returns"
            )
        self.loss_fn = self._loss_to_targets
        self._module = _Loss(self.model, self.loss_fn)

    def _run(self, model: nn.Module, batch: Tree, replace: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The model's output inside one call of the user's loss, and that loss; `replace` is put in its place."""
        seen: list[Tensor] = []

        def watch(module: nn.Module, inputs: Any, output: Any) -> Any:
            logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
            if not isinstance(logits, Tensor):
                raise InputError(
                    f"the model returns a {type(output).__name__}; expected a tensor or an object with .logits"
                )
            seen.append(logits)
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
        if len(seen) != 1:
            raise InputError(f"loss_fn calls model(...) {len(seen)} times; the behavioral loss needs exactly one call")
        return seen[0], loss

    def _divergence(self, output: Tensor, target: Tensor) -> Tensor:
        if self._class_dim is None:
            each = (output - target).double().square().flatten(1).sum(1)
            return self._scale * each
        log_p = torch.log_softmax(target.double(), self._class_dim)
        log_q = torch.log_softmax(output.double(), self._class_dim)
        each = (log_p.exp() * (log_p - log_q)).sum(self._class_dim)
        return self._scale * each.flatten(1).mean(1) if each.dim() > 1 else self._scale * each

    def _loss_to_targets(self, model: nn.Module, batch: Tree) -> Tensor:
        inputs, target = batch
        return self._divergence(self._run(model, inputs)[0], target)

    def point(self, state: Mapping[str, Tensor] | None = None) -> Point:
        """The checkpoint with its own outputs as targets; see `Task.point`."""
        return self.from_outputs(super().point(state))

    def from_outputs(self, point: Point) -> Point:
        """A checkpoint of the user's task with the outputs of its own as targets."""
        weights, fixed, samples = point
        named = {f"model.{name}": value for name, value in self.named(weights, fixed).items()}
        outputs = _Loss(self.model, lambda model, batch: self._run(model, batch)[0])
        with torch.no_grad():
            return Point(weights, fixed, samples.paired(lambda batch: functional_call(outputs, named, (batch,)), CHUNK))
