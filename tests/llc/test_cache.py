"""What is kept, what is read again, and what is computed anew."""

import json

import numpy as np
import pytest

import llckit as lk
from llckit.llc import kept_curves
from tests.cases import mean_squared_error
from tests.llc.curves import QUICK, assert_same, how_found, make_task


@pytest.mark.slow
def test_damaged_results_are_computed_again(store, calls):
    first = lk.estimate_curve(store, make_task(), **QUICK)
    for file in (store.path / "estimates").glob("*.json"):
        file.write_text("{half")
    assert_same(first, lk.estimate_curve(store, make_task(), **QUICK))
    assert len(calls) == 6


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_kept_curve_is_the_last_one_asked_for(store):
    full = lk.estimate_curve(store, make_task(), n_beta=2.0, localization=1.0, **QUICK)
    other = lk.estimate_curve(store, make_task(), steps=[10], n_beta=3.0, localization=1.0, **QUICK)
    assert_same(kept_curves(store)[False], other)
    lk.estimate_curve(store, make_task(), steps=[10], n_beta=2.0, localization=1.0, **QUICK)  # from what is kept
    assert_same(kept_curves(store)[False], full)


@pytest.mark.slow
def test_two_losses_make_two_curves(store):
    lk.estimate_curve(store, make_task(), n_beta=2.0, localization=1.0, **QUICK)
    ten = make_task(lambda m, b: 10 * mean_squared_error(m, b))
    tenfold = lk.estimate_curve(store, ten, steps=[0, 10], n_beta=2.0, localization=1.0, **QUICK)
    assert_same(kept_curves(store)[False], tenfold)


@pytest.mark.slow
def test_checkpoints_with_equal_weights_are_kept_apart(store):
    store.save(30, store.load(20))
    curve = lk.estimate_curve(store, make_task(), **QUICK)
    assert curve.llc[2] == curve.llc[3]
    assert_same(kept_curves(store)[False], curve)


@pytest.mark.slow
def test_kept_curves_need_no_task(store):
    assert kept_curves(store) == {}
    task = make_task()
    curve = lk.estimate_curve(store, task, **QUICK)
    behavioral = lk.estimate_curve(store, lk.behavioral_task(task), steps=[10, 20], **QUICK)
    kept = kept_curves(store)
    assert_same(kept[False], curve)
    assert_same(kept[True], behavioral)
    np.testing.assert_array_equal(behavioral.loss, curve.loss[1:])  # the user's loss, not the zero of the behavioral


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


@pytest.mark.slow
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
