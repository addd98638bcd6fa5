"""`estimate_curve`: what is computed, and what is refused before any work."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import kept_curves
from tests.cases import mean_squared_error
from tests.llc.curves import QUICK, assert_same, inputs, make_task

curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name


@pytest.mark.slow
def test_numbers_saved_with_the_checkpoints_stay_beside_the_curve(tmp_path):
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    store.save(0, nn.Linear(3, 2), loss=0.5, grokked=False, note="start", label=1)
    store.save(5, nn.Linear(3, 2), loss=np.float32(0.25), grokked=True, lr=1e-3, label="end")
    curve = lk.estimate_curve(store, make_task(), **QUICK)
    expected = {"loss": [0.5, 0.25], "grokked": [0, 1], "lr": [np.nan, 1e-3]}
    assert curve.recorded.keys() == expected.keys()
    for found in (curve, kept_curves(store)[False]):
        for name, values in expected.items():
            np.testing.assert_array_equal(found.recorded[name], values)
    assert curve.loss[0] != 0.5  # L(w*) on the task


@pytest.mark.slow
def test_a_second_call_computes_nothing_and_gives_the_same(store, calls):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 3
    again = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 3
    assert_same(first, again)


@pytest.mark.slow
def test_a_grown_store_adds_only_the_new_steps(store, calls):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    store.save(30, nn.Linear(3, 2))
    grown = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 4
    np.testing.assert_array_equal(grown.llc[:3], first.llc)
    assert len(set(grown.details["localization"])) == 1


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_ends_identical(store, calls, monkeypatch, tmp_path):
    counted = curves.estimate_checkpoint

    def interrupted(*args, **kwargs):
        if len(calls) == 2:
            raise KeyboardInterrupt
        return counted(*args, **kwargs)

    monkeypatch.setattr(curves, "estimate_checkpoint", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lk.estimate_curve(store, make_task(), **QUICK)
    monkeypatch.setattr(curves, "estimate_checkpoint", counted)
    resumed = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 3

    fresh = lk.CheckpointStore(tmp_path / "copy.ckpts")
    for step in store.steps:
        fresh.save(step, store.load(step), **store.metadata(step))
    assert_same(resumed, lk.estimate_curve(fresh, make_task(), **QUICK))


@pytest.mark.slow
def test_a_point_does_not_depend_on_its_neighbours(store):
    whole = lk.estimate_curve(store, make_task(), n_beta=10.0, localization=1.0, **QUICK)
    model = nn.Linear(3, 2)
    model.load_state_dict(store.load(20))
    alone = lk.estimate_llc(
        model, (inputs(), inputs()[:, :2]), mean_squared_error, n_beta=10.0, localization=1.0, **QUICK
    )
    assert alone.llc == whole.llc[2]


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"seed": 1}, {"num_draws": 9}, {"n_beta": 3.0}, {"localization": 9.0}])
def test_other_settings_are_other_results(store, calls, change):
    lk.estimate_curve(store, make_task(), **QUICK)
    lk.estimate_curve(store, make_task(), **(QUICK | change))
    assert len(calls) == 6


@pytest.mark.slow
def test_an_edited_loss_is_noticed_even_where_its_value_is_the_same(store, calls):
    lk.estimate_curve(store, make_task(), localization=1.0, **QUICK)
    lk.estimate_curve(store, make_task(lambda m, b: mean_squared_error(m, b) + 1), localization=1.0, **QUICK)
    assert len(calls) == 6  # another L(w*), the same gradient

    def tilted(model, batch):
        """Doubled gradient, the same value."""
        loss = mean_squared_error(model, batch)
        return 2 * loss - loss.detach()

    lk.estimate_curve(store, make_task(tilted), localization=1.0, **QUICK)
    assert len(calls) == 9


def test_a_loss_that_breaks_at_one_checkpoint_is_refused_before_sampling(store, calls):
    huge = {name: 1e30 * value for name, value in store.load(20).items()}
    store.save(15, huge)
    with pytest.raises(lk.InputError, match=r"step 15: .* the loss over all samples is inf"):
        lk.estimate_curve(store, make_task(), **QUICK)
    assert not calls


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"n_beta": "a"}, {"n_beta": True}, {"rel_tol": "a"}])
def test_wrong_arguments(store, wrong):
    with pytest.raises(lk.InputError, match=next(iter(wrong))):
        lk.estimate_curve(store, make_task(), **(QUICK | wrong))


def test_a_path_is_no_store(store):
    with pytest.raises(lk.InputError, match="CheckpointStore"):
        lk.estimate_curve(str(store.path), make_task())


def test_wrong_input_is_refused_before_any_work(store, calls, tmp_path):
    with pytest.raises(lk.InputError, match="no checkpoints"):
        lk.estimate_curve(lk.CheckpointStore(tmp_path / "empty"), make_task(), **QUICK)
    with pytest.raises(lk.InputError, match=r"steps \[5\] are not in"):
        lk.estimate_curve(store, make_task(), steps=[5, 10], **QUICK)
    with pytest.raises(lk.InputError, match=r"expected llckit\.Task"):
        lk.estimate_curve(store, nn.Linear(3, 2), **QUICK)  # type: ignore[arg-type]
    with pytest.raises(lk.InputError, match=r"step 0: .*weight: shape .*2, 3.*model has .*4, 3"):
        lk.estimate_curve(store, lk.Task(nn.Linear(3, 4), inputs(), lambda m, b: m(b).sum(1)), **QUICK)
    with pytest.raises(lk.InputError, match="n_beta"):
        lk.estimate_curve(store, make_task(), n_beta=-1.0, **QUICK)
    broken = nn.Linear(3, 2)
    with torch.no_grad():
        broken.bias[0] = float("nan")
    store.save(40, broken)
    with pytest.raises(lk.InputError, match=r"step 40: weights hold NaN or inf in bias"):
        lk.estimate_curve(store, make_task(), **QUICK)
    assert not calls


@pytest.mark.slow
def test_other_data_are_noticed_where_the_behavioral_loss_is_zero_all_the_same(store, calls):
    task = lk.behavioral_task(make_task())
    lk.estimate_curve(store, task, localization=1.0, n_beta=10, **QUICK)
    other = lk.Task(nn.Linear(3, 2), (inputs() + 1, inputs()[:, :2]), mean_squared_error)
    lk.estimate_curve(store, lk.behavioral_task(other), localization=1.0, n_beta=10, **QUICK)
    assert len(calls) == 6


@pytest.mark.slow
def test_other_entries_of_a_parameter_are_other_results(store, calls):
    for entries in (slice(0, 1), slice(1, 2)):
        mask = torch.zeros(2, 3).bool()
        mask[entries] = True
        task = make_task().restricted({"weight": mask})
        lk.estimate_curve(store, lk.behavioral_task(task), localization=1.0, n_beta=10, **QUICK)
    assert len(calls) == 6


@pytest.mark.slow
def test_numbers_of_numpy_are_numbers(store):
    found = lk.estimate_curve(store, make_task(), n_beta=np.float32(10), localization=np.int64(1), **QUICK)
    assert found.details["n_beta"].tolist() == [10.0] * 3
