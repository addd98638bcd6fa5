"""transitions: the stages of a (step, loss, LLC) curve, their type and their uncertainty."""

from llckit.transitions.detect import MIN_CHECKPOINTS, Transition, Transitions, detect_transitions

__all__ = ["MIN_CHECKPOINTS", "Transition", "Transitions", "detect_transitions"]
