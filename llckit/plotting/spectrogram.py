"""λ̂ over training step and scale of the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from llckit.errors import InputError
from llckit.llc import Spectrogram
from llckit.plotting.style import COLORS, MARKERS, MEANINGS, TEXT, is_doubtful, new_figure, set_step_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llckit.transitions import LinkedTransition


def plot_spectrogram(
    spectrogram: Spectrogram, transitions: Sequence[LinkedTransition] = (), *, title: str | None = None
) -> Figure:
    """Draw λ̂ over training step and scale of loss, one cell an estimate.

    Hatched cells hold no LLC: there w* is no minimum of the loss, or the estimate failed; crosses mark estimates not to
    rely on, as in `plot_curve`. The colours are logarithmic in λ̂ and keep their order for colour-blind readers and in
    grey prints. A transition is a line through where it is steepest at each scale, with the 90 % interval of that.

    Args:
        spectrogram: What `estimate_curve` gives for several nβ; at least two steps and two scales.
        transitions: What `detect_across_scales` found in it.
        title: Above the plot.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: A single step or scale, or matplotlib is not installed.
    """
    if min(spectrogram.llc.shape) < 2:
        raise InputError(
            f"the spectrogram has {spectrogram.llc.shape} cells (steps, scales); a picture needs two of each"
        )
    figure = new_figure()
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    axes = figure.subplots()
    edges = [np.expm1(_edges(np.log1p(spectrogram.step))), np.exp(_edges(np.log(spectrogram.n_beta)))]
    valid = np.isfinite(spectrogram.llc) & spectrogram.is_minimum & (spectrogram.llc > 0)
    doubtful = valid & np.stack([is_doubtful(curve) for curve in spectrogram.curves], axis=1)
    shown = np.ma.masked_where(~valid, spectrogram.llc)
    set_step_axis(axes, spectrogram.curves[0])
    axes.set_xlim(edges[0][0], edges[0][-1])
    axes.set_yscale("log")
    cells = axes.pcolormesh(*edges, shown.T, cmap="viridis", norm=LogNorm() if valid.any() else None)
    empty = {"facecolor": "none", "edgecolor": "#999999", "hatch": "///", "linewidth": 0}
    for i, j in np.argwhere(~valid):
        (left, right), (low, high) = edges[0][i : i + 2], edges[1][j : j + 2]
        axes.add_patch(Rectangle((left, low), right - left, high - low, **empty))
    handles: list = (
        [Rectangle((0, 0), 1, 1, label="no LLC: no minimum here, or failed", **empty)] if not valid.all() else []
    )
    if doubtful.any():
        at = np.argwhere(doubtful)
        cross = {"marker": "x", "color": "white", "linestyle": "none", "markersize": 6, "markeredgewidth": 2.2}
        axes.plot(spectrogram.step[at[:, 0]], spectrogram.n_beta[at[:, 1]], **cross)
        cross |= {"color": "#B00020", "markeredgewidth": 1.2, "label": "do not rely on this one"}
        handles += axes.plot(spectrogram.step[at[:, 0]], spectrogram.n_beta[at[:, 1]], **cross)
    handles += _draw_across_scales(axes, transitions)
    axes.set_ylabel("nβ (the scale of loss is 1/nβ)", fontsize=TEXT)
    axes.tick_params(labelsize=TEXT)
    name = "behavioral LLC" if spectrogram.behavioral else "LLC"
    figure.colorbar(cells, ax=axes).set_label(name, fontsize=TEXT)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=TEXT - 1)
    return figure


def _draw_across_scales(axes: Axes, transitions: Sequence[LinkedTransition]) -> list:
    """Lines with a white rim, so that they show on dark and on light cells; returns one handle a kind."""
    handles: dict[str, object] = {}
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
    """Half-way between neighbours, and as far beyond the ends."""
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])
