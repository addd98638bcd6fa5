"""`llckit report`: which curve is the main one, and spectrograms that do not fit."""

import numpy as np
import pytest
from torch import nn

import llckit as lk
from llckit.cli import main


@pytest.mark.slow
def test_a_short_curve_beside_a_long_one_is_not_the_reports_main(tmp_path, capsys, monkeypatch):
    steps = [round(1.25**k) for k in range(8, 48)]
    long = lk.LLCCurve(
        np.array(steps), np.linspace(3, 1, 40), np.linspace(10, 20, 40), np.full(40, 0.1), None, {}, behavioral=True
    )
    short = lk.LLCCurve(np.array(steps[:1]), np.ones(1), np.ones(1), None, None, {})
    lk.CheckpointStore(tmp_path / "run.ckpts").save(0, nn.Linear(1, 1))
    monkeypatch.setattr("llckit.cli.report.kept_curves", lambda _: {False: short, True: long})
    page = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "run.ckpts"), "-o", str(page)]) == 0
    assert "40 checkpoints" in page.read_text(encoding="utf-8")
    monkeypatch.setattr("llckit.cli.report.kept_curves", lambda _: {False: short})
    assert main(["report", str(tmp_path / "run.ckpts"), "-o", str(tmp_path / "other.html")]) == 2
    assert "without --steps" in capsys.readouterr().err
