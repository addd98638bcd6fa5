"""The page: the answer, the picture, the tables, and how to read them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

from llckit.files import check_new_file, write_new_file
from llckit.llc import LLCCurve, Spectrogram
from llckit.plotting import is_doubtful
from llckit.report.cells import number, step_cell
from llckit.report.diagnostics import diagnostics_section, settings_section
from llckit.report.exponents import exponents_section
from llckit.report.figures import loss_kind, run_figure
from llckit.report.scales import scales_section
from llckit.report.stages import KINDS, free_energies, moves_table, stage_table

if TYPE_CHECKING:
    from llckit.transitions import Transition

ENDINGS = (".html", ".htm")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: #fff; color: #1a1a1a;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.answer { border-left: .3rem solid #0072b2; background: #eef5fa; padding: .8rem 1rem; font-size: 1.05rem; }
figure { margin: 1rem 0; } figure svg { display: block; width: 100%; max-width: 41rem; height: auto; margin: 0 auto; }
figcaption, caption { color: #444; text-align: left; font-size: .9rem; padding: .3rem 0; }
caption { width: min(80vw, 60rem); }
.scroll { overflow: auto; max-height: 32rem; border: 1px solid #bbb; padding: 0 .5rem; }
.scroll:focus { outline: 2px solid #0072b2; }
table { border-collapse: collapse; overflow-wrap: normal; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; white-space: pre; border-bottom: 1px solid #ddd; }
tbody th, tbody td { vertical-align: top; }
th { background: #fff; } thead th { position: sticky; top: 0; border-bottom: 2px solid #555; }
.words, .settings th, .settings td { text-align: left; } .settings td { white-space: normal; }
tr.doubtful th, tr.doubtful td { background: #fde8e8; color: #7a0016; }
dt { font-weight: bold; } dd { margin: 0 0 .5rem 1rem; }
@media print { .scroll { max-height: none; overflow: visible; border: none; } }
"""


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
        path: A new file that ends in .html.
        curve: The curve that the transitions were found in.
        transitions: Its stages; may be empty.
        title: Heading of the page.
        behavioral: A second curve over the same run, of the behavioral loss, drawn as a figure of its own.
        spectrogram: Estimates over the same run at several nβ, in which transitions are found across scales.
        notes: Sentences to add.
        metadata: Further settings by name, such as the data's size or the rule that chose nβ.

    Raises:
        InputError: The file exists, has another ending or no folder; or matplotlib is not installed.
    """
    file = check_new_file(path, ENDINGS)
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="answer">{_answer(curve, transitions)}</p>',
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
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )
    write_new_file(file, page.encode("utf-8", "replace"))


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


def _answer(curve: LLCCurve, transitions: Sequence[Transition]) -> str:
    span = f"{len(curve)} checkpoints from step {step_cell(curve.step[0])} to {step_cell(curve.step[-1])}"
    if not transitions:
        sentences = [f"No transition was found in {span}: the LLC shows no move that stands out from its noise."]
    else:
        count = "1 transition" if len(transitions) == 1 else f"{len(transitions)} transitions"
        sentences = [f"{count} in {span}."]
        sentences += [_stage_sentence(index, stage) for index, stage in enumerate(transitions)]
    doubtful = int(is_doubtful(curve).sum())
    if doubtful:
        sentences.append(
            f"{doubtful} of the {len(curve)} estimates failed a check (see the diagnostics): doubt what rests on them."
        )
    return " ".join(sentences)


def _stage_sentence(index: int, stage: Transition) -> str:
    name = f"The {ORDINALS[index]}" if index < len(ORDINALS) else f"Number {index + 1}"
    kind = "unclassified" if stage.kind == "unclassified" else f"type {stage.kind}"
    direction = "rises" if stage.delta_llc > 0 else "falls"
    loss = "falls" if stage.delta_loss < 0 else "rises"
    return (
        f"{name}, {'hidden, ' if stage.hidden else ''}{kind}, runs from step {step_cell(stage.start)} to "
        f"{step_cell(stage.end)}: the LLC {direction} by {number(abs(stage.delta_llc), 3)} while the loss {loss} by "
        f"{number(abs(stage.delta_loss), 3)}."
    )


def _behavioral_section(curve: LLCCurve | None) -> str:
    if curve is None:
        return ""
    figure = run_figure(curve, (), "behavioral", "behavioral loss")
    return f"{BEHAVIORAL}\n{figure}\n<h3>Its diagnostics</h3>\n{diagnostics_section(curve)}"


def _notes(notes: Iterable[str]) -> str:
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Notes</h2>\n<ul>\n{items}\n</ul>" if items else ""
