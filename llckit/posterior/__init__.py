"""What is sampled: the user's model, data and loss as a `Task`, and its tempered, localised posterior."""

from llckit.posterior.behavioral import behavioral_task
from llckit.posterior.curvature import Spectrum, curvature
from llckit.posterior.data import Samples
from llckit.posterior.descent import depth_below
from llckit.posterior.guide import Guide
from llckit.posterior.loading import load_reference, load_task
from llckit.posterior.local import Energy, LocalPosterior
from llckit.posterior.observables import Observable, observing
from llckit.posterior.restriction import Selection
from llckit.posterior.rows import saved_bytes, steady_threads
from llckit.posterior.task import Point, Reference, Task

__all__ = [
    "Energy",
    "Guide",
    "LocalPosterior",
    "Observable",
    "Point",
    "Reference",
    "Samples",
    "Selection",
    "Spectrum",
    "Task",
    "behavioral_task",
    "curvature",
    "depth_below",
    "load_reference",
    "load_task",
    "observing",
    "saved_bytes",
    "steady_threads",
]
