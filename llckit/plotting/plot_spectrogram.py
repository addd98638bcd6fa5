"""λ̂ over training step and scale of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llckit.errors import InputError
from llckit.llc import Spectrogram
from llckit.plotting.is_doubtful import is_doubtful
from llckit.plotting.step_axis import LogStepAxis
from llckit.plotting.style import COLORS, MARKERS, MEANINGS, TEXT, in_house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llckit.transitions import LinkedTransition

__all__ = ["plot_spectrogram"]


@in_house_style
def plot_spectrogram(
    spectrogram: Spectrogram, transitions: Sequence[LinkedTransition] = (), *, title: str | None = None
) -> Figure:
    """Draw λ̂ over training step and scale of the loss, one cell per estimate.

    Hatched cells have no LLC: w* is no minimum of the loss there, or the estimate failed. Crosses mark estimates not to
    rely on, as in `plot_curve`. Colours are logarithmic in λ̂ and keep their order for colour-blind readers and in grey
    prints. A transition is a line through its steepest points at each scale, with their 90 % intervals.

    Args:
        spectrogram: Estimates at several n_beta, from `estimate_curve`; at least two steps and two scales.
        transitions: Transitions that `detect_across_scales` found in the spectrogram.
        title: Text above the plot.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: The spectrogram has a single step or scale, or matplotlib is not installed.
    """
    if min(spectrogram.llc.shape) < 2:
        raise InputError(f"the spectrogram has {spectrogram.llc.shape} cells (steps, scales); expected two of each")
    figure = new_figure()
    from matplotlib.colors import LogNorm

    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    axes = figure.subplots()
    edges = [np.expm1(_edges(np.log1p(spectrogram.step))), np.exp(_edges(np.log(spectrogram.n_beta)))]
    valid = np.isfinite(spectrogram.llc) & spectrogram.is_minimum & (spectrogram.llc > 0)
    LogStepAxis().apply_to(axes, spectrogram.curves[0])
    axes.set_xlim(edges[0][0], edges[0][-1])
    axes.set_yscale("log")
    shown = np.ma.masked_where(~valid, spectrogram.llc)
    cells = axes.pcolormesh(*edges, shown.T, cmap="viridis", norm=LogNorm() if valid.any() else None)
    handles = [
        *_hatch_cells(axes, edges, ~valid),
        *_cross_doubtful(axes, spectrogram, valid),
        *_draw_across_scales(axes, transitions),
    ]
    axes.set_ylabel("nβ (the scale of loss is 1/nβ)", fontsize=TEXT)
    axes.tick_params(labelsize=TEXT)
    name = "behavioral LLC" if spectrogram.behavioral else "LLC"
    figure.colorbar(cells, ax=axes).set_label(name, fontsize=TEXT)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT - 1)
    return figure


def _hatch_cells(axes: Axes, edges: Sequence[np.ndarray], empty: np.ndarray) -> list[Artist]:
    """Hatch the cells without an LLC; returns their entry of the legend."""
    from matplotlib.patches import Rectangle

    hatch = {"facecolor": "none", "edgecolor": "#999999", "hatch": "///", "linewidth": 0}
    for i, j in np.argwhere(empty):
        (left, right), (low, high) = edges[0][i : i + 2], edges[1][j : j + 2]
        axes.add_patch(Rectangle((left, low), right - left, high - low, **hatch))
    return [Rectangle((0, 0), 1, 1, label="no LLC: no minimum here, or failed", **hatch)] if empty.any() else []


def _cross_doubtful(axes: Axes, spectrogram: Spectrogram, valid: np.ndarray) -> list[Artist]:
    """Mark estimates not to rely on; returns their entry of the legend."""
    doubtful = valid & np.stack([is_doubtful(curve) for curve in spectrogram.curves], axis=1)
    if not doubtful.any():
        return []
    at = np.argwhere(doubtful)
    steps, scales = spectrogram.step[at[:, 0]], spectrogram.n_beta[at[:, 1]]
    cross = {"marker": "x", "color": "white", "linestyle": "none", "markersize": 6, "markeredgewidth": 2.2}
    axes.plot(steps, scales, **cross)
    cross |= {"color": "#B00020", "markeredgewidth": 1.2, "label": "do not rely on this one"}
    return [*axes.plot(steps, scales, **cross)]


def _draw_across_scales(axes: Axes, transitions: Sequence[LinkedTransition]) -> list[Artist]:
    """Draw lines with a white rim, visible on dark and light cells; returns one entry of the legend per kind."""
    handles: dict[str, Artist] = {}
    for linked in transitions:
        places, scales = np.array([t.location for t in linked.transitions]), np.array(linked.n_beta)
        reach = np.array([t.location_interval for t in linked.transitions]).T
        size = {"marker": MARKERS[linked.kind], "markersize": 7}
        axes.plot(places, scales, color="white", markeredgewidth=3.4, linewidth=3.4, **size)
        axes.hlines(scales, *reach, color="white", linewidth=3.4)
        axes.hlines(scales, *reach, color=COLORS[linked.kind], linewidth=1.6)
        style = {"color": COLORS[linked.kind], "label": MEANINGS[linked.kind], "linewidth": 1.6} | size
        handles[linked.kind] = axes.plot(places, scales, **style)[0]
    return list(handles.values())


def _edges(centers: np.ndarray) -> np.ndarray:
    """Edges of cells: halfway between neighbours, and as far beyond the ends."""
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
