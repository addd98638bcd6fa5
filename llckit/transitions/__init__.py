"""transitions: the stages of a (step, loss, LLC) curve, their type and their uncertainty."""

from llckit.transitions.across_scales import LinkedTransition, ScaleTransitions, detect_across_scales
from llckit.transitions.detect import FALSE_BOUNDARIES, detect_transitions
from llckit.transitions.free_energy import Crossover, crossover_samples
from llckit.transitions.observations import MIN_CHECKPOINTS
from llckit.transitions.transition import Move, Transition, Transitions

__all__ = [
    "FALSE_BOUNDARIES",
    "MIN_CHECKPOINTS",
    "Crossover",
    "LinkedTransition",
    "Move",
    "ScaleTransitions",
    "Transition",
    "Transitions",
    "crossover_samples",
    "detect_across_scales",
    "detect_transitions",
]
