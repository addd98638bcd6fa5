"""The page: the answer, the picture, the tables, and how to read them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from llckit.files import check_new_file, write_new_file
from llckit.llc import LLCCurve, Spectrogram
from llckit.report.answer import answer
from llckit.report.diagnostics_section import diagnostics_section
from llckit.report.exponents_section import exponents_section
from llckit.report.figures import loss_kind, run_figure
from llckit.report.scales_section import scales_section
from llckit.report.settings_section import settings_section
from llckit.report.stages import KINDS, free_energies, moves_table, stage_table
from llckit.report.style_sheet import STYLE_SHEET

if TYPE_CHECKING:
    from llckit.transitions import Transition

__all__ = ["REPORT_ENDINGS", "write_report"]

REPORT_ENDINGS = (".html", ".htm")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

READING = """<h2>How to read this page</h2>
<p>The local learning coefficient (LLC) counts how many directions of the weights matter for the loss near a
checkpoint: half a unit for each direction that matters fully, less for one that matters weakly. Small means simple.
Its size depends on nβ, on γ and on the data, so compare values only where these are equal. A stage is a stretch of
training in which the LLC moves; its boundaries are where the LLC rests or turns. The probability says how often the
stage is of its kind among the curves that the noise allows. Intervals of steps are 90 % intervals, all others 95 %. A
highlighted estimate failed one of its checks: do not rely on it, and doubt a stage that rests on it alone.</p>"""
BEHAVIORAL = """<h2>Behavioral LLC</h2>
<p>Here every checkpoint is compared with its own outputs instead of the targets, so that it is a minimum of the loss by
construction: the behavioral LLC exists throughout training, and agrees with that of the training loss where the
checkpoint is a minimum of that.</p>"""


def write_report(
    path: str | os.PathLike[str],
    curve: LLCCurve,
    transitions: Sequence[Transition],
    *,
    title: str = "llckit report",
    behavioral: LLCCurve | None = None,
    spectrogram: Spectrogram | None = None,
    notes: Iterable[str] = (),
    metadata: Mapping[str, object] | None = None,
) -> None:
    """Write a self-contained page: answer, figure, stages, diagnostics of every checkpoint, settings.

    Args:
        path: A new file that ends in .html or .htm.
        curve: The curve in which the transitions were found.
        transitions: Stages of the curve; may be empty.
        title: Heading of the page.
        behavioral: A second curve of the same run, of the behavioral loss; it gets a figure of its own.
        spectrogram: Estimates of the same run at several n_beta; transitions are linked across its scales.
        notes: Sentences to add.
        metadata: Further settings by name, such as the size of the data.

    Raises:
        InputError: The file exists, has another ending or no folder; or matplotlib is not installed.
    """
    file = check_new_file(path, REPORT_ENDINGS)
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="answer">{answer(curve, transitions)}</p>',
        run_figure(curve, transitions, "run", loss_kind(curve)),
        "<h2>Stages</h2>",
        stage_table(transitions),
        KINDS,
        moves_table(transitions),
        free_energies(transitions, curve.behavioral),
        exponents_section(curve, transitions),
        _behavioral_section(behavioral),
        scales_section(spectrogram),
        "<h2>Diagnostics</h2>",
        diagnostics_section(curve),
        "<h2>Settings</h2>",
        settings_section(curve, metadata or {}),
        _notes(notes),
        READING,
    ]
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE_SHEET}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )
    write_new_file(file, page.encode("utf-8", "replace"))


def _behavioral_section(curve: LLCCurve | None) -> str:
    if curve is None:
        return ""
    figure = run_figure(curve, (), "behavioral", "behavioral loss")
    return f"{BEHAVIORAL}\n{figure}\n<h3>Its diagnostics</h3>\n{diagnostics_section(curve)}"


def _notes(notes: Iterable[str]) -> str:
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Notes</h2>\n<ul>\n{items}\n</ul>" if items else ""
