"""Each stage as a critical point in training time, and what a single run cannot show."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llckit.criticality import LocalExponents, local_exponents
from llckit.llc import LLCCurve
from llckit.report.html_table import Column, html_table
from llckit.report.numbers import MISSING, number, step_number, with_error

if TYPE_CHECKING:
    from llckit.transitions import Transition

__all__ = ["exponents_section"]

CRITICAL = """<h2>Critical exponents</h2>
<p>If a transition is a critical point, its exponents obey the hyperscaling law ν* = 2 − α, and a test of that can fail.
It needs runs of several sizes (<code>llckit criticality RUNS.csv</code>), since exponents say how a transition changes
with the number of degrees of freedom. One run shows less: the effective dimension d = 2 LLC on both sides, how the LLC
sets out over training time (exponent b of |LLC − LLC before| against ln t − ln t<sub>c</sub>, where it has a singular
onset at all), and whether the heat capacity Var[nβL] exceeds the LLC, as it does where chains see two basins.</p>"""


class _ExponentsRow(NamedTuple):
    ordinal: int
    found: LocalExponents


EXPONENT_COLUMNS: tuple[Column[_ExponentsRow], ...] = (
    Column("stage", lambda row: str(row.ordinal)),
    Column("d before", lambda row: _dimension_before(row.found)),
    Column("d after", lambda row: _dimension_after(row.found)),
    Column("form", lambda row: row.found.form or MISSING),
    Column("exponent b", lambda row: _exponent(row.found)),
    Column("t_c at step", lambda row: _critical_step(row.found)),
    Column("heat capacity / LLC − 1", lambda row: _heat_excess(row.found)),
    Column("verdict", lambda row: row.found.verdict),
)
"""Columns of the table of exponents, from left to right; one line here is one column of the report."""


def exponents_section(curve: LLCCurve, transitions: Sequence[Transition]) -> str:
    """What each stage shows as a critical point, the verdict, and what would decide.

    Args:
        curve: The curve of the page.
        transitions: Stages of the curve.

    Returns:
        HTML; empty without stages.
    """
    if not transitions:
        return ""
    found = [_local_exponents(curve, stage) for stage in transitions]
    rows = [_ExponentsRow(index, one) for index, one in enumerate(found, 1)]
    largest = int(np.argmax([abs(stage.delta_llc) for stage in transitions]))
    caption = "Stages as critical points in training time, exponents with 90 % intervals"
    parts = [
        CRITICAL,
        html_table(caption, EXPONENT_COLUMNS, rows),
        "<p>The hyperscaling law: <strong>inconclusive</strong>.</p>",
        "<ul>",
        *[f"<li>Stage {row.ordinal}: {escape(row.found.reason)}</li>" for row in rows],
        "</ul>",
        "<p>What would decide, for the stage in which the LLC moves most:</p>",
        "<ul>",
        *[f"<li>{escape(line)}</li>" for line in found[largest].needed],
        "</ul>",
    ]
    return "\n".join(parts)


def _local_exponents(curve: LLCCurve, stage: Transition) -> LocalExponents:
    details = curve.details if {"llc_variance", "ess"} <= curve.details.keys() else {}
    return local_exponents(
        step=curve.step,
        llc=np.where(curve.is_minimum, curve.llc, np.nan),
        start=max(stage.start, float(curve.step[0])),
        end=min(stage.end, float(curve.step[-1])),
        llc_se=curve.mcse,
        llc_variance=details.get("llc_variance"),
        ess=details.get("ess"),
    )


def _dimension_before(found: LocalExponents) -> str:
    return with_error(found.effective_dimension_before, found.effective_dimension_before_se)


def _dimension_after(found: LocalExponents) -> str:
    return with_error(found.effective_dimension_after, found.effective_dimension_after_se)


def _exponent(found: LocalExponents) -> str:
    if found.exponent is None or found.exponent_interval is None:
        return MISSING
    low, high = ("open" if end is None else number(end, 2) for end in found.exponent_interval)
    return f"{number(found.exponent, 2)}\n({low}–{high})"


def _critical_step(found: LocalExponents) -> str:
    return MISSING if found.critical_step is None else step_number(found.critical_step)


def _heat_excess(found: LocalExponents) -> str:
    if found.heat_excess is None or found.heat_excess_se is None:
        return MISSING
    return with_error(found.heat_excess, found.heat_excess_se)
