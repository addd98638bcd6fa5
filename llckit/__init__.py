"""llckit: how complex a neural network really is while it trains, and when that changes.

In reading order: a training run is recorded into a store, a task says what is measured, the posterior around each
checkpoint is sampled, the LLC is estimated along the run, and its transitions are found.
"""

from llckit import toys
from llckit.errors import EstimationError, InputError
from llckit.geometry import Bracket, bracket
from llckit.llc import LLCCurve, LLCEstimate, Outcome, estimate_curve, estimate_llc
from llckit.posterior import Task, behavioral_task, load_task
from llckit.sampling import hmc, sgld
from llckit.store import (
    CheckpointStore,
    Recorder,
    import_checkpoints,
    linear_schedule,
    log_schedule,
    mixed_schedule,
)


__version__ = "0.1.0"

__all__ = [
    "Bracket",
    "CheckpointStore",
    "EstimationError",
    "InputError",
    "LLCCurve",
    "LLCEstimate",
    "Outcome",
    "Recorder",
    "Task",
    "behavioral_task",
    "bracket",
    "estimate_curve",
    "estimate_llc",
    "hmc",
    "import_checkpoints",
    "linear_schedule",
    "load_task",
    "log_schedule",
    "mixed_schedule",
    "sgld",
    "toys",
]
