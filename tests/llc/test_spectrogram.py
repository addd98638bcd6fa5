import csv

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import Spectrogram, read_curve
from tests.cases import mean_squared_error

QUICK = {"num_chains": 2, "num_burnin": 4, "num_draws": 8, "progress": False}


@pytest.fixture
def store(tmp_path):
    made = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in (0, 10, 20):
        made.save(step, nn.Linear(3, 2))
    return made


@pytest.fixture
def task():
    inputs = torch.randn(40, 3)
    return lk.Task(nn.Linear(3, 2), (inputs, inputs[:, :2]), mean_squared_error)


@pytest.mark.slow
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


@pytest.mark.slow
def test_one_localization_for_all_scales_that_of_a_plain_curve(store, task):
    plain = lk.estimate_curve(store, task, **QUICK)
    found = lk.estimate_curve(store, task, n_beta=np.array([1.0, 10.0]), **QUICK)
    assert found.localization == plain.details["localization"][0]


@pytest.mark.slow
def test_scales_at_which_a_checkpoint_is_no_minimum_are_marked(store, task):
    found = lk.estimate_curve(store, task, n_beta=[1e-3, 1e3], localization=1e-3, num_chains=4, progress=False)
    assert not found.is_minimum[:, 1].any()  # random weights


@pytest.mark.slow
def test_its_table_has_a_line_a_cell(store, task, tmp_path):
    found = lk.estimate_curve(store, task, n_beta=[1.0, 10.0], **QUICK)
    found.to_csv(tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["n_beta"])) for row in rows] == [(s, b) for s in (0, 10, 20) for b in (1, 10)]
    np.testing.assert_array_equal([float(row["llc"]) for row in rows], found.llc.ravel())
    with pytest.raises(lk.InputError, match="exists already"):
        found.to_csv(tmp_path / "cells.csv")


@pytest.mark.slow
def test_its_table_is_read_back_whole_whatever_the_order_of_its_lines(store, task, tmp_path):
    found = lk.estimate_curve(store, task, n_beta=[1.0, 10.0], **QUICK)
    found.to_csv(tmp_path / "cells.csv")
    header, *lines = (tmp_path / "cells.csv").read_text().splitlines()
    (tmp_path / "scales.csv").write_text("\n".join([header, *lines[1::2], *lines[::2]]))
    for name in ("cells.csv", "scales.csv"):
        read = read_curve(tmp_path / name)
        assert isinstance(read, Spectrogram)
        for column in ("step", "loss", "n_beta", "llc", "mcse", "llc_variance", "llc_per_chain", "is_minimum"):
            np.testing.assert_array_equal(getattr(read, column), getattr(found, column))
        assert read.localization == found.localization
    found.curves[0].to_csv(tmp_path / "curve.csv")
    assert isinstance(read_curve(tmp_path / "curve.csv"), lk.LLCCurve)
    with pytest.raises(lk.InputError, match="two or more"):
        Spectrogram.from_csv(tmp_path / "curve.csv")


CELLS = ["0,1,5,1", "0,1,6,10", "3,1,4,1", "3,1,7,10"]


def test_a_strangers_table_needs_no_more_than_four_columns(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("\n".join(["step,loss,llc,n_beta", *CELLS]))
    read = read_curve(path)
    assert isinstance(read, Spectrogram)
    assert read.llc.tolist() == [[5, 6], [4, 7]]
    assert read.mcse is None
    assert read.llc_per_chain is None
    assert read.localization is None
    assert read.llc_variance is None


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        ("step,loss,llc,n_beta", CELLS[:3], "different steps"),
        ("step,loss,llc,n_beta", [*CELLS, "3,1,7,10"], "each once"),
        ("step,loss,llc,n_beta", [*CELLS, "4,1,7,"], "line 6: column n_beta is empty"),
        ("step,loss,llc,scale", CELLS, "no column n_beta"),
        ("step,loss,lambda,n_beta", CELLS, "no column llc"),
    ],
)
def test_incomplete_tables_are_refused(tmp_path, header, lines, message):
    path = tmp_path / "cells.csv"
    path.write_text("\n".join([header, *lines]))
    with pytest.raises(lk.InputError, match=message):
        Spectrogram.from_csv(path)


@pytest.mark.parametrize("wrong", [[], [2.0, 1.0], [-1.0, 1.0]])
def test_wrong_ladders_are_refused_before_sampling(store, task, wrong):
    with pytest.raises(lk.InputError, match="n_beta is"):
        lk.estimate_curve(store, task, n_beta=wrong, **QUICK)
