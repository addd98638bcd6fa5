"""Snapshots of a training run: one checkpoint per file, published whole or not at all, verified when read."""

from llckit.store.checkpoint_store import CheckpointStore
from llckit.store.import_checkpoints import checkpoints_by_step, import_checkpoints
from llckit.store.recorder import Recorder
from llckit.store.schedules import linear_schedule, log_schedule, mixed_schedule

__all__ = [
    "CheckpointStore",
    "Recorder",
    "checkpoints_by_step",
    "import_checkpoints",
    "linear_schedule",
    "log_schedule",
    "mixed_schedule",
]
