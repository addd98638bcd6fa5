"""`llckit watch`: what it prints, and how it ends."""

import threading

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.cli import main, watch


@pytest.fixture
def place(linear_task, monkeypatch):
    monkeypatch.setattr(watch, "POLL", 0.05)
    return linear_task


@pytest.mark.slow
def test_checkpoints_are_estimated_as_they_appear(place, capsys, monkeypatch):
    torch.manual_seed(0)
    store = lk.CheckpointStore("run.ckpts")
    store.save(0, nn.Linear(4, 2))
    printed = threading.Event()
    real = watch.curve_row

    def row(*given):
        printed.set()
        return real(*given)

    monkeypatch.setattr(watch, "curve_row", row)
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
