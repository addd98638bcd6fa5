"""llckit: how complex a neural network really is while it trains, and when that changes.

In reading order: a training run is recorded into a store, a task says what is measured, the posterior around each
checkpoint is sampled, the LLC is estimated along the run, and its transitions are found.
"""

from llckit import toys
from llckit.criticality import (
    FiniteSizeScaling,
    HyperscalingTest,
    finite_size_scaling,
    hyperscaling_test,
    scaling_relations,
)
from llckit.errors import EstimationError, InputError
from llckit.geometry import Bracket, bracket
from llckit.llc import (
    LLCCurve,
    LLCEstimate,
    Outcome,
    ScaleProfile,
    Spectrogram,
    estimate_curve,
    estimate_llc,
    scale_profile,
)
from llckit.posterior import Task, behavioral_task, load_task
from llckit.sampling import baoab, hmc, mala, rmsprop_sgld, sgld, sgnht
from llckit.store import (
    CheckpointStore,
    Recorder,
    import_checkpoints,
    linear_schedule,
    log_schedule,
    mixed_schedule,
)
from llckit.transitions import Transition, Transitions, crossover_samples, detect_across_scales, detect_transitions

__version__ = "0.1.0"

__all__ = [
    "Bracket",
    "CheckpointStore",
    "EstimationError",
    "FiniteSizeScaling",
    "HyperscalingTest",
    "InputError",
    "LLCCurve",
    "LLCEstimate",
    "Outcome",
    "Recorder",
    "ScaleProfile",
    "Spectrogram",
    "Task",
    "Transition",
    "Transitions",
    "baoab",
    "behavioral_task",
    "bracket",
    "crossover_samples",
    "detect_across_scales",
    "detect_transitions",
    "estimate_curve",
    "estimate_llc",
    "finite_size_scaling",
    "hmc",
    "hyperscaling_test",
    "import_checkpoints",
    "linear_schedule",
    "load_task",
    "log_schedule",
    "mala",
    "mixed_schedule",
    "rmsprop_sgld",
    "scale_profile",
    "scaling_relations",
    "sgld",
    "sgnht",
    "toys",
]
