"""What `llckit watch` reports about transitions, and when."""

import numpy as np
import pytest

import llckit as lk
from llckit.cli import news
from llckit.cli.news import News
from llckit.transitions.synthetic import planted_curve


def curve(points: int, llc: np.ndarray, loss: np.ndarray, step: np.ndarray) -> lk.LLCCurve:
    return lk.LLCCurve(step[:points].astype(int), loss[:points], llc[:points], None, None, {})


@pytest.mark.slow
def test_each_transition_is_reported_once_with_its_delay():
    step = np.unique(np.geomspace(1, 20_000, 80).round()) - 1
    planted = planted_curve(step, [40, 2000], [25, -20], [-3, -0.02], llc_noise=0.5, loss_noise=0.01)
    reports = News()
    lines_at = {
        int(step[k - 1]): reports.of(curve(k, planted.llc, planted.loss, step)) for k in range(1, len(step) + 1, 2)
    }
    lines = [line for found in lines_at.values() for line in found]
    assert [line.split(" type ")[1][0] for line in lines] == ["A", "B"]
    first, second = (now for now, found in lines_at.items() if found)
    assert 20 < first < 400
    assert 2000 * np.exp(-4 * 0.3) < second < 6000  # the decline begins four widths before it is steepest
    # the delay is to the steepest point seen so far
    steepest, delay = (float(lines[1].split(mark)[1].split()[0]) for mark in ("steepest at ", "reported "))
    assert abs(steepest + delay - second) <= 1
    assert "hidden" in lines[1]
    assert reports.summary().startswith("transitions: A ")


@pytest.mark.slow
def test_a_stricter_bound_reports_later():
    step = np.unique(np.geomspace(1, 20_000, 80).round()) - 1
    planted = planted_curve(step, [2000], [-6], [-0.02], llc_noise=1.0, loss_noise=0.01)

    def reported_at(bound):
        reports = News(false_boundaries=bound)
        return next(k for k in range(1, len(step) + 1) if reports.of(curve(k, planted.llc, planted.loss, step)))

    assert reported_at(1e-5) > reported_at(0.1)


@pytest.mark.slow
def test_a_transition_that_goes_away_is_withdrawn(monkeypatch):
    step, flat = np.arange(10), np.zeros(10)
    moves = list(lk.detect_transitions(planted_curve(np.arange(200), [30], [20], [-3], llc_noise=0.1)))
    monkeypatch.setattr(news, "detect_transitions", lambda _, **__: moves)
    reports = News()
    assert len(reports.of(curve(10, flat, flat, step))) == 1
    assert reports.of(curve(10, flat, flat, step)) == []
    moves.clear()
    (line,) = reports.of(curve(10, flat, flat, step))
    assert "type A" in line
    assert "is withdrawn" in line
    assert reports.summary() == "no transition"


def test_too_few_estimates_are_no_news():
    step = np.arange(7)
    assert News().of(curve(7, step * 1.0, step * 1.0, step)) == []
