"""The stages of a run: what they are, what moves with them, and which end has the lower free energy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llckit.report.html_table import Column, html_table
from llckit.report.numbers import MISSING, number, signed, with_interval

if TYPE_CHECKING:
    from llckit.transitions import Move, Transition

__all__ = ["KINDS", "free_energies", "free_energy", "moves_table", "stage_table"]

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


class _StageRow(NamedTuple):
    ordinal: int
    stage: Transition


class _MoveRow(NamedTuple):
    ordinal: int
    move: Move


STAGE_COLUMNS: tuple[Column[_StageRow], ...] = (
    Column("stage", lambda row: str(row.ordinal)),
    Column("from step", lambda row: with_interval(row.stage.start, row.stage.start_interval)),
    Column("to step", lambda row: with_interval(row.stage.end, row.stage.end_interval)),
    Column("kind", lambda row: row.stage.kind, is_text=True),
    Column("Δ loss", lambda row: signed(row.stage.delta_loss)),
    Column("Δ LLC", lambda row: signed(row.stage.delta_llc)),
    Column("probability", lambda row: _probability(row.stage)),
    Column("hidden", lambda row: "yes" if row.stage.hidden else "no", is_text=True),
    Column("steepest at step", lambda row: with_interval(row.stage.location, row.stage.location_interval)),
)
"""Columns of the table of stages, from left to right; one line here is one column of the report."""

MOVE_COLUMNS: tuple[Column[_MoveRow], ...] = (
    Column("stage", lambda row: str(row.ordinal)),
    Column("what", lambda row: row.move.name),
    Column("change", lambda row: signed(row.move.delta)),
    Column("steepest at step", lambda row: with_interval(row.move.location, row.move.location_interval)),
    Column("earlier than the LLC with probability", lambda row: f"{row.move.leads:.2f}"),
)
"""Columns of the table of what else moves, from left to right; one line here is one column of the report."""


def stage_table(transitions: Sequence[Transition]) -> str:
    """The table of stages, one row per stage, or a sentence if there is none.

    Args:
        transitions: Stages of a curve.

    Returns:
        HTML.
    """
    if not transitions:
        return "<p>No stages were found.</p>"
    rows = [_StageRow(index, stage) for index, stage in enumerate(transitions, 1)]
    return html_table("Stages of the run, with 90 % intervals of their steps below them", STAGE_COLUMNS, rows)


def moves_table(transitions: Sequence[Transition]) -> str:
    """The table of what else moves in each stage.

    Args:
        transitions: Stages of a curve.

    Returns:
        HTML; empty if nothing else moves.
    """
    rows = [_MoveRow(index, move) for index, stage in enumerate(transitions, 1) for move in stage.moves]
    if not rows:
        return ""
    table = html_table("What moves in each stage, the earliest first", MOVE_COLUMNS, rows)
    return f"<h3>What else moves</h3>\n{table}"


def free_energies(transitions: Sequence[Transition], behavioral: bool) -> str:
    """Which end of each stage has the lower free energy.

    Args:
        transitions: Stages of a curve.
        behavioral: Whether the curve is of the behavioral loss.

    Returns:
        HTML; empty without stages.
    """
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
        stage: A transition.

    Returns:
        The numbers of samples n for which the end of the stage wins over its start, and the probability of that case.
    """
    found = stage.crossover()
    if found.upper is None:
        clause = f"the end of the stage {'wins' if found.case == 'always' else 'loses'} at every n"
    else:
        low, high = found.upper_interval or (found.upper, found.upper)
        clause = (
            f"the end of the stage wins {'from' if found.case == 'outside' else 'up to'} n = {number(found.upper, 3)} "
            f"({number(low, 3)} to {number(high, 3)}){' on' if found.case == 'outside' else ''}"
        )
    return f"{clause} (probability of this case {found.probabilities[found.case]:.2f})"


def _probability(stage: Transition) -> str:
    return MISSING if not np.isfinite(stage.probability) else f"{stage.probability:.3f}"
