"""What all pictures share: colours, hatches, the axis of steps, and which estimates are marked as doubtful."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llckit.errors import InputError
from llckit.llc import LLCCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


WIDTH, HEIGHT = 5.8, 5.8  # inches; narrow, so that its text stays readable when scaled to a phone
TEXT = 11  # points
# Blue and vermilion of Okabe and Ito differ in every form of colour blindness; the hatches survive without colour.
COLORS = {"A": "#0072B2", "B": "#D55E00", "unclassified": "#777777"}
HATCHES = {"A": "///", "B": "...", "unclassified": ""}
MARKERS = {"A": "^", "B": "v", "unclassified": "o"}
MEANINGS = {"A": "type A: LLC rises", "B": "type B: LLC falls", "unclassified": "?: unclassified"}


def is_doubtful(curve: LLCCurve) -> np.ndarray:
    """Which estimates not to rely on, shape (steps,): by their outcome, or because λ̂ is not finite."""
    failed = np.zeros(len(curve), dtype=bool)
    if curve.outcome is not None:
        failed |= [not outcome.trusted for outcome in curve.outcome]
    return failed | ~np.isfinite(curve.llc)


def new_figure() -> Figure:
    """An empty figure of our size; refused, with what to install, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            'plots and reports need matplotlib, which cannot be imported; pip install "llckit[plot]"'
        ) from error
    return Figure(figsize=(WIDTH, HEIGHT), layout="constrained")


def log_step(step: np.ndarray) -> np.ndarray:
    """ln(step + 1), the scale of the axis of steps."""
    return np.log1p(np.maximum(step, -0.999))  # an axis may look a little left of step 0


def limits(curve: LLCCurve) -> tuple[float, float]:
    """First and last step of the axis, with a margin."""
    first, last = math.log1p(curve.step[0]), math.log1p(curve.step[-1])
    margin = 0.02 * (last - first) or 0.5
    return math.expm1(first - margin), math.expm1(last + margin)


def set_step_axis(axes: Axes, curve: LLCCurve) -> None:
    """Make an axis linear in ln(step + 1), with round steps as ticks."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    low, high = limits(curve)
    axes.set_xscale("function", functions=(log_step, np.expm1))
    axes.set_xlim(low, high)
    major, minor = _ticks(low, high)
    axes.xaxis.set_major_locator(FixedLocator(major))
    axes.xaxis.set_minor_locator(FixedLocator(minor))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda step, _: _tick_label(step))
    axes.set_xlabel("training step (axis linear in ln(step + 1))", fontsize=TEXT)


def _ticks(low: float, high: float) -> tuple[list[float], list[float]]:
    """Decades and their multiples; in a run within one or two decades, round steps instead."""
    from matplotlib.ticker import MaxNLocator

    powers = range(math.ceil(math.log10(high + 1)) + 1)
    major = [tick for tick in (0.0, *(10.0**power for power in powers)) if low <= tick <= high]
    minor = [k * 10.0**power for power in powers for k in range(2, 10) if low <= k * 10.0**power <= high]
    if len(major) < 3:
        within = [k * 10.0**power for power in powers for k in (1, 2, 5) if low <= k * 10.0**power <= high]
        if len(within) >= 3:
            return within, minor
        return [float(tick) for tick in MaxNLocator(5, integer=True).tick_values(low, high) if low <= tick <= high], []
    stride = math.ceil(len(major) / 8)
    return major[::-stride][::-1], minor


def _tick_label(step: float) -> str:
    power = round(math.log10(step)) if step > 0 else 0
    if power >= 6 and step == 10.0**power:
        return f"$10^{power}$"
    return f"{step:,.0f}".replace(",", "\N{NO-BREAK SPACE}")
