"""A curve: loss above, LLC below, stages shaded and named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from llckit.errors import InputError
from llckit.llc import Z95, LLCCurve
from llckit.plotting.is_doubtful import depends_on_scale, is_doubtful
from llckit.plotting.stage_marks import name_stages, shade_stages, stage_handles, strip_height
from llckit.plotting.step_axis import LinearStepAxis, LogStepAxis
from llckit.plotting.style import TEXT, in_house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llckit.transitions import Transition

__all__ = ["plot_curve"]

STEP_AXES = {"log": LogStepAxis(), "linear": LinearStepAxis()}
MOST_CHAINS_DRAWN = 8


@in_house_style
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
    estimates whose outcome says not to rely on them. If such an estimate has no value, its cross is at the bottom.
    Open dots are estimates that depend on their scale.

    Args:
        curve: One point per checkpoint; NaN leaves a gap.
        transitions: Stages to shade.
        title: Text above the plot.
        axis: Whether the axis is linear in ln(step + 1) or in the step.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: The axis is unknown, or matplotlib is not installed.
    """
    if axis not in STEP_AXES:
        raise InputError(f"axis is {axis!r}; expected 'log' or 'linear'")
    step_axis = STEP_AXES[axis]
    figure = new_figure()
    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    heights = [strip_height(curve, transitions, step_axis), 2.0, 2.6] if transitions else [2.0, 2.6]
    *strip, loss_axes, llc_axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_loss(loss_axes, curve)
    _draw_llc(llc_axes, curve)
    step_axis.apply_to(llc_axes, curve)
    for axes in strip:
        name_stages(axes, curve, transitions, step_axis)
    for axes in (loss_axes, llc_axes):
        shade_stages(axes, transitions)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="x", which="both", labelbottom=axes is llc_axes)
        axes.tick_params(labelsize=TEXT)
    handles = [*stage_handles(transitions), *llc_axes.get_legend_handles_labels()[0]]
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
    axes.plot(curve.step, curve.llc, color="black", linewidth=1.2)
    _mark_estimates(axes, curve)
    _limit_by_values(axes, curve)
    axes.set_ylabel("behavioral LLC" if curve.behavioral else "LLC", fontsize=TEXT)


def _mark_estimates(axes: Axes, curve: LLCCurve) -> None:
    """Dots for estimates to rely on, open ones where they depend on their scale, crosses for doubtful ones."""
    doubtful, valued = is_doubtful(curve), np.isfinite(curve.llc)
    size = _marker_size(curve)
    dependent = depends_on_scale(curve) & valued
    good = ~doubtful & ~dependent
    if good.any():
        axes.plot(curve.step[good], curve.llc[good], "o", color="black", markersize=size, label="LLC of a checkpoint")
    if dependent.any():
        ring = {"color": "black", "markersize": size, "markerfacecolor": "white", "label": "depends on its scale"}
        axes.plot(curve.step[dependent], curve.llc[dependent], "o", **ring)
    if doubtful.any():
        cross = {"marker": "x", "color": "#B00020", "linestyle": "none", "markersize": 6, "markeredgewidth": 1.4}
        axes.plot(curve.step[doubtful & valued], curve.llc[doubtful & valued], label="do not rely on this one", **cross)
        bottom = np.full((~valued).sum(), 0.03)
        axes.plot(curve.step[~valued], bottom, transform=axes.get_xaxis_transform(), **cross)


def _limit_by_values(axes: Axes, curve: LLCCurve) -> None:
    """Keep one wild error bar or chain from flattening the curve: at most, they triple its range."""
    values = curve.llc[np.isfinite(curve.llc)]
    if not len(values):
        return
    spread = float(np.ptp(values)) or max(1.0, abs(float(values[0])))
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, float(values.min()) - spread), min(high, float(values.max()) + spread))


def _marker_size(curve: LLCCurve) -> float:
    return float(np.clip(160 / len(curve), 2.0, 4.0))
