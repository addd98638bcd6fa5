"""transitions: the stages of a (step, loss, LLC) curve, their type and their uncertainty."""

from llckit.transitions.detect import Transition, Transitions, detect_transitions

__all__ = ["Transition", "Transitions", "detect_transitions"]
