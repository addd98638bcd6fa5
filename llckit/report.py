"""One HTML page about one run: the answer, the picture, the tables. Opens from disk and asks nothing of a network."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from llckit.llc import LLCCurve, Spectrogram
from llckit.plotting import check_new_file, is_doubtful, plot_curve, plot_spectrogram, write_new_file
from llckit.transitions import detect_across_scales

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from llckit.transitions import Transition

__all__ = ["write_report"]

ENDINGS = (".html", ".htm")
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
MISSING = "–"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"
DIAGNOSTICS = {"llc_variance": "variance estimate", "rhat": "R-hat", "ess": "ESS", "grad_norm": "gradient norm"}

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
        path: a new file that ends in .html.
        curve: the curve that the transitions were found in.
        transitions: its stages; may be empty.
        title: heading of the page.
        behavioral: a second curve over the same run, of the behavioral loss, drawn as a figure of its own.
        spectrogram: estimates over the same run at several nβ, in which transitions are found across scales.
        notes: sentences to add.
        metadata: further settings by name, such as the data's size or the rule that chose nβ.

    Raises:
        InputError: the file exists, has another ending or no folder; or matplotlib is not installed.
    """
    file = check_new_file(path, ENDINGS)
    sections = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="answer">{_answer(curve, transitions)}</p>',
        _figure(curve, transitions, "run", _loss_kind(curve)),
        "<h2>Stages</h2>",
        _stage_table(transitions),
        KINDS,
        _moves_table(transitions),
        _free_energy(transitions, curve.behavioral),
        _behavioral_section(behavioral),
        _scales_section(spectrogram),
        "<h2>Diagnostics</h2>",
        _diagnostics(curve),
        "<h2>Settings</h2>",
        _settings(curve, metadata or {}),
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


KINDS = """<dl>
<dt>Type A</dt>
<dd>The LLC rises while the loss falls: the model becomes more complex and buys accuracy with it.</dd>
<dt>Type B</dt>
<dd>The LLC falls while the loss changes little: the model finds a simpler way to do what it does.</dd>
<dt>Hidden</dt>
<dd>The loss alone shows no boundary inside the stage, and nearly all of its fall is over by then: without the LLC one
would not know that something happened.</dd>
<dt>Unclassified</dt>
<dd>The LLC moves, but the changes fit neither type clearly enough to name it.</dd>
</dl>"""

READING = """<h2>How to read this page</h2>
<p>The local learning coefficient (LLC) counts how many directions of the weights matter for the loss near a
checkpoint: half a unit for each direction that matters fully, less for one that matters weakly. Small means simple.
Its size depends on nβ, on γ and on the data, so compare values only where these are equal. A stage is a stretch of
training in which the LLC moves; its boundaries are where the LLC rests or turns. The probability says how often the
stage is of its kind among the curves that the noise allows. Intervals of steps are 90 % intervals, all others 95 %. A
highlighted estimate failed one of its checks: do not rely on it, and doubt a stage that rests on it alone.</p>
<h2>Critical exponents</h2>
<p>One run cannot give critical exponents: they describe how a transition changes with the size of the system, so they
need runs of several sizes (<code>llckit criticality RUNS.csv</code>).</p>"""

BEHAVIORAL = """<h2>Behavioral LLC</h2>
<p>Here every checkpoint is compared with its own outputs instead of the targets, so that it is a minimum of the loss by
construction: the behavioral LLC exists throughout training, and agrees with that of the training loss where the
checkpoint is a minimum of that.</p>"""


SCALES = """<p>At nβ the LLC sees what changes the loss by more than 1/nβ: small nβ shows the coarse structure of the
model, large nβ the fine. A transition that shows at many scales changes the model at all of them.</p>"""
NO_LINKS = "<p>No transition was found at any scale.</p>"


def _loss_kind(curve: LLCCurve) -> str:
    return "behavioral loss" if curve.behavioral else "training loss"


def _answer(curve: LLCCurve, transitions: Sequence[Transition]) -> str:
    span = f"{len(curve)} checkpoints from step {_step(curve.step[0])} to {_step(curve.step[-1])}"
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
        f"{name}, {'hidden, ' if stage.hidden else ''}{kind}, runs from step {_step(stage.start)} to "
        f"{_step(stage.end)}: the LLC {direction} by {_number(abs(stage.delta_llc), 3)} while the loss {loss} by "
        f"{_number(abs(stage.delta_loss), 3)}."
    )


def _figure(curve: LLCCurve, transitions: Sequence[Transition], name: str, loss_kind: str) -> str:
    stages = [
        f"{'hidden ' if stage.hidden else ''}{'' if stage.kind == 'unclassified' else 'type '}{stage.kind} from step "
        f"{_step(stage.start)} to {_step(stage.end)}"
        for stage in transitions
    ]
    description = f"{len(curve)} checkpoints, steps {_step(curve.step[0])} to {_step(curve.step[-1])}. "
    values = curve.llc[np.isfinite(curve.llc)]
    if len(values):
        description += f"The LLC lies between {_number(values.min(), 3)} and {_number(values.max(), 3)}. "
    description += f"Stages: {'; '.join(stages)}." if stages else "No stages are marked."
    title = f"Loss and LLC of the {loss_kind} against the training step"
    svg = _svg(plot_curve(curve, transitions), name, title, description)
    caption = f"Loss (above) and LLC of the {loss_kind} (below) against the training step"
    return (
        f"<figure>\n{svg}\n<figcaption>{caption}{', with its stages shaded' if stages else ''}.</figcaption>\n</figure>"
    )


def _svg(plot: Figure, name: str, title: str, description: str) -> str:
    """The plot as an element: no prolog, no metadata, names of its own, scaled by the style sheet."""
    buffer = io.StringIO()
    no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
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


def _stage_table(transitions: Sequence[Transition]) -> str:
    if not transitions:
        return "<p>No stages were found.</p>"
    columns = ["stage", "from step", "to step", "kind", "Δ loss", "Δ LLC", "probability", "hidden", "steepest at step"]
    rows = [
        [
            str(index),
            _with_interval(stage.start, stage.start_interval),
            _with_interval(stage.end, stage.end_interval),
            stage.kind,
            _signed(stage.delta_loss),
            _signed(stage.delta_llc),
            MISSING if not np.isfinite(stage.probability) else f"{stage.probability:.3f}",
            "yes" if stage.hidden else "no",
            _with_interval(stage.location, stage.location_interval),
        ]
        for index, stage in enumerate(transitions, 1)
    ]
    return _table("Stages of the run, with 90 % intervals of their steps below them", columns, rows)


def _moves_table(transitions: Sequence[Transition]) -> str:
    rows = [
        [
            str(index),
            move.name,
            _signed(move.delta),
            _with_interval(move.location, move.location_interval),
            f"{move.leads:.2f}",
        ]
        for index, stage in enumerate(transitions, 1)
        for move in stage.moves
    ]
    if not rows:
        return ""
    columns = ["stage", "what", "change", "steepest at step", "earlier than the LLC with probability"]
    return f"<h3>What else moves</h3>\n{_table('What moves in each stage, the earliest first', columns, rows)}"


def _free_energy(transitions: Sequence[Transition], behavioral: bool) -> str:
    if not transitions:
        return ""
    items = [f"<li>Stage {index}: {escape(free_energy(stage))}</li>" for index, stage in enumerate(transitions, 1)]
    caution = " The LLC here is the behavioral one, which stands in for that of the loss." if behavioral else ""
    return (
        "<h3>Free energy</h3>\n<p>Among models fitted to n samples those of lower free energy, n·loss + LLC·ln n, are "
        "more probable (Watanabe 2009): where the end of a stage has the lower one, Bayesian learning would take the "
        f"stage too.{caution}</p>\n<ul>\n" + "\n".join(items) + "\n</ul>"
    )


def free_energy(stage: Transition) -> str:
    """Which end of a stage has the lower free energy, as a clause.

    Args:
        stage: a transition.

    Returns:
        For which numbers of samples n the end of the stage wins over its start.
    """
    found = stage.crossover()
    if found.upper is None:
        words = f"the end of the stage {'wins' if found.case == 'always' else 'loses'} at every n"
    else:
        low, high = found.upper_interval or (found.upper, found.upper)
        words = (
            f"the end of the stage wins {'from' if found.case == 'outside' else 'up to'} n = {_number(found.upper, 3)} "
            f"({_number(low, 3)} to {_number(high, 3)}){' on' if found.case == 'outside' else ''}"
        )
    return f"{words} (probability of this case {found.probabilities[found.case]:.2f})"


def _diagnostics(curve: LLCCurve) -> str:
    parts = []
    if curve.outcome is None:
        parts.append("<p>This curve does not say how its estimates ended, so none could be checked.</p>")
    else:
        items = [
            f"<li>{count} of {len(curve)}: <strong>{escape(outcome.value)}</strong>. {escape(outcome.advice)}</li>"
            for outcome, count in Counter(curve.outcome).most_common()
        ]
        parts.append("<ul>\n" + "\n".join(items) + "\n</ul>")
    names = [name for name in DIAGNOSTICS if name in curve.details]
    columns = ["step", "loss", "LLC" if curve.mcse is None else "LLC ± standard error"]
    columns += [DIAGNOSTICS[name] for name in names] + (["outcome"] if curve.outcome is not None else [])
    rows = []
    for index, (step, loss, _) in enumerate(curve):
        row = [_step(step), _number(loss), _llc(curve, index)]
        row += [_number(curve.details[name][index]) for name in names]
        rows.append(row + ([curve.outcome[index].value] if curve.outcome is not None else []))
    caption = "Every checkpoint; highlighted ones failed a check"
    return "\n".join([*parts, _table(caption, columns, rows, is_doubtful(curve))])


def _settings(curve: LLCCurve, metadata: Mapping[str, object]) -> str:
    settings: dict[str, str] = {"loss": _loss_kind(curve)}
    for name, label in (("n_beta", "nβ"), ("localization", "γ (localization)")):
        values = curve.details.get(name, np.array([]))
        values = np.unique(values[np.isfinite(values)])
        if len(values):
            differing = f"{_number(values[0])} to {_number(values[-1])}: values are not comparable along the curve"
            settings[label] = _number(values[0]) if len(values) == 1 else differing
        else:
            settings[label] = "unknown"
    settings["checkpoints"] = str(len(curve))
    if curve.llc_per_chain is not None:
        settings["chains"] = str(curve.llc_per_chain.shape[1])
    settings |= {
        str(key): _number(value) if isinstance(value, float) else str(value) for key, value in metadata.items()
    }
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in settings.items()
    )
    return _scrolling(
        "Settings",
        f'<table class="settings">\n<caption>What was measured</caption>\n<tbody>\n{rows}\n</tbody>\n</table>',
    )


def _behavioral_section(curve: LLCCurve | None) -> str:
    if curve is None:
        return ""
    figure = _figure(curve, (), "behavioral", "behavioral loss")
    return f"{BEHAVIORAL}\n{figure}\n<h3>Its diagnostics</h3>\n{_diagnostics(curve)}"


def _scales_section(spectrogram: Spectrogram | None) -> str:
    if spectrogram is None:
        return ""
    found = detect_across_scales(spectrogram)
    low, high = _number(spectrogram.n_beta[0], 3), _number(spectrogram.n_beta[-1], 3)
    title = "LLC over training step and scale of the loss"
    description = (
        f"{len(spectrogram)} checkpoints at {len(spectrogram.n_beta)} values of nβ from {low} to {high}. "
        f"{len(found)} transitions are marked."
    )
    svg = _svg(plot_spectrogram(spectrogram, found), "scales", title, description)
    parts = ["<h2>Scales</h2>", SCALES, f"<figure>\n{svg}\n<figcaption>{title}.</figcaption>\n</figure>"]
    columns = ["transition", "kind", "steepest at step", "first to last of its scales", "nβ from", "nβ to", "scales"]
    rows = [
        [
            str(index),
            linked.kind,
            _step(linked.location),
            f"{_step(linked.location_range[0])}–{_step(linked.location_range[1])}",
            _number(linked.n_beta[0], 3),
            _number(linked.n_beta[-1], 3),
            f"{len(linked.n_beta)} of {len(found.n_beta)}",
        ]
        for index, linked in enumerate(found, 1)
    ]
    parts.append(_table("Transitions, and the scales at which they are seen", columns, rows) if rows else NO_LINKS)
    return "\n".join(parts)


def _notes(notes: Iterable[str]) -> str:
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<h2>Notes</h2>\n<ul>\n{items}\n</ul>" if items else ""


def _table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], highlight: np.ndarray | None = None
) -> str:
    shape = [' class="words"' if column in ("kind", "hidden", "outcome") else "" for column in columns]
    head = "".join(f'<th scope="col"{form}>{escape(column)}</th>' for column, form in zip(columns, shape, strict=True))
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td{form}>{escape(cell)}</td>" for cell, form in zip(row[1:], shape[1:], strict=True))
        mark = ' class="doubtful"' if highlight is not None and highlight[index] else ""
        lines.append(f'<tr{mark}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    body = "\n".join(lines)
    table = (
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )
    return _scrolling(caption, table)


def _scrolling(label: str, table: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">\n{table}\n</div>'


def _llc(curve: LLCCurve, index: int) -> str:
    value, error = curve.llc[index], curve.mcse[index] if curve.mcse is not None else np.nan
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return _number(value)
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def _with_interval(step: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return _step(step) if low == high else f"{_step(step)}\n({_step(low)}–{_step(high)})"


def _step(step: float) -> str:
    return f"{step:,.0f}".replace(",", THIN_SPACE) if np.isfinite(step) else MISSING


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + _number(value, 3)


def _number(value: float, digits: int = 4) -> str:
    """A number to so many significant digits, plain where that is short."""
    if np.isnan(value):
        return MISSING
    if value == 0 or not np.isfinite(value) or not 1e-4 <= abs(value) < 1e6:
        text = f"{value:.{digits - 1}e}" if value != 0 and np.isfinite(value) else f"{value:g}"
    else:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
        text = f"{value:.{decimals}f}"
    return text.replace("-", "−")
