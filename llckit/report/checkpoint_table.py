"""The table of checkpoints: every estimate of a curve, with its diagnostics.

To add a column, add one line to `CHECKPOINT_COLUMNS`: the heading, and the text of a cell as a function of a
`CheckpointRow`. For a column of the curve's details, such as R-hat, `_detail(heading, name)` is that line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from llckit.llc import LLCCurve, Outcome
from llckit.plotting import depends_on_scale, is_doubtful
from llckit.report.html_table import Column, html_table
from llckit.report.numbers import number, step_number, with_error

__all__ = ["CHECKPOINT_COLUMNS", "CheckpointRow", "checkpoint_table"]

DOUBTFUL, SCALE_DEPENDENT = "doubtful", "scale-dependent"  # classes of rows in the style sheet


class CheckpointRow(NamedTuple):
    """One checkpoint of a curve.

    Attributes:
        step: Training step.
        loss: L(w*).
        llc: λ̂; NaN if the estimate failed.
        mcse: Standard error of λ̂; None if the curve has none.
        details: Further numbers by name, as in `LLCCurve.details`; NaN where there is none.
        recorded: Numbers that were saved with the checkpoint, by name; NaN where there is none.
        outcome: How the estimate ended; None if the curve does not say.
        mark: Class in the style sheet: "doubtful" if the estimate is not to be relied on, "scale-dependent" if its
            outcome says so, else "".
    """

    step: int
    loss: float
    llc: float
    mcse: float | None
    details: Mapping[str, float]
    recorded: Mapping[str, float]
    outcome: Outcome | None
    mark: str


def _detail(heading: str, name: str) -> Column[CheckpointRow]:
    """A column of `LLCCurve.details`, left out if no checkpoint has a value."""
    return Column(
        heading,
        lambda row: number(row.details[name]),
        is_known=lambda rows: any(np.isfinite(row.details.get(name, np.nan)) for row in rows),
    )


CHECKPOINT_COLUMNS: tuple[Column[CheckpointRow], ...] = (
    Column("step", lambda row: step_number(row.step)),
    Column("loss", lambda row: number(row.loss)),
    Column("LLC", lambda row: number(row.llc), is_known=lambda rows: rows[0].mcse is None),
    Column(
        "LLC ± standard error",
        lambda row: with_error(row.llc, np.nan if row.mcse is None else row.mcse),
        is_known=lambda rows: rows[0].mcse is not None,
    ),
    _detail("λ from", "bracket_lower"),
    _detail("λ to", "bracket_upper"),
    _detail("variance estimate", "llc_variance"),
    _detail("R-hat", "rhat"),
    _detail("ESS", "ess"),
    _detail("gradient norm", "grad_norm"),
    Column(
        "outcome",
        lambda row: "" if row.outcome is None else row.outcome.value,
        is_text=True,
        is_known=lambda rows: rows[0].outcome is not None,
    ),
)
"""Columns of the table of checkpoints, from left to right. One line here is one column of the report.

A column whose `is_known` is false for the rows is left out.
"""


def checkpoint_table(curve: LLCCurve) -> str:
    """The table of checkpoints of a curve; doubtful ones and those that depend on their scale are highlighted.

    Args:
        curve: A curve.

    Returns:
        HTML.
    """
    caption = "Every checkpoint; red ones failed a check"
    if depends_on_scale(curve).any():
        caption += ", yellow ones depend on the scale at which they were measured"
    return html_table(caption, CHECKPOINT_COLUMNS, _rows(curve), lambda row: row.mark)


def _rows(curve: LLCCurve) -> list[CheckpointRow]:
    doubtful, dependent = is_doubtful(curve), depends_on_scale(curve)
    return [
        CheckpointRow(
            step=int(curve.step[index]),
            loss=curve.loss[index],
            llc=curve.llc[index],
            mcse=None if curve.mcse is None else curve.mcse[index],
            details={name: values[index] for name, values in curve.details.items()},
            recorded={name: values[index] for name, values in curve.recorded.items()},
            outcome=None if curve.outcome is None else curve.outcome[index],
            mark=DOUBTFUL if doubtful[index] else SCALE_DEPENDENT if dependent[index] else "",
        )
        for index in range(len(curve))
    ]
