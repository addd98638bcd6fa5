"""`Recorder`: saves the scheduled steps of a training run."""

import os
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.store.background import Writer
from llckit.store.modules import plain_state, refuse_sharded
from llckit.store.store import CheckpointStore

__all__ = ["Recorder"]


class Recorder:
    """Call it at every training step: it saves the scheduled ones.

    In a distributed run every process may call it, and rank 0 alone saves. Of wrapped modules
    (DistributedDataParallel, DataParallel, torch.compile) it saves the module within, under its own names.

    With `background=True` a call only copies the weights, to the CPU, and one thread writes them in the order
    of the calls; when two checkpoints are still to be written, a call waits for the first. What went wrong is
    raised by the next call or `flush`, once. Use it in a `with` statement, which ends with a flush; without
    one, the interpreter still writes what is queued before it exits, and prints what went wrong.

    Args:
        store: Where to save.
        schedule: The steps to save, for instance `log_schedule(10_000, 100)`; None saves at every call.
        background: Let training go on while a checkpoint is written.

    Raises:
        InputError: The schedule is empty or holds something other than steps.
    """

    def __init__(self, store: CheckpointStore, schedule: Iterable[int] | None = None, *, background: bool = False):
        if not isinstance(store, CheckpointStore):
            raise InputError(f"store is a {type(store).__name__}, but it must be a CheckpointStore")
        self.store = store
        self.schedule = None if schedule is None else _as_steps(schedule)
        self.background = background
        self._writer: Writer | None = None

    def __call__(self, step: int, model: nn.Module | Mapping[str, Tensor], /, **metadata: object) -> bool:
        """Save the model if this step is scheduled; errors are those of `CheckpointStore.save`.

        Args:
            step: Training step.
            model: A module or a state dict. A sharded one (FSDP, tensor parallel, ZeRO-3) is an InputError.
            **metadata: Scalars to keep beside the weights, such as `loss=0.31`.

        Returns:
            Whether it was saved, or queued to be saved.
        """
        step = check_integer("step", step, 0)
        scheduled = self.schedule is None or step in self.schedule
        saved = scheduled and self._save(step, model, metadata)
        self._raise_failures()  # last, so that a caller who goes on has lost no other step
        return saved

    def flush(self) -> None:
        """Wait until everything queued is on the disk; what could not be saved is an InputError."""
        self._settle()
        self._raise_failures()

    def lightning(self) -> Any:
        """A `lightning.pytorch.Callback` that records a run of a `Trainer`.

        Returns:
            The callback: see `llckit.store.trainers.lightning_callback`.
        """
        from llckit.store.trainers import lightning_callback

        return lightning_callback(self)

    def transformers(self) -> Any:
        """A `transformers.TrainerCallback` that records a run of a `Trainer`.

        Returns:
            The callback: see `llckit.store.trainers.transformers_callback`.
        """
        from llckit.store.trainers import transformers_callback

        return transformers_callback(self)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        # An exception on its way is not replaced by a failed write, which is then printed at exit.
        if exception_type is None:
            self.flush()
        else:
            self._settle()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_writer": None}

    def _save(self, step: int, model: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, object]) -> bool:
        refuse_sharded(model)
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return False
        state = plain_state(model) if isinstance(model, nn.Module) else model
        if not self.background:
            self.store.put(step, state, metadata)
            return True
        writer = self._current_writer()
        if writer is None:
            writer = self._writer = Writer(self.store)
            weakref.finalize(self, writer.finish)
        writer.put(self, step, state, metadata)
        return True

    def _current_writer(self) -> "Writer | None":
        """None also after a fork: the child has none of the threads, and the queue is its parent's to write."""
        return self._writer if self._writer is not None and self._writer.process == os.getpid() else None

    def _settle(self) -> None:
        if writer := self._current_writer():
            writer.drain()

    def _raise_failures(self) -> None:
        if (writer := self._current_writer()) and (failures := writer.take_failures()):
            raise InputError("; ".join(failures))


def _as_steps(schedule: Iterable[int]) -> frozenset[int]:
    if isinstance(schedule, str | bytes) or not isinstance(schedule, Iterable):
        raise InputError(f"schedule is a {type(schedule).__name__}, but it must be a collection of steps, or None")
    steps = frozenset(check_integer("a step of the schedule", step, 0) for step in schedule)
    if not steps:
        raise InputError("the schedule is empty, so nothing would ever be saved: give steps, or None for every call")
    return steps
