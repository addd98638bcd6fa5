"""The stages of a run: what they are, what moves with them, which end has the lower free energy."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from llckit.report.cells import MISSING, html_table, number, signed, with_interval

if TYPE_CHECKING:
    from llckit.transitions import Transition

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


def stage_table(transitions: Sequence[Transition]) -> str:
    """One row a stage, or that there is none."""
    if not transitions:
        return "<p>No stages were found.</p>"
    columns = ["stage", "from step", "to step", "kind", "Δ loss", "Δ LLC", "probability", "hidden", "steepest at step"]
    rows = [
        [
            str(index),
            with_interval(stage.start, stage.start_interval),
            with_interval(stage.end, stage.end_interval),
            stage.kind,
            signed(stage.delta_loss),
            signed(stage.delta_llc),
            MISSING if not np.isfinite(stage.probability) else f"{stage.probability:.3f}",
            "yes" if stage.hidden else "no",
            with_interval(stage.location, stage.location_interval),
        ]
        for index, stage in enumerate(transitions, 1)
    ]
    return html_table("Stages of the run, with 90 % intervals of their steps below them", columns, rows)


def moves_table(transitions: Sequence[Transition]) -> str:
    """What else moves in each stage; nothing where nothing does."""
    rows = [
        [
            str(index),
            move.name,
            signed(move.delta),
            with_interval(move.location, move.location_interval),
            f"{move.leads:.2f}",
        ]
        for index, stage in enumerate(transitions, 1)
        for move in stage.moves
    ]
    if not rows:
        return ""
    columns = ["stage", "what", "change", "steepest at step", "earlier than the LLC with probability"]
    return f"<h3>What else moves</h3>\n{html_table('What moves in each stage, the earliest first', columns, rows)}"


def free_energies(transitions: Sequence[Transition], behavioral: bool) -> str:
    """Which end of each stage has the lower free energy."""
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
        For which numbers of samples n the end of the stage wins over its start.
    """
    found = stage.crossover()
    if found.upper is None:
        words = f"the end of the stage {'wins' if found.case == 'always' else 'loses'} at every n"
    else:
        low, high = found.upper_interval or (found.upper, found.upper)
        words = (
            f"the end of the stage wins {'from' if found.case == 'outside' else 'up to'} n = {number(found.upper, 3)} "
            f"({number(low, 3)} to {number(high, 3)}){' on' if found.case == 'outside' else ''}"
        )
    return f"{words} (probability of this case {found.probabilities[found.case]:.2f})"
