"""`Recorder`: saves the scheduled steps of a training run."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from llckit.checks import check_step
from llckit.store.checkpoint_store import CheckpointStore
from llckit.store.step_saver import StepSaver

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from transformers import TrainerCallback

__all__ = ["Recorder"]


class Recorder:
    """Call it at every training step: it saves the scheduled ones.

    In a distributed run every process may call it; only rank 0 saves. If a module is wrapped (DistributedDataParallel,
    DataParallel, torch.compile), the module within is saved, under its own names.

    With `background=True` a call only copies the weights to the CPU, and a thread writes them in the order of the
    calls. If two checkpoints are still to be written, a call waits for the first. A failed write is raised once, by a
    later call or `flush`, or already by the same call if it fails quickly. Use the recorder in a `with` statement,
    which ends with a flush. Without one, the interpreter writes what is queued before it exits, and prints what went
    wrong.

    Args:
        store: Where to save.
        schedule: Steps to save, for instance `log_schedule(10_000, 100)`; None saves at every call.
        background: Let training go on while a checkpoint is written.

    Raises:
        InputError: The store is not a store, or the schedule is empty or holds something other than steps.
    """

    def __init__(self, store: CheckpointStore, schedule: Iterable[int] | None = None, *, background: bool = False):
        self._saver = StepSaver(store, schedule, background)

    @property
    def store(self) -> CheckpointStore:
        """Where to save."""
        return self._saver.store

    @property
    def schedule(self) -> frozenset[int] | None:
        """Steps to save; None saves at every call."""
        return self._saver.schedule

    def __call__(self, step: int, model: nn.Module | Mapping[str, Tensor], /, **metadata: object) -> bool:
        """Save the model if this step is scheduled; errors are those of `CheckpointStore.save`.

        Args:
            step: Training step.
            model: A module or a state dict. A sharded one (FSDP, tensor parallel, ZeRO-3) is an InputError.
            **metadata: Scalars to keep beside the weights, such as `loss=0.31`.

        Returns:
            Whether the step was saved, or queued to be saved.
        """
        step = check_step(step)
        saved = self._saver.is_scheduled([step]) and self._saver.save(step, model, metadata)
        self._saver.raise_failures()  # last, so that a caller who goes on has lost no other step
        return saved

    def flush(self) -> None:
        """Wait until everything queued is on the disk; an InputError says what could not be saved."""
        self._saver.flush()

    def lightning(self) -> "Callback":
        """A callback that records a run of Lightning: `Trainer(callbacks=[recorder.lightning()])`.

        Returns:
            The callback; see `llckit.store.lightning_callback`.
        """
        from llckit.store.lightning_callback import lightning_callback

        return lightning_callback(self._saver)

    def transformers(self) -> "TrainerCallback":
        """A callback that records a run of transformers: `Trainer(..., callbacks=[recorder.transformers()])`.

        Returns:
            The callback; see `llckit.store.transformers_callback`.
        """
        from llckit.store.transformers_callback import transformers_callback

        return transformers_callback(self._saver)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        # An exception on its way is not replaced by that of a failed write, which is then printed at exit.
        if exception_type is None:
            self.flush()
        else:
            self._saver.settle()
