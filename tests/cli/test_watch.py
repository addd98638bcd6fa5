"""`llckit watch`: what it tells, when, and how it ends."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.cli import main, watch
from llckit.transitions.synthetic import planted_curve

TASK = """
import torch
from torch import nn
import llckit as lk

inputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
task = lk.Task(nn.Linear(4, 2), (inputs, inputs[:, :2]), lambda m, b: (m(b[0]) - b[1]).square().mean(1))
"""


def curve(points: int, llc: np.ndarray, loss: np.ndarray, step: np.ndarray) -> lk.LLCCurve:
    return lk.LLCCurve(step[:points].astype(int), loss[:points], llc[:points], None, None, {})


def test_each_transition_is_told_once_with_its_delay():
    step = np.unique(np.geomspace(1, 20_000, 80).round()) - 1
    planted = planted_curve(step, [40, 2000], [25, -20], [-3, -0.02], llc_noise=0.5, loss_noise=0.01)
    news = watch.News()
    told = {int(step[k - 1]): news.of(curve(k, planted.llc, planted.loss, step)) for k in range(1, len(step) + 1)}
    lines = [line for found in told.values() for line in found]
    assert [line.split(" type ")[1][0] for line in lines] == ["A", "B"]
    first, second = (now for now, found in told.items() if found)
    assert 20 < first < 400
    assert 2000 * np.exp(-4 * 0.3) < second < 6000  # the decline begins four widths before it is steepest
    # the delay is to the steepest point seen so far
    steepest, delay = (float(lines[1].split(mark)[1].split()[0]) for mark in ("steepest at ", "told "))
    assert abs(steepest + delay - second) <= 1
    assert "hidden" in lines[1]
    assert news.summary().startswith("transitions: A ")


def test_a_stricter_bound_tells_later():
    step = np.unique(np.geomspace(1, 20_000, 80).round()) - 1
    planted = planted_curve(step, [2000], [-6], [-0.02], llc_noise=1.0, loss_noise=0.01)

    def told_at(bound):
        news = watch.News(false_boundaries=bound)
        return next(k for k in range(1, len(step) + 1) if news.of(curve(k, planted.llc, planted.loss, step)))

    assert told_at(1e-5) > told_at(0.1)


def test_a_transition_that_goes_away_is_withdrawn(monkeypatch):
    step, flat = np.arange(10), np.zeros(10)
    moves = list(lk.detect_transitions(planted_curve(np.arange(200), [30], [20], [-3], llc_noise=0.1)))
    monkeypatch.setattr(watch, "detect_transitions", lambda _, **__: moves)
    news = watch.News()
    assert len(news.of(curve(10, flat, flat, step))) == 1
    assert news.of(curve(10, flat, flat, step)) == []
    moves.clear()
    (line,) = news.of(curve(10, flat, flat, step))
    assert "type A" in line
    assert "is withdrawn" in line
    assert news.summary() == "no transition"


def test_too_few_estimates_are_no_news():
    step = np.arange(7)
    assert watch.News().of(curve(7, step * 1.0, step * 1.0, step)) == []


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(watch, "POLL", 0.05)
    (tmp_path / "task.py").write_text(TASK)
    return tmp_path


def test_checkpoints_are_estimated_as_they_appear(place, capsys, monkeypatch):
    torch.manual_seed(0)
    store = lk.CheckpointStore("run.ckpts")
    store.save(0, nn.Linear(4, 2))
    printed = threading.Event()
    real = watch._row

    def row(*given):
        printed.set()
        return real(*given)

    monkeypatch.setattr(watch, "_row", row)
    later = {step: nn.Linear(4, 2) for step in (5, 10)}

    def train():
        assert printed.wait(60)  # the run goes on once its first checkpoint has been seen
        for step, model in later.items():
            store.save(step, model)

    trainer = threading.Thread(target=train)
    trainer.start()
    scale = ["--n-beta", "10", "--localization", "1"]
    code = main(["watch", "run.ckpts", "--task", "task.py:task", *scale, "--idle", "1"])
    trainer.join()
    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines[:-1]] == ["0", "5", "10"]
    assert lines[-1] == "nothing new for 1 s: 3 checkpoints, no transition"
    # what was estimated is kept like any estimate
    curve = lk.estimate_curve(store, lk.load_task("task.py:task"), n_beta=10, localization=1, progress=False)
    assert [f"{llc:.4g}" for llc in curve.llc] == [line.split()[2] for line in lines[:-1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.ckpts", "--task", "task.py:task"], "missing.ckpts does not exist"),
        (["run.h5", "--task", "task.py:task"], "to which nothing is added"),
        (["run.ckpts", "--task", "task.py:task", "--idle", "0"], "--idle is 0"),
        (["run.ckpts", "--task", "task.py:task", "--false-boundaries", "2"], "at most 0.15"),
        (["run.ckpts", "--task", "task.py:nothing"], "does not define nothing"),
    ],
)
def test_wrong_input(place, capsys, arguments, message):
    store = lk.CheckpointStore("run.ckpts")
    store.save(0, nn.Linear(4, 2))
    store.export("run.h5")
    assert main(["watch", *arguments]) == 2
    assert message in capsys.readouterr().err
