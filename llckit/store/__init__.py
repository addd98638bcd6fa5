"""Snapshots of a training run: one checkpoint per file, published whole or not at all, verified when read."""

from llckit.store.importers import import_checkpoints
from llckit.store.recorder import Recorder
from llckit.store.schedules import linear_schedule, log_schedule, mixed_schedule
from llckit.store.store import CheckpointStore

__all__ = [
    "CheckpointStore",
    "Recorder",
    "import_checkpoints",
    "linear_schedule",
    "log_schedule",
    "mixed_schedule",
]
