"""The stages of a run as marks in a picture: shades, a strip of names, and their entries in the legend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llckit.llc import LLCCurve
from llckit.plotting.step_axis import LinearStepAxis, LogStepAxis, step_limits
from llckit.plotting.style import COLORS, HATCHES, MEANINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

    from llckit.transitions import Transition

__all__ = ["name_stages", "shade_stages", "stage_handles", "strip_height"]

AXES_WIDTH, LABEL_WIDTH = 5.0, 0.6  # inches: of a panel, and of the word "hidden" above it


def shade_stages(axes: Axes, transitions: Sequence[Transition]) -> None:
    """Shade stages by kind, and the 90 % intervals of their boundaries in grey.

    Args:
        axes: Matplotlib axes.
        transitions: Stages of a curve.
    """
    for stage in transitions:
        axes.axvspan(stage.start, stage.end, color=COLORS[stage.kind], alpha=0.13, linewidth=0, zorder=0)
        for step in (stage.start, stage.end):
            axes.axvline(step, color="#444444", linewidth=0.7, linestyle=(0, (4, 3)), zorder=0.5)
    for low, high in sorted({tuple(i) for stage in transitions for i in (stage.start_interval, stage.end_interval)}):
        if low < high:
            axes.axvspan(low, high, color="#444444", alpha=0.16, linewidth=0, zorder=0.4)


def stage_handles(transitions: Sequence[Transition]) -> list[Patch]:
    """Entries of the legend, one per kind of stage.

    Args:
        transitions: Stages of a curve.

    Returns:
        Patches with labels.
    """
    from matplotlib.patches import Patch

    kinds = [kind for kind in MEANINGS if any(stage.kind == kind for stage in transitions)]
    handles = [Patch(label=MEANINGS[kind], **_strip_style(kind)) for kind in kinds]
    if any(low < high for stage in transitions for low, high in (stage.start_interval, stage.end_interval)):
        handles.append(Patch(label="90 % interval of a boundary", facecolor="#444444", alpha=0.25))
    return handles


def strip_height(curve: LLCCurve, transitions: Sequence[Transition], axis: LogStepAxis | LinearStepAxis) -> float:
    """Height of the strip of names: larger if a name has to stand upright.

    Args:
        curve: The curve.
        transitions: Stages of the curve.
        axis: Axis of steps.

    Returns:
        Height relative to the panels of the curve.
    """
    return 0.9 if any(_is_narrow(curve, stage, axis) for stage in transitions) else 0.4


def name_stages(
    strip: Axes, curve: LLCCurve, transitions: Sequence[Transition], axis: LogStepAxis | LinearStepAxis
) -> None:
    """Draw a strip with the names of the stages.

    Args:
        strip: Matplotlib axes above the curve.
        curve: The curve.
        transitions: Stages of the curve.
        axis: Axis of steps.
    """
    for stage in transitions:
        start, end = np.clip([stage.start, stage.end], *step_limits(curve))
        if start == end:
            continue  # the stage lies outside the curve
        strip.axvspan(start, end, **_strip_style(stage.kind))
        is_narrow, label = _is_narrow(curve, stage, axis), _label(stage)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        strip.text(
            axis.middle(start, end), 0.5, label if is_narrow else label.replace(" · ", "\n"), linespacing=1.0,
            ha="center", va="center", fontsize=8 if is_narrow else 9, weight="bold", rotation=90 if is_narrow else 0,
            bbox=box, transform=strip.get_xaxis_transform(),
        )  # fmt: skip
    strip.set_ylim(0, 1)
    strip.set_axis_off()


def _strip_style(kind: str) -> dict:
    from matplotlib.colors import to_rgb

    tint = tuple(1 - 0.3 * (1 - channel) for channel in to_rgb(COLORS[kind]))
    line = tuple(1 - 0.75 * (1 - channel) for channel in to_rgb(COLORS[kind]))
    return {"facecolor": tint, "edgecolor": line, "hatch": HATCHES[kind], "linewidth": 0.8}


def _label(stage: Transition) -> str:
    letter = "?" if stage.kind == "unclassified" else stage.kind
    return f"{letter} · hidden" if stage.hidden else letter


def _is_narrow(curve: LLCCurve, stage: Transition, axis: LogStepAxis | LinearStepAxis) -> bool:
    """Whether the word "hidden" is wider than the stage."""
    low, high = axis.place(np.array(step_limits(curve)))
    start, end = np.clip(axis.place(np.array([stage.start, stage.end])), low, high)
    return stage.hidden and (end - start) / (high - low) * AXES_WIDTH < LABEL_WIDTH
