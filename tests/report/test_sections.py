"""The sections of the page: stages, exponents, scales, diagnostics and settings."""

from dataclasses import replace

import numpy as np
import pytest

from llckit.llc import Outcome, Spectrogram
from llckit.transitions import Move

from .pages import HOSTILE, STAGES, Page, make_curve, make_stage, written


@pytest.mark.slow
def test_tables_hold_every_stage_and_every_checkpoint(full):
    stages, exponents, behavioral, diagnostics, settings = Page(full).tables
    assert len(stages) == len(exponents) == 1 + len(STAGES)
    assert len(behavioral) == len(diagnostics) == 1 + 16
    assert len(settings) == 7
    text = Page(full).text
    for word in (
        "135.2",
        "samples 924",
        "rule n/ln n",
        "a <note>",
        "10.00 ± 0.12",
        "−510",
        "training loss",
        "chains 2",
    ):
        assert word in text


@pytest.mark.slow
def test_what_moves_and_the_free_energy_are_told(tmp_path):
    moves = (Move(HOSTILE, 200, 900, 614.0, (600.0, 630.0), 0.97, 0.013),)
    stages = (STAGES[0], make_stage(150, 1400, "B", 0.02, -510, moves=moves))
    text = written(tmp_path, make_curve(), stages)
    Page(text)
    assert "0.01</td>" in text
    assert "0.01</td>" not in written(tmp_path / "without", make_curve(), STAGES)
    assert "<script>alert" not in text
    # 430 ln n = 2.5 n and 510 ln n = 0.02 n
    assert "wins from n = 1223 " in text
    assert "wins up to n = 323519 " in text


@pytest.mark.slow
def test_exponents_are_inconclusive_and_what_would_decide_is_told(full, tmp_path):
    text = Page(full).text
    assert text.count("inconclusive") == 1 + len(STAGES)
    for index in range(1, len(STAGES) + 1):
        assert f"Stage {index}: One run has one size" in text
    assert "20 seeds of each" in text
    assert "Critical exponents" not in written(tmp_path, make_curve(), ())
    foreign = replace(make_curve(), details={}, mcse=None)
    assert "inconclusive" in written(tmp_path / "foreign", foreign, STAGES)


@pytest.mark.slow
def test_a_spectrogram_is_drawn_with_its_transitions(tmp_path):
    curve = make_curve(steps=24)
    rise = replace(curve, llc=np.where(curve.step > 100, 20.0, 10.0), mcse=None, llc_per_chain=None)
    scales = [replace(rise, details=curve.details | {"n_beta": np.full(24, x)}) for x in (5.0, 50.0)]
    page = Page(written(tmp_path, curve, (), spectrogram=Spectrogram(tuple(scales))))
    assert page.count("svg") == 2
    assert "2 of 2" in page.text
    flat = [replace(one, llc=np.full(24, 10.0)) for one in scales]
    assert "No transition was found at any scale" in written(
        tmp_path / "flat", curve, (), spectrogram=Spectrogram(tuple(flat))
    )


@pytest.mark.slow
def test_failed_estimates_stand_out_with_advice(tmp_path):
    curve = make_curve()
    outcome, llc = list(curve.outcome), curve.llc.copy()
    outcome[2], outcome[4], outcome[6] = Outcome.NOT_A_MINIMUM, Outcome.BUDGET_EXHAUSTED, Outcome.DIVERGED
    llc[6] = np.nan
    page = Page(written(tmp_path, replace(curve, outcome=tuple(outcome), llc=llc), STAGES))
    assert [row for row, mark in enumerate(page.tables[2][1:]) if mark == "doubtful"] == [2, 6]
    assert "2 of the 16 estimates failed a check" in page.text
    for kind in (Outcome.NOT_A_MINIMUM, Outcome.DIVERGED, Outcome.BUDGET_EXHAUSTED):
        assert kind.advice in page.text


@pytest.mark.slow
def test_estimates_that_depend_on_their_scale_are_marked_and_are_no_failures(tmp_path):
    curve = make_curve()
    outcome = list(curve.outcome)
    outcome[2], outcome[4] = Outcome.SCALE_DEPENDENT, Outcome.NOT_A_MINIMUM
    page = Page(written(tmp_path, replace(curve, outcome=tuple(outcome)), STAGES))
    assert {row: mark for row, mark in enumerate(page.tables[2][1:]) if mark} == {2: "scale-dependent", 4: "doubtful"}
    assert "1 of the 16 estimates depend on the scale" in page.text
    assert "1 of the 16 estimates failed a check" in page.text
    assert Outcome.SCALE_DEPENDENT.advice in page.text


@pytest.mark.slow
def test_a_bare_curve_without_transitions_makes_a_page(tmp_path):
    curve = replace(make_curve(), mcse=None, llc_per_chain=None, details={}, outcome=None)
    page = Page(written(tmp_path, curve, ()))
    assert "No transition was found" in page.text
    assert [len(table) for table in page.tables] == [17, 4]
    assert "nβ unknown" in page.text


@pytest.mark.slow
def test_a_curve_without_any_value_makes_a_page(tmp_path):
    curve = make_curve()
    page = Page(written(tmp_path, replace(curve, llc=np.full(16, np.nan), mcse=np.full(16, np.nan)), ()))
    assert "nan" not in page.text.lower().split()
    assert "16 of the 16 estimates failed" in page.text


@pytest.mark.slow
def test_settings_that_differ_along_the_curve_are_called_out(tmp_path):
    curve = make_curve()
    curve.details["n_beta"][3] = 60.0
    assert "60.00 to 135.2: values are not comparable" in Page(written(tmp_path, curve, ())).text
