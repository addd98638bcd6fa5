"""A curve: loss above, LLC below, stages shaded and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from llckit.errors import InputError
from llckit.llc import Z95, LLCCurve
from llckit.plotting.style import (
    COLORS,
    HATCHES,
    MEANINGS,
    TEXT,
    is_doubtful,
    limits,
    log_step,
    new_figure,
    set_step_axis,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llckit.transitions import Transition

MOST_CHAINS_DRAWN = 8
AXES_WIDTH, LABEL_WIDTH = 5.0, 0.6  # inches: of a panel, and of the word "hidden" above it


def plot_curve(
    curve: LLCCurve,
    transitions: Sequence[Transition] = (),
    *,
    title: str | None = None,
    axis: Literal["log", "linear"] = "log",
) -> Figure:
    """Draw the loss and the LLC against the training step.

    The band about the LLC is λ̂ ± 1.96 mcse, its 95 % interval. Up to 8 chains are drawn as thin lines. Stages are
    shaded by kind and named in a strip on top; grey bands are the 90 % intervals of their boundaries. Crosses are
    estimates whose outcome says not to rely on them; where such an estimate has no value, its cross is at the bottom.

    Args:
        curve: One point a checkpoint; NaN leaves a gap.
        transitions: The stages to shade.
        title: Above the plot.
        axis: Linear in ln(step + 1), or in the step.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: No such axis, or matplotlib is not installed.
    """
    if axis not in ("log", "linear"):
        raise InputError(f"axis is {axis!r}; expected 'log' or 'linear'")
    figure = new_figure()
    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    forward = log_step if axis == "log" else np.asarray
    strip_height = 0.9 if any(_is_narrow(curve, stage, forward) for stage in transitions) else 0.4
    heights = [strip_height, 2.0, 2.6] if transitions else [2.0, 2.6]
    *strip, loss_axes, llc_axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_loss(loss_axes, curve)
    _draw_llc(llc_axes, curve)
    if axis == "log":
        set_step_axis(llc_axes, curve)
    else:
        margin = 0.02 * (curve.step[-1] - curve.step[0]) or 0.5
        llc_axes.set_xlim(curve.step[0] - margin, curve.step[-1] + margin)
        llc_axes.set_xlabel("training step", fontsize=TEXT)
    for axes in strip:
        _name_stages(axes, curve, transitions, forward)
    for axes in (loss_axes, llc_axes):
        _shade_stages(axes, transitions)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", which="both", labelbottom=axes is llc_axes)
        axes.tick_params(labelsize=TEXT)
    handles = [*_stage_handles(transitions), *llc_axes.get_legend_handles_labels()[0]]
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT - 1)
    return figure


def _draw_loss(axes: Axes, curve: LLCCurve) -> None:
    axes.plot(curve.step, curve.loss, color="black", linewidth=1.2, marker="o", markersize=_marker_size(curve))
    axes.set_ylabel("loss", fontsize=TEXT)


def _draw_llc(axes: Axes, curve: LLCCurve) -> None:
    chains = curve.llc_per_chain
    if chains is not None and chains.shape[1] <= MOST_CHAINS_DRAWN:
        for index in range(chains.shape[1]):
            label = "single chains" if index == 0 else None
            axes.plot(curve.step, chains[:, index], color="#555555", linewidth=0.5, alpha=0.6, label=label)
    if curve.mcse is not None:
        half = Z95 * curve.mcse
        axes.fill_between(
            curve.step,
            curve.llc - half,
            curve.llc + half,
            color="black",
            alpha=0.22,
            linewidth=0,
            label="95 % interval of the LLC",
        )
    doubtful, valued = is_doubtful(curve), np.isfinite(curve.llc)
    axes.plot(curve.step, curve.llc, color="black", linewidth=1.2)
    size = _marker_size(curve)
    good = ~doubtful
    if good.any():
        axes.plot(curve.step[good], curve.llc[good], "o", color="black", markersize=size, label="LLC of a checkpoint")
    if doubtful.any():
        cross = {"marker": "x", "color": "#B00020", "linestyle": "none", "markersize": 6, "markeredgewidth": 1.4}
        axes.plot(curve.step[doubtful & valued], curve.llc[doubtful & valued], label="do not rely on this one", **cross)
        bottom = np.full((~valued).sum(), 0.03)
        axes.plot(curve.step[~valued], bottom, transform=axes.get_xaxis_transform(), **cross)
    _limit_by_values(axes, curve)
    axes.set_ylabel("behavioral LLC" if curve.behavioral else "LLC", fontsize=TEXT)


def _limit_by_values(axes: Axes, curve: LLCCurve) -> None:
    """Keep one wild error bar or chain from flattening the curve: they may triple its range, no more."""
    values = curve.llc[np.isfinite(curve.llc)]
    if not len(values):
        return
    spread = float(np.ptp(values)) or max(1.0, abs(float(values[0])))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, float(values.min()) - spread), min(high, float(values.max()) + spread))


def _marker_size(curve: LLCCurve) -> float:
    return float(np.clip(160 / len(curve), 2.0, 4.0))


def _shade_stages(axes: Axes, transitions: Sequence[Transition]) -> None:
    for stage in transitions:
        axes.axvspan(stage.start, stage.end, color=COLORS[stage.kind], alpha=0.13, linewidth=0, zorder=0)
        for step in (stage.start, stage.end):
            axes.axvline(step, color="#444444", linewidth=0.7, linestyle=(0, (4, 3)), zorder=0.5)
    for low, high in sorted({tuple(i) for stage in transitions for i in (stage.start_interval, stage.end_interval)}):
        if low < high:
            axes.axvspan(low, high, color="#444444", alpha=0.16, linewidth=0, zorder=0.4)


def _stage_handles(transitions: Sequence[Transition]) -> list:
    from matplotlib.patches import Patch

    kinds = [kind for kind in MEANINGS if any(stage.kind == kind for stage in transitions)]
    handles = [Patch(label=MEANINGS[kind], **_strip_style(kind)) for kind in kinds]
    if any(low < high for stage in transitions for low, high in (stage.start_interval, stage.end_interval)):
        handles.append(Patch(label="90 % interval of a boundary", facecolor="#444444", alpha=0.25))
    return handles


def _strip_style(kind: str) -> dict:
    from matplotlib.colors import to_rgb

    tint = tuple(1 - 0.3 * (1 - channel) for channel in to_rgb(COLORS[kind]))
    line = tuple(1 - 0.75 * (1 - channel) for channel in to_rgb(COLORS[kind]))
    return {"facecolor": tint, "edgecolor": line, "hatch": HATCHES[kind], "linewidth": 0.8}


def _label(stage: Transition) -> str:
    letter = "?" if stage.kind == "unclassified" else stage.kind
    return f"{letter} · hidden" if stage.hidden else letter


def _is_narrow(curve: LLCCurve, stage: Transition, forward: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Whether the word "hidden" is wider than the stage."""
    low, high = forward(np.array(limits(curve)))
    start, end = np.clip(forward(np.array([stage.start, stage.end])), low, high)
    return stage.hidden and (end - start) / (high - low) * AXES_WIDTH < LABEL_WIDTH


def _name_stages(
    strip: Axes, curve: LLCCurve, transitions: Sequence[Transition], forward: Callable[[np.ndarray], np.ndarray]
) -> None:
    for stage in transitions:
        start, end = np.clip([stage.start, stage.end], *limits(curve))
        if start == end:
            continue  # the stage lies outside the curve
        strip.axvspan(start, end, **_strip_style(stage.kind))
        narrow = _is_narrow(curve, stage, forward)
        middle = np.expm1(log_step(np.array([start, end])).mean()) if forward is log_step else (start + end) / 2
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        strip.text(
            middle, 0.5, _label(stage) if narrow else _label(stage).replace(" · ", "\n"), linespacing=1.0,
            ha="center", va="center", fontsize=8 if narrow else 9, weight="bold", rotation=90 if narrow else 0,
            bbox=box, transform=strip.get_xaxis_transform(),
        )  # fmt: skip
    strip.set_ylim(0, 1)
    strip.set_axis_off()
