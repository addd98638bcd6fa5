"""The axis of training steps: linear in ln(step + 1), or in the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llckit.llc import LLCCurve
from llckit.plotting.style import TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LinearStepAxis", "LogStepAxis", "step_limits"]


class LogStepAxis:
    """Linear in ln(step + 1), with round steps as ticks."""

    def place(self, step: np.ndarray) -> np.ndarray:
        """Position of steps along the axis, in any unit."""
        return _log_step(step)

    def middle(self, start: float, end: float) -> float:
        """The step halfway along the axis between two others."""
        return np.expm1(_log_step(np.array([start, end])).mean())

    def apply_to(self, axes: Axes, curve: LLCCurve) -> None:
        """Set scale, limits, ticks and label of the horizontal axis.

        Args:
            axes: Matplotlib axes.
            curve: The curve to be drawn in them.
        """
        from matplotlib.ticker import FixedLocator, NullFormatter

        low, high = step_limits(curve)
        axes.set_xscale("function", functions=(_log_step, np.expm1))
        axes.set_xlim(low, high)
        major, minor = _ticks(low, high)
        axes.xaxis.set_major_locator(FixedLocator(major))
        axes.xaxis.set_minor_locator(FixedLocator(minor))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_formatter(lambda step, _: _tick_label(step))
        axes.set_xlabel("training step (axis linear in ln(step + 1))", fontsize=TEXT)


class LinearStepAxis:
    """Linear in the step."""

    def place(self, step: np.ndarray) -> np.ndarray:
        """Position of steps along the axis, in any unit."""
        return step

    def middle(self, start: float, end: float) -> float:
        """The step halfway along the axis between two others."""
        return (start + end) / 2

    def apply_to(self, axes: Axes, curve: LLCCurve) -> None:
        """Set limits and label of the horizontal axis.

        Args:
            axes: Matplotlib axes.
            curve: The curve to be drawn in them.
        """
        margin = 0.02 * (curve.step[-1] - curve.step[0]) or 0.5
        axes.set_xlim(curve.step[0] - margin, curve.step[-1] + margin)
        axes.set_xlabel("training step", fontsize=TEXT)


def step_limits(curve: LLCCurve) -> tuple[float, float]:
    """First and last step of the axis, with a margin.

    Args:
        curve: The curve to be drawn.

    Returns:
        Two steps.
    """
    first, last = math.log1p(curve.step[0]), math.log1p(curve.step[-1])
    margin = 0.02 * (last - first) or 0.5
    return math.expm1(first - margin), math.expm1(last + margin)


def _log_step(step: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(step, -0.999))  # an axis may start a little to the left of step 0


def _ticks(low: float, high: float) -> tuple[list[float], list[float]]:
    """Decades and their multiples; for a run within one or two decades, round steps instead."""
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
