"""What `estimate_llc` and `scale_profile` take: model, data and loss, or a task that holds them."""

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from tests.cases import mean_squared_error

QUICK = {"n_beta": 20.0, "num_chains": 2, "num_burnin": 5, "num_draws": 8, "progress": False}


def problem():
    torch.manual_seed(0)
    x = torch.randn(50, 3)
    return nn.Linear(3, 2), (x, x[:, :2]), mean_squared_error


@pytest.mark.slow
def test_a_task_gives_what_its_parts_give():
    alone, parts = lk.estimate_llc(lk.Task(*problem()), **QUICK), lk.estimate_llc(*problem(), **QUICK)
    np.testing.assert_array_equal(alone.trace.excess, parts.trace.excess)
    assert alone.to_dict() == parts.to_dict()


@pytest.mark.parametrize("given", [{"behavioral": True}, {"params": "weight"}, {"behavioral": True, "params": "bias"}])
def test_options_of_the_task_s_weights_and_loss_hold_for_a_task_too(given):
    alone, parts = lk.estimate_llc(lk.Task(*problem()), **QUICK, **given), lk.estimate_llc(*problem(), **QUICK, **given)
    np.testing.assert_array_equal(alone.trace.excess, parts.trace.excess)


def test_a_behavioral_task_stays_behavioral():
    task = lk.behavioral_task(lk.Task(*problem()))
    assert lk.estimate_llc(task, **QUICK).how_found.behavioral
    assert lk.estimate_llc(task, params="weight", **QUICK).how_found.behavioral


@pytest.mark.slow
def test_a_profile_of_a_task():
    quick = QUICK | {"n_beta": [10.0, 20.0]}
    alone, parts = lk.scale_profile(lk.Task(*problem()), **quick), lk.scale_profile(*problem(), **quick)
    np.testing.assert_array_equal(alone.llc, parts.llc)


@pytest.mark.parametrize(
    "given", [{"data": torch.ones(5, 3)}, {"loss_fn": mean_squared_error}, {"n": 5}, {"device": "cpu"}]
)
def test_what_a_task_holds_is_not_given_again(given):
    (name,) = given
    with pytest.raises(lk.InputError, match=rf"^{name} given beside a Task; expected the Task alone"):
        lk.estimate_llc(lk.Task(*problem()), **given, **QUICK)


@pytest.mark.parametrize(
    ("given", "missing"),
    [([], "data and loss_fn"), ([torch.ones(5, 3)], "loss_fn"), ([None, mean_squared_error], "data")],
)
def test_what_is_missing_is_named(given, missing):
    with pytest.raises(lk.InputError, match=rf"^{missing} missing; expected a Task, or model, data and loss_fn"):
        lk.estimate_llc(problem()[0], *given, **QUICK)
