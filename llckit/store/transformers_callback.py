"""A callback that lets a recorder follow the runs of the transformers `Trainer`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llckit.store.plain_state import refuse_sharded
from llckit.store.run_follower import RunFollower, import_class
from llckit.store.step_saver import StepSaver

if TYPE_CHECKING:
    from transformers import TrainerCallback

__all__ = ["transformers_callback"]


def transformers_callback(saver: StepSaver) -> "TrainerCallback":
    """A callback for `transformers.Trainer`.

    It saves the state dict of the module at the scheduled values of `state.global_step`, which counts optimizer steps:
    when training starts (step 0, or where it was resumed), and after each step.

    Metadata are `learning_rate`, `epoch`, and, if the trainer logs at this step, what it logs. Its `loss` is a mean
    over the steps since the last log: set `logging_steps=1` to have the loss of every step. Before the trainer writes a
    checkpoint of its own, and when training ends, everything is on the disk.

    Args:
        saver: Saves the steps. Steps already in its store are kept; see `RunFollower`.

    Returns:
        The callback. Its hooks raise an InputError if the model is sharded (before training), and if a run from scratch
        meets the record of another run.

    Raises:
        InputError: Transformers is not installed.
    """
    base = import_class("TrainerCallback", ["transformers"], extra="transformers")

    class TransformersRecorder(base):
        def __init__(self) -> None:
            self.follower = RunFollower(saver)
            self.learning_rate: float | None = None

        def __reduce__(self) -> tuple[Callable[[StepSaver], "TrainerCallback"], tuple[StepSaver]]:
            return transformers_callback, (saver,)

        def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            refuse_sharded(model)
            if state.is_world_process_zero:
                self.follower.start(state.global_step, model)

        def on_step_begin(self, args: Any, state: Any, control: Any, optimizer: Any = None, **given: Any) -> None:
            self.on_log(args, state, control, **given)
            self.learning_rate = optimizer.param_groups[0]["lr"]

        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            # If the trainer logs, it does so next, and `on_log` then knows the loss. If it does not after all, the next
            # hook saves the step.
            if not control.should_log:
                self.on_log(args, state, control, **given)
            if control.should_save:
                saver.flush()

        def on_log(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            self.follower.follow(state.global_step, model, lambda: _metadata(state, self.learning_rate))

        def on_evaluate(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            self.on_log(args, state, control, **given)
            saver.flush()

        on_epoch_end = on_save = on_train_end = on_evaluate

    return TransformersRecorder()


def _metadata(state: Any, learning_rate: float | None) -> dict[str, object]:
    log = dict(state.log_history[-1]) if state.log_history else {}
    fresh = log if log.pop("step", None) == state.global_step else {}
    return {"learning_rate": learning_rate, "epoch": state.epoch, **fresh}
