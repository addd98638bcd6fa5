"""Callbacks that let a `Recorder` follow the runs of Lightning and of the transformers `Trainer`.

A run that is killed, and resumed from a checkpoint that the trainer made earlier, passes some steps again.
What the store holds of them stays, since checkpoints are immutable, and what is missing is added; so each
scheduled step is there once. If the weights differ from the stored ones, a resumed run warns, once, while a run
from scratch, which is then another run, is an InputError. What a resumed run adds has `resumed_from` in its
metadata, so that a seam can be told from a transition.
"""

import importlib
import re
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.store.encoding import encode
from llckit.store.manifest import Manifest, Scalar, as_scalar
from llckit.store.modules import plain_state, refuse_sharded
from llckit.store.recorder import Recorder

__all__ = ["lightning_callback", "transformers_callback"]


class _Follower:
    """What both callbacks do: follow the global step of a run, and save each scheduled one once."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder
        self.first: int | None = None  # where this run began; None: nothing to record
        self.last = 0
        self.warned = False

    def _begin(self, step: int, model: nn.Module) -> None:
        self.first, self.last, self.warned = step, step - 1, False
        self._follow(step, model, dict)

    def _follow(self, step: int, model: nn.Module, metadata: Callable[[], Mapping[str, object]]) -> None:
        if self.first is None or step == self.last:
            return
        self.recorder._raise_failures()
        # Lightning counts the steps of every optimizer, so that two of them pass over every other step.
        passed, self.last = range(self.last + 1, step + 1), step
        schedule = self.recorder.schedule
        if schedule is not None and schedule.isdisjoint(passed):
            return
        if step in self.recorder.store:
            self._compare(step, model)
        else:
            seam = {"resumed_from": self.first} if self.first else {}
            self.recorder._save(step, model, {**_scalars(metadata()), **seam})

    def _compare(self, step: int, model: nn.Module) -> None:
        if self.warned:
            return
        store = self.recorder.store
        now = Manifest.from_json(encode(step, plain_state(model), {}).document)
        if now.weights_hash == store.manifest(step).weights_hash:
            return
        if not self.first:
            raise InputError(
                f"step {step} is already in {store.path} with other weights, so this run, which starts from scratch, "
                f"is not the one recorded there: give the recorder another folder, or resume from a checkpoint"
            )
        self.warned = True
        warnings.warn(
            f"step {step} is already in {store.path} with other weights: this run, resumed from step {self.first}, "
            f"does not repeat exactly what was recorded. Stored steps are kept and missing ones added, with "
            f"resumed_from={self.first} in their metadata: the record has a seam where they meet",
            stacklevel=2,
        )


def lightning_callback(recorder: Recorder) -> Any:
    """A callback for `lightning.pytorch.Trainer` or that of `pytorch_lightning`: `Trainer(callbacks=[...])`.

    It saves the module's state dict at the scheduled values of `trainer.global_step`, which counts optimizer
    steps: when training starts (step 0, or where it was resumed) and after each step. With several
    optimizers each counts, and a scheduled step between two batches is saved at the end of the second. Metadata
    are `loss` (the mean over the batches of the step), `learning_rate`, `epoch`, and what the module has logged
    for this batch. Before the trainer writes a checkpoint of its own, and when training ends, everything is on
    the disk. A run with `fast_dev_run` is not recorded.

    Args:
        recorder: What saves, and when. Steps already in its store are kept: see the top of this file.

    Returns:
        The callback. Its hooks raise an InputError where the model is sharded, before training, and where
        a run from scratch meets the record of another.

    Raises:
        InputError: Lightning is not installed.
    """
    names = sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules)
    base = _imported("Callback", *names, extra="lightning")

    class LightningRecorder(_Follower, base):
        def __init__(self, recorder: Recorder):
            super().__init__(recorder)
            self.losses: list[Tensor] = []
            self.learning_rate: float | None = None
            self.logged: dict[str, Tensor] = {}

        def __reduce__(self) -> Any:
            return lightning_callback, (self.recorder,)

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            refuse_sharded(trainer.strategy.model)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero and not trainer.fast_dev_run:
                self._begin(trainer.global_step, pl_module)

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.logged = _tensors(trainer.callback_metrics)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.learning_rate = optimizer.param_groups[0]["lr"]

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            if isinstance(loss := outputs.get("loss") if isinstance(outputs, Mapping) else None, Tensor):
                self.losses.append(loss.detach() * trainer.accumulate_grad_batches)  # Lightning has divided by it
            if trainer.global_step != self.last:
                self._follow(trainer.global_step, pl_module, lambda: self._known(trainer))
                self.losses = []

        def on_save_checkpoint(self, *_: Any) -> None:
            self.recorder.flush()

        def on_train_end(self, *_: Any) -> None:
            self.recorder.flush()

        def on_exception(self, *_: Any) -> None:
            self.recorder._settle()

        def _known(self, trainer: Any) -> dict[str, object]:
            # What an earlier validation, epoch or batch has logged is still among the metrics, in the same memory.
            old = {name: value.data_ptr() for name, value in self.logged.items()}
            logged = _tensors(trainer.callback_metrics)
            return {
                **{name: value for name, value in logged.items() if value.data_ptr() != old.get(name)},
                "loss": torch.stack(self.losses).mean() if self.losses else None,
                "learning_rate": self.learning_rate,
                "epoch": trainer.current_epoch,
            }

    return LightningRecorder(recorder)


def transformers_callback(recorder: Recorder) -> Any:
    """A callback for `transformers.Trainer(callbacks=[...])`.

    It saves the model's state dict at the scheduled values of `state.global_step`, which counts optimizer steps:
    when training starts (step 0, or where it was resumed) and after each step. Metadata are `learning_rate`,
    `epoch`, and where the trainer logs at this step what it logs, of which `loss` is a mean over the steps
    since the last log: set `logging_steps=1` to have the loss of every step. Before the trainer writes a
    checkpoint of its own, and when training ends, everything is on the disk.

    Args:
        recorder: What saves, and when. Steps already in its store are kept: see the top of this file.

    Returns:
        The callback. Its hooks raise an InputError where the model is sharded, before training, and where
        a run from scratch meets the record of another.

    Raises:
        InputError: Transformers is not installed.
    """
    base = _imported("TrainerCallback", "transformers", extra="transformers")

    class TransformersRecorder(_Follower, base):
        def __init__(self, recorder: Recorder):
            super().__init__(recorder)
            self.learning_rate: float | None = None

        def __reduce__(self) -> Any:
            return transformers_callback, (self.recorder,)

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            refuse_sharded(model)
            if state.is_world_process_zero:
                self._begin(state.global_step, model)

        def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **given: Any) -> None:
            self.on_log(args, state, control, **given)
            self.learning_rate = optimizer.param_groups[0]["lr"]

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            # If the trainer logs, it does so next and then knows the loss; if it does not after all, other hooks save.
            if not control.should_log:
                self.on_log(args, state, control, **given)
            if control.should_save:
                self.recorder.flush()

        def on_log(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self._follow(state.global_step, model, lambda: self._known(state))

        def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.on_log(args, state, control, **given)
            self.recorder.flush()

        on_epoch_end = on_save = on_train_end = on_evaluate

        def _known(self, state: Any) -> dict[str, object]:
            log = dict(state.log_history[-1]) if state.log_history else {}
            fresh = log if log.pop("step", None) == state.global_step else {}
            return {"learning_rate": self.learning_rate, "epoch": state.epoch, **fresh}

    return TransformersRecorder(recorder)


def _imported(name: str, *modules: str, extra: str) -> Any:
    for module in modules:
        with suppress(ImportError):
            return getattr(importlib.import_module(module), name)
    raise InputError(f"this callback needs the package {extra}: pip install llckit[{extra}]")


def _tensors(metrics: Mapping[str, object]) -> dict[str, Tensor]:
    return {name: value for name, value in metrics.items() if isinstance(value, Tensor)}


def _scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    """Those that a checkpoint can hold, under names that may be keywords."""
    scalars = {}
    for name, value in values.items():
        with suppress(InputError):
            if (scalar := as_scalar(name, value)) is not None:
                scalars[re.sub(r"\W|^(?=\d)", "_", name)] = scalar
    return scalars
