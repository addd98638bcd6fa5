"""Pictures of a curve (loss above, LLC below, stages shaded) and of a spectrogram. Needs matplotlib, the extra `plot`.

Figures are made with matplotlib's object-oriented interface, so nothing here touches pyplot or a window.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from llckit.errors import InputError
from llckit.llc import LLCCurve, Spectrogram
from llckit.llc.outcome import Z95

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llckit.criticality import HyperscalingTest
    from llckit.transitions import LinkedTransition, Transition

__all__ = ["check_new_file", "plot_collapse", "plot_curve", "plot_spectrogram", "save_figure"]

FIGURE_ENDINGS = (".png", ".svg", ".pdf")
WIDTH, HEIGHT = 5.8, 5.8  # inches; narrow, so that its text stays readable when scaled to a phone
TEXT = 11  # points
DOTS_PER_INCH = 200  # of a PNG
MOST_CHAINS_DRAWN = 8
AXES_WIDTH, LABEL_WIDTH = 5.0, 0.6  # inches: of a panel, and of the word "hidden" above it

# Blue and vermilion of Okabe and Ito differ in every form of colour blindness; the hatches survive without colour.
COLORS = {"A": "#0072B2", "B": "#D55E00", "unclassified": "#777777"}
HATCHES = {"A": "///", "B": "...", "unclassified": ""}
SIZE_MARKERS = "os^Dv<>p"
OBSERVABLE_RATIOS = {  # exponent of the size by observable, and its sign
    "order_parameter": ("beta_over_nu_star", -1),
    "susceptibility": ("gamma_over_nu_star", 1),
    "specific_heat": ("alpha_over_nu_star", 1),
    "binder": (None, 1),
}
MARKERS = {"A": "^", "B": "v", "unclassified": "o"}
MEANINGS = {"A": "type A: LLC rises", "B": "type B: LLC falls", "unclassified": "?: unclassified"}


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
        curve: one point a checkpoint; NaN leaves a gap.
        transitions: the stages to shade.
        title: above the plot.
        axis: linear in ln(step + 1), or in the step.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: no such axis, or matplotlib is not installed.
    """
    if axis not in ("log", "linear"):
        raise InputError(f"axis is {axis!r}; expected 'log' or 'linear'")
    figure = _new_figure()
    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    forward = _log_step if axis == "log" else np.asarray
    strip_height = 0.9 if any(_is_narrow(curve, stage, forward) for stage in transitions) else 0.4
    heights = [strip_height, 2.0, 2.6] if transitions else [2.0, 2.6]
    *strip, loss_axes, llc_axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_loss(loss_axes, curve)
    _draw_llc(llc_axes, curve)
    if axis == "log":
        _set_step_axis(llc_axes, curve)
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


def plot_spectrogram(
    spectrogram: Spectrogram, transitions: Sequence[LinkedTransition] = (), *, title: str | None = None
) -> Figure:
    """Draw λ̂ over training step and scale of loss, one cell an estimate.

    Hatched cells hold no LLC: there w* is no minimum of the loss, or the estimate failed; crosses mark estimates not to
    rely on, as in `plot_curve`. The colours are logarithmic in λ̂ and keep their order for colour-blind readers and in
    grey prints. A transition is a line through where it is steepest at each scale, with the 90 % interval of that.

    Args:
        spectrogram: what `estimate_curve` gives for several nβ; at least two steps and two scales.
        transitions: what `detect_across_scales` found in it.
        title: above the plot.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: a single step or scale, or matplotlib is not installed.
    """
    if min(spectrogram.llc.shape) < 2:
        raise InputError(
            f"the spectrogram has {spectrogram.llc.shape} cells (steps, scales); a picture needs two of each"
        )
    figure = _new_figure()
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    axes = figure.subplots()
    edges = [np.expm1(_edges(np.log1p(spectrogram.step))), np.exp(_edges(np.log(spectrogram.n_beta)))]
    valid = np.isfinite(spectrogram.llc) & spectrogram.is_minimum & (spectrogram.llc > 0)
    doubtful = valid & np.stack([is_doubtful(curve) for curve in spectrogram.curves], axis=1)
    shown = np.ma.masked_where(~valid, spectrogram.llc)
    _set_step_axis(axes, spectrogram.curves[0])
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


def plot_collapse(data: Mapping[str, np.ndarray], test: HyperscalingTest, *, title: str | None = None) -> Figure:
    """Draw every observable as it was measured, and scaled with the exponents of a test.

    Left: value against control, one line a size. Right: value · N^(-ratio) against (control - c*) N^(1/ν*): one curve
    for all sizes where the exponents hold. Bars are standard errors. A specific heat is scaled by N^(-α/ν*) alone, so
    that its background keeps the sizes apart. Without exponents the right column stays empty.

    Args:
        data: arrays of equal length: size, control, and observables with their _se, NaN where there is none.
        test: what was found in them.
        title: above the plot.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: matplotlib is not installed.
    """
    figure = _new_figure()
    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    names = [name for name in OBSERVABLE_RATIOS if name in data]
    figure.set_size_inches(1.4 * WIDTH, 2.2 * len(names) + 1)
    panels = figure.subplots(len(names), 2, squeeze=False)
    sizes = np.unique(data["size"])
    for (raw, scaled), name in zip(panels, names, strict=True):
        ratio_name, sign = OBSERVABLE_RATIOS[name]
        ratio = 0.0 if ratio_name is None else getattr(test, ratio_name)
        for index, size in enumerate(sizes):
            at = (data["size"] == size) & np.isfinite(data[name])
            order = np.flatnonzero(at)[np.argsort(data["control"][at])]
            control, value = data["control"][order], data[name][order]
            error = np.nan_to_num(data[f"{name}_se"][order]) if f"{name}_se" in data else None
            look = {
                "color": str(0.75 * (1 - index / max(1, len(sizes) - 1))),
                "marker": SIZE_MARKERS[index % len(SIZE_MARKERS)],
                "markersize": 4,
                "linewidth": 0.8,
            }
            raw.errorbar(control, value, error, label=f"N = {size:g}", **look)
            if test.critical_point is not None and test.nu_star is not None and ratio is not None:
                factor = size ** (-sign * ratio)
                x = (control - test.critical_point) * size ** (1 / test.nu_star)
                scaled.errorbar(x, factor * value, None if error is None else factor * error, **look)
        raw.set_ylabel(name.replace("_", " "), fontsize=TEXT - 1)
        for axes in (raw, scaled):
            axes.spines[["top", "right"]].set_visible(False)
            axes.tick_params(labelsize=TEXT - 2)
    panels[-1][0].set_xlabel("control", fontsize=TEXT)
    panels[-1][1].set_xlabel("(control - critical point) · N^(1/ν*)", fontsize=TEXT)
    panels[0][0].set_title("as measured", fontsize=TEXT)
    panels[0][1].set_title("scaled", fontsize=TEXT)
    handles = panels[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=TEXT - 2)
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


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a new file.

    Args:
        figure: any matplotlib figure.
        path: ends in .png, .svg or .pdf.

    Raises:
        InputError: another ending, a file that exists, or a folder that does not.
    """
    path = check_new_file(path, FIGURE_ENDINGS)
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH)
    write_new_file(path, image.getvalue())


def check_new_file(path: str | os.PathLike[str], endings: Sequence[str] = FIGURE_ENDINGS) -> Path:
    """Refuse, before any work, a path that cannot be written later.

    Args:
        path: where a file is to be.
        endings: the endings it may have, such as ".png".

    Returns:
        The path.

    Raises:
        InputError: an ending that is not among `endings`, a file that exists, or a folder that does not.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(
            f"{path} ends in {path.suffix or 'nothing'}; expected a name that ends in {', '.join(endings)}"
        )
    if os.path.lexists(path):
        raise InputError(f"{path} exists already; choose another name or remove it")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    return path


def write_new_file(path: Path, content: bytes) -> None:
    """Write a file that must not exist yet.

    Args:
        path: the file.
        content: its bytes.

    Raises:
        InputError: it exists by now, or its folder does not let us write.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise InputError(f"{path} exists already; choose another name or remove it") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def is_doubtful(curve: LLCCurve) -> np.ndarray:
    """Which estimates not to rely on, shape (steps,): by their outcome, or because λ̂ is not finite."""
    failed = np.zeros(len(curve), dtype=bool)
    if curve.outcome is not None:
        failed |= [not outcome.trusted for outcome in curve.outcome]
    return failed | ~np.isfinite(curve.llc)


def _new_figure() -> Figure:
    try:
        import matplotlib  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            'plots and reports need matplotlib, which cannot be imported; pip install "llckit[plot]"'
        ) from error
    return Figure(figsize=(WIDTH, HEIGHT), layout="constrained")


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


def _log_step(step: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(step, -0.999))  # an axis may look a little left of step 0


def _limits(curve: LLCCurve) -> tuple[float, float]:
    first, last = math.log1p(curve.step[0]), math.log1p(curve.step[-1])
    margin = 0.02 * (last - first) or 0.5
    return math.expm1(first - margin), math.expm1(last + margin)


def _set_step_axis(axes: Axes, curve: LLCCurve) -> None:
    from matplotlib.ticker import FixedLocator, NullFormatter

    low, high = _limits(curve)
    axes.set_xscale("function", functions=(_log_step, np.expm1))
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
    low, high = forward(np.array(_limits(curve)))
    start, end = np.clip(forward(np.array([stage.start, stage.end])), low, high)
    return stage.hidden and (end - start) / (high - low) * AXES_WIDTH < LABEL_WIDTH


def _name_stages(
    strip: Axes, curve: LLCCurve, transitions: Sequence[Transition], forward: Callable[[np.ndarray], np.ndarray]
) -> None:
    for stage in transitions:
        start, end = np.clip([stage.start, stage.end], *_limits(curve))
        if start == end:
            continue  # the stage lies outside the curve
        strip.axvspan(start, end, **_strip_style(stage.kind))
        narrow = _is_narrow(curve, stage, forward)
        middle = np.expm1(_log_step(np.array([start, end])).mean()) if forward is _log_step else (start + end) / 2
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none"}
        strip.text(
            middle, 0.5, _label(stage) if narrow else _label(stage).replace(" · ", "\n"), linespacing=1.0,
            ha="center", va="center", fontsize=8 if narrow else 9, weight="bold", rotation=90 if narrow else 0,
            bbox=box, transform=strip.get_xaxis_transform(),
        )  # fmt: skip
    strip.set_ylim(0, 1)
    strip.set_axis_off()
