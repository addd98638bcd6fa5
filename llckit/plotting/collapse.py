"""Observables of several sizes, as measured and scaled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from llckit.plotting.style import TEXT, WIDTH, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from llckit.criticality import HyperscalingTest

SIZE_MARKERS = "os^Dv<>p"
OBSERVABLE_RATIOS = {  # exponent of the size by observable, and its sign
    "order_parameter": ("beta_over_nu_star", -1),
    "susceptibility": ("gamma_over_nu_star", 1),
    "specific_heat": ("alpha_over_nu_star", 1),
    "binder": (None, 1),
    "bimodality": (None, 1),
}


def plot_collapse(data: Mapping[str, np.ndarray], test: HyperscalingTest, *, title: str | None = None) -> Figure:
    """Draw every observable as it was measured, and scaled with the exponents of a test.

    Left: value against control, one line a size. Right: value · N^(-ratio) against (control - c*) N^(1/ν*): one curve
    for all sizes where the exponents hold. Bars are standard errors. A specific heat is scaled by N^(-α/ν*) alone, so
    that its background keeps the sizes apart. Without an exponent the right panel says so.

    Args:
        data: Arrays of equal length: size, control, and observables with their _se, NaN where there is none.
        test: What was found in them.
        title: Above the plot.

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
        if not scaled.has_data():
            scaled.set_xticks([])
            scaled.set_yticks([])
            middle = {"ha": "center", "va": "center", "transform": scaled.transAxes}
            scaled.text(0.5, 0.5, "not scaled:\nno exponent", fontsize=TEXT - 1, color="#666666", **middle)
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
