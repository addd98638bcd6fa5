"""`estimate_curve`: what is kept, what is computed again, and what is refused before any work."""

import dataclasses
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import kept_curves
from llckit.llc.cache import Cache

curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name
QUICK = {"num_chains": 2, "num_burnin": 5, "num_draws": 8, "progress": False}


def inputs():
    return torch.randn(50, 3, generator=torch.Generator().manual_seed(0))


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


def make_task(loss=squared):
    return lk.Task(nn.Linear(3, 2), (inputs(), inputs()[:, :2]), loss)


@pytest.fixture
def store(tmp_path):
    torch.manual_seed(0)
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    for step in (0, 10, 20):
        store.save(step, nn.Linear(3, 2), loss=1.0)
    return store


@pytest.fixture
def calls(monkeypatch):
    """How often a checkpoint was really estimated."""
    made = []
    real = curves.estimate_checkpoint

    def counted(task, point, *args, **kwargs):
        made.append(point)
        return real(task, point, *args, **kwargs)

    monkeypatch.setattr(curves, "estimate_checkpoint", counted)
    return made


def assert_same(a, b):
    for name in ("step", "loss", "llc", "mcse", "llc_per_chain", "grad_norm"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.outcome == b.outcome


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


def test_a_second_call_computes_nothing_and_gives_the_same(store, calls):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 3
    again = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 3
    assert_same(first, again)


def test_a_grown_store_adds_only_the_new_steps(store, calls):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    store.save(30, nn.Linear(3, 2))
    grown = lk.estimate_curve(store, make_task(), **QUICK)
    assert len(calls) == 4
    np.testing.assert_array_equal(grown.llc[:3], first.llc)
    assert len(set(grown.details["localization"])) == 1


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


def test_a_point_does_not_depend_on_its_neighbours(store):
    whole = lk.estimate_curve(store, make_task(), n_beta=10.0, localization=1.0, **QUICK)
    model = nn.Linear(3, 2)
    model.load_state_dict(store.load(20))
    alone = lk.estimate_llc(model, (inputs(), inputs()[:, :2]), squared, n_beta=10.0, localization=1.0, **QUICK)
    assert alone.llc == whole.llc[2]


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_draws": 9}, {"n_beta": 3.0}, {"localization": 9.0}])
def test_other_settings_are_other_results(store, calls, change):
    lk.estimate_curve(store, make_task(), **QUICK)
    lk.estimate_curve(store, make_task(), **(QUICK | change))
    assert len(calls) == 6


def test_an_edited_loss_is_noticed_even_where_its_value_is_the_same(store, calls):
    lk.estimate_curve(store, make_task(), localization=1.0, **QUICK)
    lk.estimate_curve(store, make_task(lambda m, b: squared(m, b) + 1), localization=1.0, **QUICK)
    assert len(calls) == 6  # another L(w*), the same gradient

    def tilted(model, batch):
        """Doubled gradient, the same value."""
        loss = squared(model, batch)
        return 2 * loss - loss.detach()

    lk.estimate_curve(store, make_task(tilted), localization=1.0, **QUICK)
    assert len(calls) == 9


def test_damaged_results_are_computed_again(store, calls):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    for file in (store.path / "estimates").glob("*.json"):
        file.write_text("{half")
    assert_same(first, lk.estimate_curve(store, make_task(), **QUICK))
    assert len(calls) == 6


@pytest.mark.parametrize("content", ["[]", "{}", '{"estimate": {}}', '{"keys": 3}'])
def test_foreign_results_are_computed_again(store, calls, content):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    for file in (store.path / "estimates").glob("*.json"):
        file.write_text(content)
    assert kept_curves(store) == {}
    assert_same(first, lk.estimate_curve(store, make_task(), **QUICK))
    assert len(calls) == 6


def test_results_that_cannot_be_kept_are_refused_before_sampling(store, calls):
    (store.path / "estimates").write_text("not a folder")
    with pytest.raises(lk.InputError, match="results cannot be kept"):
        lk.estimate_curve(store, make_task(), **QUICK)
    assert not calls


def test_a_loss_that_breaks_at_one_checkpoint_is_refused_before_sampling(store, calls):
    huge = {name: 1e30 * value for name, value in store.load(20).items()}
    store.save(15, huge)
    with pytest.raises(lk.InputError, match=r"step 15: .* the loss over all samples is inf"):
        lk.estimate_curve(store, make_task(), **QUICK)
    assert not calls


def test_the_kept_curve_is_the_last_one_asked_for(store):
    full = lk.estimate_curve(store, make_task(), n_beta=2.0, localization=1.0, **QUICK)
    other = lk.estimate_curve(store, make_task(), steps=[10], n_beta=3.0, localization=1.0, **QUICK)
    assert_same(kept_curves(store)[False], other)
    lk.estimate_curve(store, make_task(), steps=[10], n_beta=2.0, localization=1.0, **QUICK)  # from what is kept
    assert_same(kept_curves(store)[False], full)


def test_two_losses_make_two_curves(store):
    lk.estimate_curve(store, make_task(), n_beta=2.0, localization=1.0, **QUICK)
    ten = make_task(lambda m, b: 10 * squared(m, b))
    tenfold = lk.estimate_curve(store, ten, steps=[0, 10], n_beta=2.0, localization=1.0, **QUICK)
    assert_same(kept_curves(store)[False], tenfold)


def test_checkpoints_with_equal_weights_are_kept_apart(store):
    store.save(30, store.load(20))
    curve = lk.estimate_curve(store, make_task(), **QUICK)
    assert curve.llc[2] == curve.llc[3]
    assert_same(kept_curves(store)[False], curve)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"n_beta": "a"}, {"n_beta": True}, {"rel_tol": "a"}])
def test_wrong_arguments(store, wrong):
    with pytest.raises(lk.InputError, match=next(iter(wrong))):
        lk.estimate_curve(store, make_task(), **(QUICK | wrong))


def test_a_path_is_no_store(store):
    with pytest.raises(lk.InputError, match="CheckpointStore"):
        lk.estimate_curve(str(store.path), make_task())


def test_kept_curves_need_no_task(store):
    assert kept_curves(store) == {}
    task = make_task()
    curve = lk.estimate_curve(store, task, **QUICK)
    behavioral = lk.estimate_curve(store, lk.behavioral_task(task), steps=[10, 20], **QUICK)
    kept = kept_curves(store)
    assert_same(kept[False], curve)
    assert_same(kept[True], behavioral)
    np.testing.assert_array_equal(behavioral.loss, curve.loss[1:])  # the user's loss, not the zero of the behavioral


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


def test_other_data_are_noticed_where_the_behavioral_loss_is_zero_all_the_same(store, calls):
    task = lk.behavioral_task(make_task())
    lk.estimate_curve(store, task, localization=1.0, n_beta=10, **QUICK)
    other = lk.Task(nn.Linear(3, 2), (inputs() + 1, inputs()[:, :2]), squared)
    lk.estimate_curve(store, lk.behavioral_task(other), localization=1.0, n_beta=10, **QUICK)
    assert len(calls) == 6


def test_other_entries_of_a_parameter_are_other_results(store, calls):
    for entries in (slice(0, 1), slice(1, 2)):
        mask = torch.zeros(2, 3).bool()
        mask[entries] = True
        task = make_task().restricted({"weight": mask})
        lk.estimate_curve(store, lk.behavioral_task(task), localization=1.0, n_beta=10, **QUICK)
    assert len(calls) == 6


def test_numbers_of_numpy_are_numbers(store):
    found = lk.estimate_curve(store, make_task(), n_beta=np.float32(10), localization=np.int64(1), **QUICK)
    assert found.details["n_beta"].tolist() == [10.0] * 3


INHERITED = {"num_chains": 4, "num_draws": 8, "n_beta": 10.0, "localization": 1.0, "progress": False}


def test_anchors_are_the_first_in_each_fourfold_of_time():
    assert curves.find_anchors([0, 1, 2, 3, 9, 14, 15, 62, 63, 200]) == {1: 0, 2: 0, 9: 3, 14: 3, 62: 15, 200: 63}
    assert curves.find_anchors([5, 6]) == {6: 5}


def test_warm_ups_go_on_from_the_anchor_s_and_from_no_other_checkpoint(store, tmp_path):
    for step in (21, 22):
        store.save(step, nn.Linear(3, 2))
    found = lk.estimate_curve(store, make_task(), **INHERITED)
    anchor, follower = (how_found(store, step) for step in (20, 22))
    assert anchor.num_burnin == 150
    assert follower.num_burnin == 20
    some = lk.CheckpointStore(tmp_path / "some.ckpts")
    for step in (20, 22):
        some.save(step, store.load(step))
    again = lk.estimate_curve(some, make_task(), **INHERITED)
    np.testing.assert_array_equal(again.llc, found.llc[[2, 4]])
    alone = lk.estimate_curve(store, make_task(), steps=[22], **INHERITED)
    assert how_found(store, 22).num_burnin == 150
    assert alone.llc[0] != found.llc[4]


def how_found(store, step):
    (key,) = [keys[str(step)] for keys in Cache(store).curves_newest_last() if str(step) in keys]
    return Cache(store).estimate(key).how_found


@pytest.mark.parametrize("given", [{"num_burnin": 7}, {"sampler": lk.hmc()}, {"sampler": lk.sgld(step_size=1e-3)}])
def test_a_sampler_or_warm_up_of_the_user_s_is_the_same_everywhere(store, given, monkeypatch):
    store.save(21, nn.Linear(3, 2))
    starts, real = [], curves.estimate_checkpoint

    def spied(*args, start):
        starts.append(start)
        return real(*args, start=start)

    monkeypatch.setattr(curves, "estimate_checkpoint", spied)
    lk.estimate_curve(store, make_task(), **INHERITED)
    assert [start is None for start in starts] == [True, True, True, False], "else nothing is tested"
    starts.clear()
    lk.estimate_curve(store, make_task(), **(INHERITED | given))
    assert set(starts) == {None}  # anchors with the same sampler are kept from before


def test_a_diverged_anchor_leaves_nothing_to_begin_with(store):
    lk.estimate_curve(store, make_task(), **INHERITED)
    results = Cache(store)
    anchor = results.estimate(next(results.curves_newest_last())["20"])
    assert curves.start_from(anchor) == (anchor.how_found.step_size, anchor.how_found.turning_length)
    assert curves.start_from(dataclasses.replace(anchor, outcome=lk.Outcome.DIVERGED)) is None


def test_an_anchor_that_used_scales_leaves_nothing_to_begin_with(store):
    lk.estimate_curve(store, make_task(), **INHERITED)
    results = Cache(store)
    anchor = results.estimate(next(results.curves_newest_last())["20"])
    assert curves.start_from(anchor) is not None
    scaled = dataclasses.replace(anchor.how_found, scale_ratio=40.0)
    assert curves.start_from(dataclasses.replace(anchor, how_found=scaled)) is None


def as_version_0_1_0(document):
    """An estimate or choice as version 0.1.0 kept it: reasons are sentences, and settings a dictionary."""
    if "estimate" not in document:
        kind = document.pop("gradients")
        is_batch = kind["kind"] in ("minibatches", "guided")
        sizes = {"batch_size": kind["size"] if is_batch else None, "subset": None if is_batch else kind["size"]}
        del document["reason"]
        return document | sizes | {"guided": kind["kind"] == "guided", "gradients": "in words", "rule": "one; other"}
    found = document["estimate"].pop("how_found")
    same = ("sampler", "num_draws", "num_burnin", "grad_evals", "step_size", "heat", "acceptance", "seed", "behavioral")
    document["estimate"]["settings"] = {name: found[name] for name in same} | {
        "rule": "one; other",
        "turn": found["turning_length"],
        "stretch": found["scale_ratio"],
        "batch_size": None,
        "subset": None,
        "gradients": "in words",
        "compile": found["compiled"],
    }
    return document


def test_what_version_0_1_0_kept_is_still_read(store, calls):
    first = lk.estimate_curve(store, make_task(), n_beta=20.0, **QUICK)
    for file in (store.path / "estimates").glob("*.json"):
        if not file.name.startswith("curve-"):
            file.write_text(json.dumps(as_version_0_1_0(json.loads(file.read_text()))))
    calls.clear()
    assert_same(lk.estimate_curve(store, make_task(), n_beta=20.0, **QUICK), first)
    assert not calls
    assert str(how_found(store, 20).reason) == "one; other"
    assert str(how_found(store, 20).gradients) == "in words"
    grown = lk.estimate_curve(store, make_task(), n_beta=20.0, **(QUICK | {"seed": 1}))
    assert len(calls) == 3
    assert grown.details["localization"].tolist() == first.details["localization"].tolist()
