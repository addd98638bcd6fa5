"""The spectrogram of a run, and the transitions linked across its scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llckit.llc import Spectrogram
from llckit.plotting import plot_spectrogram
from llckit.report.figures import svg_element
from llckit.report.html_table import Column, html_table
from llckit.report.numbers import number, step_number
from llckit.transitions import detect_across_scales

if TYPE_CHECKING:
    from llckit.transitions import LinkedTransition

__all__ = ["scales_section"]

SCALES = """<p>At nβ the LLC sees what changes the loss by more than 1/nβ: small nβ shows the coarse structure of the
model, large nβ the fine. A transition that shows at many scales changes the model at all of them.</p>"""
NO_LINKS = "<p>No transition was found at any scale.</p>"


class _LinkedRow(NamedTuple):
    ordinal: int
    linked: LinkedTransition
    num_scales: int  # of the spectrogram


LINKED_COLUMNS: tuple[Column[_LinkedRow], ...] = (
    Column("transition", lambda row: str(row.ordinal)),
    Column("kind", lambda row: row.linked.kind, is_text=True),
    Column("steepest at step", lambda row: step_number(row.linked.location)),
    Column("first to last of its scales", lambda row: "–".join(step_number(at) for at in row.linked.location_range)),
    Column("nβ from", lambda row: number(row.linked.n_beta[0], 3)),
    Column("nβ to", lambda row: number(row.linked.n_beta[-1], 3)),
    Column("scales", lambda row: f"{len(row.linked.n_beta)} of {row.num_scales}"),
)
"""Columns of the table of linked transitions, from left to right; one line here is one column of the report."""


def scales_section(spectrogram: Spectrogram | None) -> str:
    """The picture of a spectrogram and the table of its linked transitions.

    Args:
        spectrogram: Estimates at several n_beta, or None.

    Returns:
        HTML; empty without a spectrogram.
    """
    if spectrogram is None:
        return ""
    found = detect_across_scales(spectrogram)
    low, high = number(spectrogram.n_beta[0], 3), number(spectrogram.n_beta[-1], 3)
    title = "LLC over training step and scale of the loss"
    description = (
        f"{len(spectrogram)} checkpoints at {len(spectrogram.n_beta)} values of nβ from {low} to {high}. "
        f"{len(found)} transitions are marked."
    )
    svg = svg_element(plot_spectrogram(spectrogram, found), "scales", title, description)
    rows = [_LinkedRow(index, linked, len(found.n_beta)) for index, linked in enumerate(found, 1)]
    caption = "Transitions, and the scales at which they are seen"
    table = html_table(caption, LINKED_COLUMNS, rows) if rows else NO_LINKS
    figure = f"<figure>\n{svg}\n<figcaption>{title}.</figcaption>\n</figure>"
    return "\n".join(["<h2>Scales</h2>", SCALES, figure, table])
