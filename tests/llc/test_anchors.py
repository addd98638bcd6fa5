"""Whose warm-up each checkpoint goes on from."""

import dataclasses
import sys

import numpy as np
import pytest
from torch import nn

import llckit as lk
from llckit.llc.cache import Cache
from tests.llc.curves import how_found, make_task

curves = sys.modules["llckit.llc.estimate_curve"]  # the package has the function of that name


INHERITED = {"num_chains": 4, "num_draws": 8, "n_beta": 10.0, "localization": 1.0, "progress": False}


def test_anchors_are_the_first_in_each_fourfold_of_time():
    assert curves.find_anchors([0, 1, 2, 3, 9, 14, 15, 62, 63, 200]) == {1: 0, 2: 0, 9: 3, 14: 3, 62: 15, 200: 63}
    assert curves.find_anchors([5, 6]) == {6: 5}


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_sampler_or_warm_up_of_the_user_s_is_the_same_everywhere(store, monkeypatch):
    store.save(21, nn.Linear(3, 2))
    starts, real = [], curves.estimate_checkpoint

    def spied(*args, start):
        starts.append(start)
        return real(*args, start=start)

    monkeypatch.setattr(curves, "estimate_checkpoint", spied)
    lk.estimate_curve(store, make_task(), **INHERITED)
    assert [start is None for start in starts] == [True, True, True, False], "else nothing is tested"
    for given in ({"num_burnin": 7}, {"sampler": lk.hmc()}, {"sampler": lk.sgld(step_size=1e-3)}):
        starts.clear()
        lk.estimate_curve(store, make_task(), **(INHERITED | given))
        assert set(starts) == {None}, given  # anchors with the same sampler are kept from before


@pytest.mark.slow
def test_a_diverged_anchor_leaves_nothing_to_begin_with(store):
    lk.estimate_curve(store, make_task(), steps=[20], **INHERITED)
    results = Cache(store)
    anchor = results.estimate(next(results.curves_newest_last())["20"])
    assert curves.start_from(anchor) == (anchor.how_found.step_size, anchor.how_found.turning_length, None)
    assert curves.start_from(dataclasses.replace(anchor, outcome=lk.Outcome.DIVERGED)) is None


@pytest.mark.slow
def test_an_anchor_that_used_scales_leaves_nothing_to_begin_with(store):
    lk.estimate_curve(store, make_task(), steps=[20], **INHERITED)
    results = Cache(store)
    anchor = results.estimate(next(results.curves_newest_last())["20"])
    assert curves.start_from(anchor) is not None
    scaled = dataclasses.replace(anchor.how_found, scale_ratio=40.0)
    assert curves.start_from(dataclasses.replace(anchor, how_found=scaled)) is None
