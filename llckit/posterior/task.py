"""`Task`: model, data and loss, checked before any work, as a function of one flat vector of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llckit.checks import check_bool, check_integer
from llckit.errors import InputError
from llckit.posterior.check_loss import PROBE, check_loss
from llckit.posterior.check_model import check_forward
from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.compiling import Compiler
from llckit.posterior.flat_loss import FlatLoss, LossFunction, LossModule
from llckit.posterior.layout import Layout
from llckit.posterior.model_copy import copy_model
from llckit.posterior.reference import Reference
from llckit.posterior.restriction import Selection
from llckit.posterior.samples import Samples
from llckit.posterior.teacher import Teacher

HALF = (torch.float16, torch.bfloat16)
WHOLE_BYTES = 2**30  # that autograd may keep of all samples at once, if the loss is defined of all at once only


class Task:
    """What is measured: a model, its data and its loss, with L(w) = mean loss over all samples.

    The model is copied, without the wrappers of training (DataParallel, torch.compile, AveragedModel and such), and put
    in evaluation mode; the caller's stays as it is. Parameters with
    `requires_grad=True` are sampled, each once however many names it has (tied weights); the others and the buffers
    stay at the checkpoint's values. Half-precision models are sampled in float32.

    Args:
        model: The architecture, at w* or at any weights if checkpoints are loaded later.
        data: See `Samples`; a Dataset that takes more than 4 GiB is read again at every pass.
        loss_fn: `loss_fn(model, batch)` giving the mean loss of the batch (a scalar) or one loss per sample
            (batch,), in the user's own unit (nats for cross-entropy). A mean that weighs samples against each other
            (over tokens of unequal sequences, by class) is that of all samples in one batch, if they fit into one.
        n: Number of samples in the statistical sense, if not the number of rows in `data`. For token losses: the
            sequences, as they are independent (the default), or the number of predicted tokens. It enters n/ln n only.
        device: Where everything is computed; by default where the model is.
        params: Names or patterns such as "layers.0.*" of the parameters to sample, or boolean masks by name; the rest
            stays at the checkpoint. None samples all that train.
        compile: Whether gradients of all chains together that come again are compiled by torch: faster where the model
            is small, after some seconds to compile, and rounded otherwise. Models that run row by row (see
            `FlatLoss.is_batched`) are left as they are.

    Attributes:
        n: Number of samples in the statistical sense.
        samples: The data.
        layout: Which parameters are sampled, and their order in the flat vector.
        flat_loss: The loss as a function of that vector.
        device: Where everything is computed.
        reference: How another process makes the same task; None if it was not loaded from a file.
        compiler: Compiles gradients that come again; None without.

    Raises:
        InputError: The model has nothing to sample, or the loss is not a finite scalar or vector, does not depend
            on the parameters, or differs between two calls; or torch cannot compile here.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        loss_fn: LossFunction,
        *,
        n: int | None = None,
        device: torch.device | str | None = None,
        params: Selection = None,
        compile: bool = False,
    ) -> None:
        _check_grad_mode()
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        if not callable(loss_fn):
            raise InputError(f"loss_fn is a {type(loss_fn).__name__}; expected loss_fn(model, batch) -> loss")
        check_bool("compile", compile)
        was_half = any(p.requires_grad and p.dtype in HALF for p in model.parameters())
        model, indices = copy_model(model, params)
        self.device, model = _placed(model, device)
        self.reference: Reference | None = None
        self.compiler: Compiler | None = None
        self._original: Task | None = None
        self._teacher: Teacher | None = None
        half_to = next(p.dtype for p in model.parameters() if p.requires_grad) if was_half else None
        self.samples = Samples(data, self.device, half_to=half_to)
        try:
            why = ", since the inverse temperature 1/ln(n) needs ln(n) > 0"
            self.n = check_integer("n", self.samples.n if n is None else n, 2, why)
            check_forward(model, lambda probe: loss_fn(probe, self.samples.first(PROBE)))
            self._compose(model, indices, loss_fn)
            self.compiler = Compiler(self.device) if compile else None
        except BaseException:  # or processes that read the data would stay
            self.samples.close()
            raise

    def _compose(self, model: nn.Module, indices: Mapping[str, Tensor], loss_fn: LossFunction) -> None:
        """Lay out the flat weights and try the loss."""
        self.layout = Layout(model, indices)
        self.flat_loss = FlatLoss(LossModule(model, loss_fn), self.layout, self.samples.first(PROBE))
        with torch.enable_grad():
            if not check_loss(self.flat_loss, self.samples):
                self._take_whole()

    def _take_whole(self) -> None:
        """Define L as the loss of all samples in one batch, if they fit into one."""
        kept = self.samples.n * self.flat_loss.saved_bytes(*self.flat_loss.own_weights(), self.samples)
        if self.samples.block is None or kept > WHOLE_BYTES:
            why = "that differ in shape" if self.samples.block is None else f"which take {kept / 2**30:.3g} GiB"
            raise InputError(
                "the loss weighs the samples of a batch against each other, as a mean over tokens or class weights do, "
                f"so it depends on how the {self.samples.n} samples are put into batches, {why}; expected one loss per "
                "sample, shape (batch,): its own sum over tokens (or class weight times loss) divided by the mean "
                "number of tokens (or mean weight) of all samples"
            )
        self.samples = self.samples.inseparable()

    @property
    def dim(self) -> int:
        """Number of sampled parameters."""
        return self.layout.dim

    @property
    def dtype(self) -> torch.dtype:
        """Type of the sampled parameters."""
        return self.layout.dtype

    @property
    def model(self) -> nn.Module:
        """The copy of the user's model, in evaluation mode."""
        return self.flat_loss.module.model

    @property
    def loss_fn(self) -> LossFunction:
        """`loss_fn(model, batch)`: as given, or the behavioral loss, whose batches are pairs."""
        return self.flat_loss.module.loss_fn

    @property
    def behavioral(self) -> bool:
        """Whether the loss is the distance from the checkpoint's own outputs; see `behavioral_task`."""
        return self._teacher is not None

    @property
    def original(self) -> Task:
        """The task itself; a behavioral task keeps the one it was made from."""
        return self if self._original is None else self._original  # no cycle: data are let go with the task

    def taught_by(self, teacher: Teacher) -> Task:
        """The behavioral task; see `behavioral_task`.

        Args:
            teacher: Made from the loss of this task.

        Returns:
            A task of the same model and data.
        """
        task = copy.copy(self)
        task._original, task._teacher, task.flat_loss = self, teacher, teacher.flat_loss
        task.reference = None if self.reference is None else self.reference._replace(behavioral=True)
        return task

    def restricted(self, params: Selection) -> Task:
        """The same task with only some parameters sampled.

        Args:
            params: See the class.

        Returns:
            A new task (of the user's loss; make it behavioral afterwards).

        Raises:
            InputError: A selection that the class refuses, or that shares nothing with the task's own.
        """
        original, task = self.original, copy.copy(self.original)
        model, indices = copy_model(original.model, params)
        for name, index in original.layout.indices.items():
            if name in indices:
                indices[name] = index[torch.isin(index, indices[name].to(index.device))]
                if not len(indices[name]):
                    raise InputError(
                        f"the mask of {name} selects no entry that the task samples; expected some of them"
                    )
            elif model.get_parameter(name).requires_grad:
                indices[name] = index
        task._compose(model, indices, original.loss_fn)
        if self.reference is not None:
            named = None if isinstance(params, Mapping) else (*task.layout.shapes,)
            task.reference = None if named is None else self.reference._replace(params=named, behavioral=False)
        return task

    def checkpoint(self, state: Mapping[str, Tensor] | None = None) -> Checkpoint:
        """Where to sample: the weights of a checkpoint, or the model's own.

        Args:
            state: A state dictionary with the model's names and shapes, or of the model in wrappers; None takes the
                model as given.

        Returns:
            The checkpoint in the coordinates that are sampled.

        Raises:
            InputError: Names, shapes or kinds of numbers differ, tied weights differ, or values are not finite.
        """
        _check_grad_mode()
        weights, fixed = self.layout.split(self.layout.own_state() if state is None else state)
        user = Checkpoint(self.original.flat_loss, weights, fixed, self.samples, self.compiler)
        return user if self._teacher is None else self._teacher.checkpoint(user)


def _check_grad_mode() -> None:
    if torch.is_inference_mode_enabled():
        raise InputError(
            "llckit is called inside torch.inference_mode(), where torch records no gradients; expected a call outside "
            "of it, or inside torch.inference_mode(False)"
        )


def _placed(model: nn.Module, device: torch.device | str | None) -> tuple[torch.device, nn.Module]:
    device = next(model.parameters()).device if device is None else device
    try:
        device = torch.device(device)
        return device, model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device} cannot be used: {error}") from error
