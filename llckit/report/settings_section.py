"""The table of what was measured: the loss, its scale, and the size of the run."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np

from llckit.llc import LLCCurve
from llckit.report.figures import loss_kind
from llckit.report.html_table import scrolling
from llckit.report.numbers import number

__all__ = ["settings_section"]


def settings_section(curve: LLCCurve, metadata: Mapping[str, object]) -> str:
    """The table of what was measured.

    Args:
        curve: The curve of the page.
        metadata: Further settings by name.

    Returns:
        HTML.
    """
    settings = {
        "loss": loss_kind(curve),
        "nβ": _along_the_curve(curve, "n_beta"),
        "γ (localization)": _along_the_curve(curve, "localization"),
        "checkpoints": str(len(curve)),
    }
    if curve.llc_per_chain is not None:
        settings["chains"] = str(curve.llc_per_chain.shape[1])
    settings |= {str(key): number(value) if isinstance(value, float) else str(value) for key, value in metadata.items()}
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in settings.items()
    )
    return scrolling(
        "Settings",
        f'<table class="settings">\n<caption>What was measured</caption>\n<tbody>\n{rows}\n</tbody>\n</table>',
    )


def _along_the_curve(curve: LLCCurve, name: str) -> str:
    """The value of a detail, or a warning if it differs between checkpoints."""
    values = curve.details.get(name, np.array([]))
    values = np.unique(values[np.isfinite(values)])
    if not len(values):
        return "unknown"
    if len(values) == 1:
        return number(values[0])
    return f"{number(values[0])} to {number(values[-1])}: values are not comparable along the curve"
