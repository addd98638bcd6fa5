"""The transitions of a (step, loss, LLC) curve: stages in which complexity changes, with type and uncertainty.

See docs/notes/detecting-transitions.md for the steps of the detection and the file of each.
"""

from llckit.transitions.caution import FALSE_BOUNDARIES, check_false_boundaries
from llckit.transitions.crossover import Crossover, crossover_samples
from llckit.transitions.detect_across_scales import CurveAtScales, detect_across_scales
from llckit.transitions.detect_transitions import detect_transitions
from llckit.transitions.observations import MIN_CHECKPOINTS, Curve
from llckit.transitions.scale_transitions import LinkedTransition, ScaleTransitions
from llckit.transitions.transition import Move, Transition, Transitions

__all__ = [
    "FALSE_BOUNDARIES",
    "MIN_CHECKPOINTS",
    "Crossover",
    "Curve",
    "CurveAtScales",
    "LinkedTransition",
    "Move",
    "ScaleTransitions",
    "Transition",
    "Transitions",
    "check_false_boundaries",
    "crossover_samples",
    "detect_across_scales",
    "detect_transitions",
]
