"""Figures as elements of the page, which scale with it and have descriptions for screen readers."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from llckit.llc import LLCCurve
from llckit.plotting import plot_curve
from llckit.plotting.style import house_style
from llckit.report.numbers import number, step_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from llckit.transitions import Transition

__all__ = ["loss_kind", "run_figure", "svg_element"]


def loss_kind(curve: LLCCurve) -> str:
    """Words for the loss of a curve."""
    return "behavioral loss" if curve.behavioral else "training loss"


def run_figure(curve: LLCCurve, transitions: Sequence[Transition], name: str, loss_kind: str) -> str:
    """Loss and LLC of a curve with its stages shaded, and a description in words.

    Args:
        curve: A curve.
        transitions: Stages to shade.
        name: Prefix of all ids in the figure, unique in the page.
        loss_kind: Words for the loss of the curve.

    Returns:
        HTML.
    """
    stages = [
        f"{'hidden ' if stage.hidden else ''}{'' if stage.kind == 'unclassified' else 'type '}{stage.kind} from step "
        f"{step_number(stage.start)} to {step_number(stage.end)}"
        for stage in transitions
    ]
    description = f"{len(curve)} checkpoints, steps {step_number(curve.step[0])} to {step_number(curve.step[-1])}. "
    values = curve.llc[np.isfinite(curve.llc)]
    if len(values):
        description += f"The LLC lies between {number(values.min(), 3)} and {number(values.max(), 3)}. "
    description += f"Stages: {'; '.join(stages)}." if stages else "No stages are marked."
    title = f"Loss and LLC of the {loss_kind} against the training step"
    svg = svg_element(plot_curve(curve, transitions), name, title, description)
    caption = f"Loss (above) and LLC of the {loss_kind} (below) against the training step"
    return (
        f"<figure>\n{svg}\n<figcaption>{caption}{', with its stages shaded' if stages else ''}.</figcaption>\n</figure>"
    )


def svg_element(plot: Figure, name: str, title: str, description: str) -> str:
    """A plot as an SVG element: without prolog and metadata, with unique ids, scaled by the style sheet.

    Args:
        plot: A matplotlib figure.
        name: Prefix of all ids in the element, unique in the page.
        title: Title for screen readers.
        description: Description for screen readers.

    Returns:
        SVG.
    """
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with house_style():
        plot.savefig(buffer, format="svg", metadata=no_metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s(width|height)="[^"]*"', "", opening)
    labels = f'role="img" aria-labelledby="{name}-title {name}-description"'
    return (
        f'{opening} {labels}>\n<title id="{name}-title">{escape(title)}</title>\n'
        f'<desc id="{name}-description">{escape(description)}</desc>{rest}'
    )
