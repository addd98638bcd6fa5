"""Observables of several sizes, as measured and scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llckit.plotting.style import TEXT, WIDTH, in_house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from llckit.criticality import HyperscalingTest

__all__ = ["plot_collapse"]

SIZE_MARKERS = "os^Dv<>p"
# By observable: the exponent of the size that scales it (an attribute of the test), and the sign of that exponent.
OBSERVABLE_RATIOS = {
    "order_parameter": ("beta_over_nu_star", -1),
    "susceptibility": ("gamma_over_nu_star", 1),
    "specific_heat": ("alpha_over_nu_star", 1),
    "binder": (None, 1),
    "bimodality": (None, 1),
}


@in_house_style
def plot_collapse(data: Mapping[str, np.ndarray], test: HyperscalingTest, *, title: str | None = None) -> Figure:
    """Draw every observable as it was measured, and scaled with the exponents of a test.

    Left: value against control, one line per size. Right: value · N^(-ratio) against (control - c*) N^(1/ν*); all sizes
    lie on one curve if the exponents hold. Bars are standard errors. A specific heat is scaled by N^(-α/ν*) alone, so
    its background keeps the sizes apart. Without an exponent the right panel says so.

    Args:
        data: Arrays of equal length: size, control, and observables with their _se; NaN where nothing was measured.
        test: Result of `hyperscaling_test` on the data.
        title: Text above the plot.

    Returns:
        A matplotlib figure.

    Raises:
        InputError: Matplotlib is not installed.
    """
    figure = new_figure()
    if title is not None:
        figure.suptitle(title, parse_math=False, fontsize=TEXT + 1)
    names = [name for name in OBSERVABLE_RATIOS if name in data]
    figure.set_size_inches(1.4 * WIDTH, 2.2 * len(names) + 1)
    panels = figure.subplots(len(names), 2, squeeze=False)
    for (raw, scaled), name in zip(panels, names, strict=True):
        _draw_observable(raw, scaled, data, test, name)
    panels[-1][0].set_xlabel("control", fontsize=TEXT)
    panels[-1][1].set_xlabel("(control - critical point) · N^(1/ν*)", fontsize=TEXT)
    panels[0][0].set_title("as measured", fontsize=TEXT)
    panels[0][1].set_title("scaled", fontsize=TEXT)
    handles = panels[0][0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=TEXT - 2)
    return figure


def _draw_observable(
    raw: Axes, scaled: Axes, data: Mapping[str, np.ndarray], test: HyperscalingTest, name: str
) -> None:
    """Draw one observable in both panels, one line per size."""
    scaling = _scaling_of(test, name)
    sizes = np.unique(data["size"])
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
        if scaling is not None:
            factor = size**scaling.power
            x = (control - scaling.critical_point) * size ** (1 / scaling.nu_star)
            scaled.errorbar(x, factor * value, None if error is None else factor * error, **look)
    if not scaled.has_data():
        scaled.set_xticks([])
        scaled.set_yticks([])
        middle = {"ha": "center", "va": "center", "transform": scaled.transAxes}
        scaled.text(0.5, 0.5, "not scaled:\nno exponent", fontsize=TEXT - 1, color="#666666", **middle)
    raw.set_ylabel(name.replace("_", " "), fontsize=TEXT - 1)
    for axes in (raw, scaled):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=TEXT - 2)


class _Scaling(NamedTuple):
    """The numbers that scale one observable: value · N^power against (control - critical_point) N^(1/nu_star)."""

    critical_point: float
    nu_star: float
    power: float


def _scaling_of(test: HyperscalingTest, name: str) -> _Scaling | None:
    """The scaling of an observable, or None if the test has not found its exponents."""
    attribute, sign = OBSERVABLE_RATIOS[name]
    ratio = 0.0 if attribute is None else getattr(test, attribute)
    if test.critical_point is None or test.nu_star is None or ratio is None:
        return None
    return _Scaling(test.critical_point, test.nu_star, -sign * ratio)
