"""The table of checkpoints: one line is one column, and columns without values are left out."""

from dataclasses import replace

import numpy as np
import pytest

from llckit.llc.curve import NUMBERS
from llckit.report import checkpoint_table
from llckit.report.checkpoint_table import CHECKPOINT_COLUMNS
from llckit.report.html_table import Column
from llckit.report.numbers import number

from .pages import Page, make_curve, written


def headings(table):
    return [cell for cell in Page(table).words if cell.strip()]


@pytest.mark.slow
def test_one_line_is_one_column_of_the_report(tmp_path, monkeypatch):
    line = Column("test accuracy", lambda row: number(row.recorded["accuracy"], 3))
    monkeypatch.setattr(checkpoint_table, "CHECKPOINT_COLUMNS", (*CHECKPOINT_COLUMNS, line))
    curve = replace(make_curve(), recorded={"accuracy": np.linspace(0.125, 1, 16)})
    page = written(tmp_path, curve, ())
    assert '<th scope="col">test accuracy</th></tr>' in page
    assert "<td>0.125</td></tr>" in page
    assert page.count("<td>1.00</td></tr>") == 1


@pytest.mark.parametrize("name", ["rhat", "ess", "grad_norm", "llc_variance"])
def test_a_column_without_values_is_left_out(name):
    curve = make_curve()
    full = checkpoint_table.checkpoint_table(curve)
    unknown = replace(curve, details=curve.details | {name: np.full(len(curve), np.nan)})
    absent = replace(curve, details={key: values for key, values in curve.details.items() if key != name})
    assert checkpoint_table.checkpoint_table(unknown) == checkpoint_table.checkpoint_table(absent)
    assert full.count('<th scope="col"') == 1 + checkpoint_table.checkpoint_table(absent).count('<th scope="col"')


def test_every_column_shows_what_curves_keep():
    curve = make_curve()
    curve = replace(curve, details={name: np.ones(len(curve)) for name in NUMBERS})
    shown = headings(checkpoint_table.checkpoint_table(curve))
    assert {column.heading for column in CHECKPOINT_COLUMNS} - {*shown} == {"LLC"}  # it comes with its error


def test_a_curve_without_errors_and_outcomes_has_a_plain_table():
    curve = replace(make_curve(), mcse=None, outcome=None, details={})
    assert headings(checkpoint_table.checkpoint_table(curve))[1:4] == ["step", "loss", "LLC"]
