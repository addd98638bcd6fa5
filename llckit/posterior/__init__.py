"""What is sampled: the user's model, data and loss as a `Task`, and its tempered, localised posterior."""

from llckit.posterior.behavioral import behavioral_task
from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.curvature import Spectrum, largest_eigenvalue, spectrum_gradients
from llckit.posterior.depth import depth_below
from llckit.posterior.flat_loss import FlatLoss, LossFunction
from llckit.posterior.guide import Guide
from llckit.posterior.layout import Layout
from llckit.posterior.loading import load_reference, load_task
from llckit.posterior.local_posterior import Energy, LocalPosterior
from llckit.posterior.observables import Observable, observing
from llckit.posterior.reference import Reference
from llckit.posterior.restriction import Selection
from llckit.posterior.samples import Samples
from llckit.posterior.task import Task
from llckit.posterior.threads import steady_threads

__all__ = [
    "Checkpoint",
    "Energy",
    "FlatLoss",
    "Guide",
    "Layout",
    "LocalPosterior",
    "LossFunction",
    "Observable",
    "Reference",
    "Samples",
    "Selection",
    "Spectrum",
    "Task",
    "behavioral_task",
    "depth_below",
    "largest_eigenvalue",
    "load_reference",
    "load_task",
    "observing",
    "spectrum_gradients",
    "steady_threads",
]
