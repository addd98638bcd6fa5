import csv

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk

QUICK = {"num_chains": 2, "num_burnin": 4, "num_draws": 8, "progress": False}


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


@pytest.fixture
def store(tmp_path):
    made = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in (0, 10, 20):
        made.save(step, nn.Linear(3, 2))
    return made


@pytest.fixture
def task():
    inputs = torch.randn(40, 3)
    return lk.Task(nn.Linear(3, 2), (inputs, inputs[:, :2]), squared)


def test_cells_are_those_of_the_single_curves(store, task):
    ladder = [3.0, 30.0, 300.0, 3000.0]
    found = lk.estimate_curve(store, lk.behavioral_task(task), n_beta=ladder, **QUICK)
    assert found.llc.shape == found.mcse.shape == found.is_minimum.shape == (3, 4)
    assert found.llc_per_chain.shape == (3, 4, 2)
    assert found.n_beta.tolist() == ladder
    assert found.behavioral
    one = lk.estimate_curve(store, lk.behavioral_task(task), n_beta=30.0, localization=found.localization, **QUICK)
    np.testing.assert_array_equal(found.llc[:, 1], one.llc)
    np.testing.assert_array_equal(found.loss, one.loss)


def test_one_localization_for_all_scales_that_of_a_plain_curve(store, task):
    plain = lk.estimate_curve(store, task, **QUICK)
    found = lk.estimate_curve(store, task, n_beta=np.array([1.0, 10.0]), **QUICK)
    assert found.localization == plain.details["localization"][0]


def test_scales_at_which_a_checkpoint_is_no_minimum_are_marked(store, task):
    found = lk.estimate_curve(store, task, n_beta=[1e-3, 1e3], localization=1e-3, num_chains=4, progress=False)
    assert not found.is_minimum[:, 1].any()  # random weights


def test_its_table_has_a_line_a_cell(store, task, tmp_path):
    found = lk.estimate_curve(store, task, n_beta=[1.0, 10.0], **QUICK)
    found.to_csv(tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["n_beta"])) for row in rows] == [(s, b) for s in (0, 10, 20) for b in (1, 10)]
    np.testing.assert_array_equal([float(row["llc"]) for row in rows], found.llc.ravel())
    with pytest.raises(lk.InputError, match="exists already"):
        found.to_csv(tmp_path / "cells.csv")


@pytest.mark.parametrize("wrong", [[], [2.0, 1.0], [-1.0, 1.0]])
def test_wrong_ladders_are_refused_before_sampling(store, task, wrong):
    with pytest.raises(lk.InputError, match="n_beta is"):
        lk.estimate_curve(store, task, n_beta=wrong, **QUICK)
