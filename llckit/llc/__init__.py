"""From draws to a number: the estimate, its outcome, its dependence on scale, and the curve over a store."""

from llckit.llc.cache import VERSION, kept_curves
from llckit.llc.curve import LLCCurve
from llckit.llc.estimate_curve import CURVE_REL_TOL, estimate_curve
from llckit.llc.estimate_llc import estimate_llc
from llckit.llc.how_found import HowFound
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import LIMITS, Limits, Outcome
from llckit.llc.scale import Scale, choose_scale
from llckit.llc.scale_profile import ScaleProfile, scale_profile
from llckit.llc.scale_reason import ScaleReason
from llckit.llc.spectrogram import Spectrogram, read_curve
from llckit.llc.statistics import Z95
from llckit.llc.workers import WorkerPool, dask_executor

__all__ = [
    "CURVE_REL_TOL",
    "LIMITS",
    "VERSION",
    "Z95",
    "HowFound",
    "LLCCurve",
    "LLCEstimate",
    "Limits",
    "Outcome",
    "Scale",
    "ScaleProfile",
    "ScaleReason",
    "Spectrogram",
    "WorkerPool",
    "choose_scale",
    "dask_executor",
    "estimate_curve",
    "estimate_llc",
    "kept_curves",
    "read_curve",
    "scale_profile",
]
