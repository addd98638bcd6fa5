"""Saving the steps of a running training, at once or in the background: what recorders and callbacks share."""

import weakref
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from llckit.checks import check_instance, check_integer, shown
from llckit.errors import InputError
from llckit.store.background_writer import BackgroundWriter
from llckit.store.checkpoint_store import CheckpointStore
from llckit.store.plain_state import plain_state, refuse_sharded

__all__ = ["StepSaver"]


class StepSaver:
    """Saves steps of a run into a store; only rank 0 of a distributed run saves.

    A copy of it starts with an empty queue.

    Args:
        store: Where to save.
        schedule: Steps to save; None saves every step.
        background: Let training go on while a checkpoint is written.

    Raises:
        InputError: The store is not a store, or the schedule is empty or holds something other than steps.
    """

    def __init__(self, store: CheckpointStore, schedule: Iterable[int] | None, background: bool):
        self.store = check_instance("store", store, CheckpointStore)
        self.schedule = None if schedule is None else _as_steps(schedule)
        self.background = background
        self._writer: BackgroundWriter | None = None

    def is_scheduled(self, steps: Iterable[int]) -> bool:
        """Whether any of some steps is to be saved."""
        return self.schedule is None or not self.schedule.isdisjoint(steps)

    def save(self, step: int, model: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, object]) -> bool:
        """Save a step, scheduled or not.

        Args:
            step: Training step.
            model: A module or a state dict. A sharded one (FSDP, tensor parallel, ZeRO-3) is an InputError.
            metadata: Scalars to keep beside the weights.

        Returns:
            Whether the step was saved, or queued to be saved; False on all ranks except 0.
        """
        refuse_sharded(model)
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return False
        state = plain_state(model) if isinstance(model, nn.Module) else model
        if not self.background:
            self.store.put(step, state, metadata)
            return True
        writer = self._current_writer()
        if writer is None:
            writer = self._writer = BackgroundWriter(self.store)
            weakref.finalize(self, writer.finish)
        writer.put(self, step, state, metadata)
        return True

    def settle(self) -> None:
        """Wait until everything queued is on the disk; failures stay to be raised."""
        if writer := self._current_writer():
            writer.drain()

    def raise_failures(self) -> None:
        """Raise, once, what could not be saved in the background.

        Raises:
            InputError: A checkpoint could not be saved.
        """
        if (writer := self._current_writer()) and (failures := writer.take_failures()):
            raise InputError("; ".join(failures))

    def flush(self) -> None:
        """Wait until everything queued is on the disk; an InputError says what could not be saved."""
        self.settle()
        self.raise_failures()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_writer": None}

    def _current_writer(self) -> BackgroundWriter | None:
        return self._writer if self._writer is not None and self._writer.is_of_this_process else None


def _as_steps(schedule: Iterable[int]) -> frozenset[int]:
    if isinstance(schedule, str | bytes) or not isinstance(schedule, Iterable):
        raise InputError(f"schedule is {shown(schedule)}; expected a collection of steps, or None")
    steps = frozenset(check_integer("a step of the schedule", step, 0) for step in schedule)
    if not steps:
        raise InputError("schedule is empty; expected steps, or None to save at every call")
    return steps
