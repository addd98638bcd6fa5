"""`--compile` of `llckit estimate` and `llckit watch`."""

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.cli import main
from llckit.llc import kept_curves
from llckit.posterior import compiling, replay


@pytest.fixture
def made(linear_task, monkeypatch):
    """A store of one checkpoint and a task file; what was given to the compiler, which alters a little."""
    torch.manual_seed(0)
    lk.CheckpointStore("run.ckpts").save(0, nn.Linear(4, 2))
    given = []

    def compiled(module, inputs):
        given.append(module)
        return lambda *inputs: tuple(x * (1 + 1e-6) for x in module(*inputs))

    monkeypatch.setattr(compiling, "try_compiling", lambda kind: None)
    monkeypatch.setattr(compiling, "compiled", compiled)
    monkeypatch.setattr(replay, "WORTH", 3)
    return given


@pytest.mark.slow
def test_estimates_with_and_without_are_kept_apart(made):
    arguments = ["estimate", "run.ckpts", "--task", "task.py:task", "--behavioral", "--n-beta", "20"]
    curves, compiled_so_far = [], []
    for option in ([], ["--compile"], []):
        assert main([*arguments, *option, "--localization", "1"]) == 0
        curves.append(kept_curves(lk.CheckpointStore("run.ckpts"))[True])
        compiled_so_far.append(len(made))
    assert compiled_so_far[0] == 0 < compiled_so_far[1] == compiled_so_far[2]
    plain, compiled, again = (curve.llc_per_chain for curve in curves)
    assert np.array_equal(plain, again)
    assert not np.array_equal(plain, compiled)


@pytest.mark.slow
def test_a_run_is_followed_with_it(made):
    arguments = ["--n-beta", "20", "--localization", "1", "--behavioral", "--idle", "0.1", "--compile"]
    assert main(["watch", "run.ckpts", "--task", "task.py:task", *arguments]) == 0
    assert made
