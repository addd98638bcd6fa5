"""From draws to a number: the estimate, its outcome, and the curve over a store."""

from llckit.llc.curve import LLCCurve
from llckit.llc.estimate import LLCEstimate, Outcome, estimate_llc
from llckit.llc.run import estimate_curve, kept_curves

__all__ = ["LLCCurve", "LLCEstimate", "Outcome", "estimate_curve", "estimate_llc", "kept_curves"]
