"""A callback that lets a recorder follow the runs of Lightning."""

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llckit.store.plain_state import refuse_sharded
from llckit.store.run_follower import RunFollower, import_class
from llckit.store.step_saver import StepSaver

if TYPE_CHECKING:
    from lightning.pytorch import Callback

__all__ = ["lightning_callback"]


def lightning_callback(saver: StepSaver) -> "Callback":
    """A callback for `lightning.pytorch.Trainer`, or for that of `pytorch_lightning`.

    It saves the state dict of the module at the scheduled values of `trainer.global_step`, which counts optimizer
    steps: when training starts (step 0, or where it was resumed), and after each step. With several optimizers each of
    them counts, and a scheduled step between two batches is saved at the end of the second batch.

    Metadata are `loss` (mean over the batches of the step), `learning_rate`, `epoch`, and what the module has logged
    for this batch. Before the trainer writes a checkpoint of its own, and when training ends, everything is on the
    disk. A run with `fast_dev_run` is not recorded.

    Args:
        saver: Saves the steps. Steps already in its store are kept; see `RunFollower`.

    Returns:
        The callback. Its hooks raise an InputError if the model is sharded (before training), and if a run from scratch
        meets the record of another run.

    Raises:
        InputError: Lightning is not installed.
    """
    names = sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules)
    base = import_class("Callback", names, extra="lightning")

    class LightningRecorder(base):
        def __init__(self) -> None:
            self.follower = RunFollower(saver)
            self.step_record = _StepRecord()

        def __reduce__(self) -> tuple[Callable[[StepSaver], "Callback"], tuple[StepSaver]]:
            return lightning_callback, (saver,)

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            refuse_sharded(trainer.strategy.model)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.is_global_zero and not trainer.fast_dev_run:
                self.follower.start(trainer.global_step, pl_module)

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            self.step_record.logged_before = _tensors(trainer.callback_metrics)

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            self.step_record.learning_rate = optimizer.param_groups[0]["lr"]

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any) -> None:
            if isinstance(loss := outputs.get("loss") if isinstance(outputs, Mapping) else None, Tensor):
                # Lightning has divided the loss by the number of accumulated batches.
                self.step_record.losses.append(loss.detach() * trainer.accumulate_grad_batches)
            if trainer.global_step != self.follower.last_step:
                self.follower.follow(trainer.global_step, pl_module, lambda: self.step_record.metadata(trainer))
                self.step_record.losses = []

        def on_save_checkpoint(self, *_: Any) -> None:
            saver.flush()

        def on_train_end(self, *_: Any) -> None:
            saver.flush()

        def on_exception(self, *_: Any) -> None:
            saver.settle()

    return LightningRecorder()


class _StepRecord:
    """What is known about the current step."""

    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.learning_rate: float | None = None
        self.logged_before: dict[str, Tensor] = {}

    def metadata(self, trainer: Any) -> dict[str, object]:
        # Values logged by an earlier validation, epoch or batch are still among the metrics, in the same memory.
        old = {name: value.data_ptr() for name, value in self.logged_before.items()}
        logged = _tensors(trainer.callback_metrics)
        return {
            **{name: value for name, value in logged.items() if value.data_ptr() != old.get(name)},
            "loss": torch.stack(self.losses).mean() if self.losses else None,
            "learning_rate": self.learning_rate,
            "epoch": trainer.current_epoch,
        }


def _tensors(metrics: Mapping[str, object]) -> dict[str, Tensor]:
    return {name: value for name, value in metrics.items() if isinstance(value, Tensor)}
