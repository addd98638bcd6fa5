"""Each stage as a critical point in training time, and what one run cannot say."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from llckit.criticality import LocalExponents, local_exponents
from llckit.llc import LLCCurve
from llckit.report.cells import MISSING, estimate, html_table, number, step_cell

if TYPE_CHECKING:
    from llckit.transitions import Transition

CRITICAL = """<h2>Critical exponents</h2>
<p>If a transition is a critical point, its exponents obey the hyperscaling law ν* = 2 − α, and a test of that can fail.
It needs runs of several sizes (<code>llckit criticality RUNS.csv</code>), since exponents say how a transition changes
with the number of degrees of freedom. One run shows less: the effective dimension d = 2 LLC on both sides, how the LLC
sets out over training time (exponent b of |LLC − LLC before| against ln t − ln t<sub>c</sub>, where it has a singular
onset at all), and whether the heat capacity Var[nβL] exceeds the LLC, as it does where chains see two basins.</p>"""


def exponents_section(curve: LLCCurve, transitions: Sequence[Transition]) -> str:
    """What each stage says as a critical point, the verdict, and what would decide."""
    if not transitions:
        return ""
    details = curve.details if {"llc_variance", "ess"} <= curve.details.keys() else {}
    found = [
        local_exponents(
            step=curve.step,
            llc=np.where(curve.is_minimum, curve.llc, np.nan),
            start=max(stage.start, float(curve.step[0])),
            end=min(stage.end, float(curve.step[-1])),
            llc_se=curve.mcse,
            llc_variance=details.get("llc_variance"),
            ess=details.get("ess"),
        )
        for stage in transitions
    ]
    columns = [
        "stage",
        "d before",
        "d after",
        "form",
        "exponent b",
        "t_c at step",
        "heat capacity / LLC − 1",
        "verdict",
    ]
    rows = [
        [
            str(index),
            estimate(one.effective_dimension_before, one.effective_dimension_before_se),
            estimate(one.effective_dimension_after, one.effective_dimension_after_se),
            one.form or MISSING,
            _exponent(one),
            MISSING if one.critical_step is None else step_cell(one.critical_step),
            MISSING
            if one.heat_excess is None or one.heat_excess_se is None
            else estimate(one.heat_excess, one.heat_excess_se),
            one.verdict,
        ]
        for index, one in enumerate(found, 1)
    ]
    reasons = [f"<li>Stage {index}: {escape(one.reason)}</li>" for index, one in enumerate(found, 1)]
    needed = [
        f"<li>{escape(line)}</li>" for line in found[int(np.argmax([abs(t.delta_llc) for t in transitions]))].needed
    ]
    parts = [
        CRITICAL,
        html_table("Stages as critical points in training time, exponents with 90 % intervals", columns, rows),
        "<p>The hyperscaling law: <strong>inconclusive</strong>.</p>",
        "<ul>",
        *reasons,
        "</ul>",
        "<p>What would decide, for the stage in which the LLC moves most:</p>",
        "<ul>",
        *needed,
        "</ul>",
    ]
    return "\n".join(parts)


def _exponent(found: LocalExponents) -> str:
    if found.exponent is None or found.exponent_interval is None:
        return MISSING
    low, high = ("open" if end is None else number(end, 2) for end in found.exponent_interval)
    return f"{number(found.exponent, 2)}\n({low}–{high})"
