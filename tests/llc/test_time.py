"""Limits of time: what a deadline cuts short, what is chosen by it, and what is made anew without it."""

import math
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.llc.cost import MODEST
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.settings import SPEED, Budget
from tests.cases import mean_squared_error

SCALE = {"n_beta": 30.0, "localization": 1.0, "progress": False}


@pytest.fixture
def regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 3, generator=generator)
    # Of two layers, since the virial tells the LLC of a regular model at once, whatever the time.
    model = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False))
    return model, (inputs, model(inputs).detach()), mean_squared_error


class Clock:
    """A clock that moves by a second at every look."""

    def __init__(self):
        self.now = 1000.0

    def time(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "time", clock.time)
    return clock


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_a_deadline_ends_the_draws_and_is_recorded(regression):
    short, long = (lk.estimate_llc(*regression, **SCALE, rel_tol=1e-4, max_seconds=s) for s in (60, 300))
    assert short.how_found.is_cut
    assert long.how_found.is_cut
    assert short.outcome is lk.Outcome.BUDGET_EXHAUSTED or not short.outcome.trusted
    assert 0 < short.how_found.num_draws < long.how_found.num_draws
    assert math.isfinite(short.llc)
    assert long.mcse < short.mcse
    assert lk.LLCEstimate.from_dict(short.to_dict()).how_found.is_cut


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_the_same_counts_give_the_same_bits_without_a_deadline(regression):
    cut = lk.estimate_llc(*regression, **SCALE, rel_tol=1e-4, max_seconds=60, num_chains=4)
    counts = {"num_burnin": cut.how_found.num_burnin, "num_draws": cut.how_found.num_draws}
    again = lk.estimate_llc(*regression, **SCALE, num_chains=4, **counts)
    assert again.llc == cut.llc
    assert not again.how_found.is_cut
    np.testing.assert_array_equal(again.trace.excess, cut.trace.excess)


@pytest.mark.slow
def test_without_a_deadline_nothing_is_cut(regression):
    assert not lk.estimate_llc(*regression, **SCALE, rel_tol=0.1).how_found.is_cut


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_an_estimate_cut_short_is_made_anew_when_there_is_time(regression, tmp_path):
    model, data, loss_fn = regression
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in range(3):
        store.save(step, model)
    task = lk.Task(model, data, loss_fn)
    limited = lk.estimate_curve(store, task, **SCALE, rel_tol=0.02, max_seconds=150)
    with_time = lk.estimate_curve(store, task, **SCALE, rel_tol=0.02)
    assert (with_time.mcse <= limited.mcse).all()
    assert (with_time.mcse < limited.mcse).any()
    kept = lk.estimate_curve(store, task, **SCALE, rel_tol=0.02, max_seconds=150)
    np.testing.assert_array_equal(kept.llc, with_time.llc)


@pytest.mark.slow
@pytest.mark.usefixtures("clock")
def test_scales_and_the_choice_share_the_time_of_a_run(regression, tmp_path):
    model, data, loss_fn = regression
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in range(2):
        store.save(step, model)
    task = lk.Task(model, data, loss_fn)
    settings = {"localization": 1.0, "rel_tol": 1e-4, "max_seconds": 600, "progress": False}
    cells = lk.estimate_curve(store, task, n_beta=[10.0, 30.0, 90.0], **settings)
    assert np.ptp(cells.mcse / cells.llc, axis=1).max() < 0.5 * (cells.mcse / cells.llc).min(), "all had alike"
    chosen = lk.estimate_curve(store, task, **settings)
    one = lk.estimate_curve(store, task, n_beta=30.0, **settings)
    assert (chosen.mcse / chosen.llc < 2 * one.mcse / one.llc).all(), "the choice left most of the time"


def test_seconds_decide_between_methods_by_a_nominal_speed():
    assert Budget.of(None, 1.0).affordable == pytest.approx(SPEED, rel=0.1)
    assert Budget.of(None, None).affordable == Budget.of(None, 1e4).affordable == MODEST


def test_what_was_taken_is_left_no_more():
    budget = Budget(operations=1e10, at_most=3000).after(1000, 5e6)
    assert budget.operations == 5e9
    assert budget.at_most == 2000
    assert budget.allows(1000, 5e6)
    assert not budget.allows(1001, 5e6)
    assert not budget.allows(2001, 1.0)
    given = Budget(max_grad_evals=1000).after(400, 1e30)
    assert given.allows(600, 1e30)
    assert not given.allows(601, 1.0)


@pytest.mark.parametrize("seconds", [0, -1, math.nan, "5", True])
def test_wrong_seconds_are_refused(regression, seconds):
    with pytest.raises(InputError, match=r"max_seconds is .*expected a positive number"):
        lk.estimate_llc(*regression, **SCALE, max_seconds=seconds)


def test_parts_of_a_budget():
    budget = Budget.of(50, 100.0)
    assert budget.grad_evals(1e30) == 50
    assert budget.share(0.25).seconds_left == pytest.approx(25, abs=1)
    assert Budget().share(0.25).is_open
    assert Budget().grad_evals(1.0) == Budget().at_most
    assert Budget().grad_evals(1e30, 200) == 200
    assert Budget().grad_evals(1e9) == MODEST / 1e9


@pytest.fixture
def interactive(monkeypatch):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)


def interrupting(after):
    """A function to observe during whose nth evaluation Ctrl-C is pressed."""
    seen = []

    def observed(model):
        seen.append(1)
        if len(seen) == after:
            raise KeyboardInterrupt
        return model[0].weight.sum()

    return {"sum": observed}


@pytest.mark.slow
@pytest.mark.usefixtures("interactive")
def test_in_a_notebook_ctrl_c_gives_the_draws_that_are_there(regression):
    settings = {**SCALE, "num_chains": 2, "rel_tol": 1e-3}
    found = lk.estimate_llc(*regression, **settings, observe=interrupting(161))
    assert 75 <= found.how_found.num_draws <= 80
    assert found.how_found.is_cut
    assert found.trace.is_interrupted
    whole = lk.estimate_llc(*regression, **settings, num_draws=found.how_found.num_draws)
    assert found.llc == whole.llc


@pytest.mark.slow
@pytest.mark.usefixtures("interactive")
def test_ctrl_c_ends_a_search_with_what_it_has_found(regression):
    found = lk.estimate_llc(*regression, num_chains=2, progress=False, observe=interrupting(161))
    assert found.grad_evals_total == found.how_found.grad_evals, "no further scale was begun"
    assert math.isfinite(found.mcse)


@pytest.mark.slow
def test_in_a_script_ctrl_c_ends_the_script(regression):
    with pytest.raises(KeyboardInterrupt):
        lk.estimate_llc(*regression, **SCALE, num_chains=2, observe=interrupting(161))


@pytest.mark.slow
@pytest.mark.parametrize("is_interactive", [True, False])
def test_what_ctrl_c_leaves_of_a_curve(regression, tmp_path, monkeypatch, capsys, is_interactive):
    model, data, loss_fn = regression
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in range(4):
        store.save(step, {name: weight + 0.01 * step for name, weight in model.state_dict().items()})
    task = lk.Task(model, data, loss_fn)
    made = []

    def estimate(*args, **rest):
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return estimate_checkpoint(*args, **rest)

    monkeypatch.setattr(sys.modules["llckit.llc.estimate_curve"], "estimate_checkpoint", estimate)
    settings = {**SCALE, "num_draws": 20, "num_burnin": 10}
    if is_interactive:
        monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
        curve = lk.estimate_curve(store, task, **settings)
        assert curve.step.tolist() == [0, 1]
        assert "interrupted: this is 2 of 4 checkpoints" in capsys.readouterr().out
    else:
        with pytest.raises(KeyboardInterrupt):
            lk.estimate_curve(store, task, **settings)
    assert lk.estimate_curve(store, task, **settings).step.tolist() == [0, 1, 2, 3]
    assert len(made) == 5, "what was done is not done again"
