"""Limits of time: what a deadline cuts short, what is chosen by it, and what is made anew without it."""

import dataclasses
import math
import time

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.llc.settings import SPEED, Budget
from tests.cases import mean_squared_error

SCALE = {"n_beta": 30.0, "localization": 1.0, "progress": False}


@pytest.fixture
def regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 3, generator=generator)
    model = nn.Linear(3, 2, bias=False)
    return model, (inputs, inputs @ model.weight.detach().T), mean_squared_error


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


@pytest.mark.usefixtures("clock")
def test_the_same_counts_give_the_same_bits_without_a_deadline(regression):
    cut = lk.estimate_llc(*regression, **SCALE, rel_tol=1e-4, max_seconds=60, num_chains=4)
    counts = {"num_burnin": cut.how_found.num_burnin, "num_draws": cut.how_found.num_draws}
    again = lk.estimate_llc(*regression, **SCALE, num_chains=4, **counts)
    assert again.llc == cut.llc
    assert not again.how_found.is_cut
    np.testing.assert_array_equal(again.trace.excess, cut.trace.excess)


def test_without_a_deadline_nothing_is_cut(regression):
    assert not lk.estimate_llc(*regression, **SCALE, rel_tol=0.1).how_found.is_cut


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
    assert Budget.of(None, 10.0).operations == pytest.approx(10 * SPEED, rel=0.1)
    assert Budget.of(None, None).operations == math.inf


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
    assert Budget().grad_evals(1e30) == 200
    assert dataclasses.replace(budget, max_grad_evals=None).grad_evals(1e9) == 5000
