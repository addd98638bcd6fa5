"""From draws to a number: the estimate, its outcome, its dependence on scale, and the curve over a store."""

from llckit.llc.curve import LLCCurve
from llckit.llc.estimate import estimate_llc
from llckit.llc.outcome import LLCEstimate, Outcome
from llckit.llc.profile import ScaleProfile, scale_profile
from llckit.llc.run import estimate_curve, kept_curves
from llckit.llc.spectrogram import Spectrogram, read_curve

__all__ = [
    "LLCCurve",
    "LLCEstimate",
    "Outcome",
    "ScaleProfile",
    "Spectrogram",
    "estimate_curve",
    "estimate_llc",
    "kept_curves",
    "read_curve",
    "scale_profile",
]
