"""The spectrogram of a run, and the transitions linked across its scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llckit.llc import Spectrogram
from llckit.plotting import plot_spectrogram
from llckit.report.cells import html_table, number, step_cell
from llckit.report.figures import svg_element
from llckit.transitions import detect_across_scales

if TYPE_CHECKING:
    pass

SCALES = """<p>At nβ the LLC sees what changes the loss by more than 1/nβ: small nβ shows the coarse structure of the
model, large nβ the fine. A transition that shows at many scales changes the model at all of them.</p>"""
NO_LINKS = "<p>No transition was found at any scale.</p>"


def scales_section(spectrogram: Spectrogram | None) -> str:
    """The picture of a spectrogram and the table of its linked transitions."""
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
    parts = ["<h2>Scales</h2>", SCALES, f"<figure>\n{svg}\n<figcaption>{title}.</figcaption>\n</figure>"]
    columns = ["transition", "kind", "steepest at step", "first to last of its scales", "nβ from", "nβ to", "scales"]
    rows = [
        [
            str(index),
            linked.kind,
            step_cell(linked.location),
            f"{step_cell(linked.location_range[0])}–{step_cell(linked.location_range[1])}",
            number(linked.n_beta[0], 3),
            number(linked.n_beta[-1], 3),
            f"{len(linked.n_beta)} of {len(found.n_beta)}",
        ]
        for index, linked in enumerate(found, 1)
    ]
    parts.append(html_table("Transitions, and the scales at which they are seen", columns, rows) if rows else NO_LINKS)
    return "\n".join(parts)
