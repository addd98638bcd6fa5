"""What is sampled: the user's model, data and loss as a `Task`, and its tempered, localised posterior."""

from llckit.posterior.behavioral import behavioral_task
from llckit.posterior.curvature import Spectrum, curvature
from llckit.posterior.data import Samples
from llckit.posterior.descent import depth_below
from llckit.posterior.guide import Guide
from llckit.posterior.loading import load_task
from llckit.posterior.local import Energy, LocalPosterior, saved_bytes
from llckit.posterior.observables import Observable, observing
from llckit.posterior.restriction import Selection
from llckit.posterior.task import Point, Task

__all__ = [
    "Energy",
    "Guide",
    "LocalPosterior",
    "Observable",
    "Point",
    "Samples",
    "Selection",
    "Spectrum",
    "Task",
    "behavioral_task",
    "curvature",
    "depth_below",
    "load_task",
    "observing",
    "saved_bytes",
]
