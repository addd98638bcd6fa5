"""Stages of curves whose posterior is written down by hand, so that boundaries and edges are known exactly."""

from itertools import pairwise

import numpy as np
import pytest

from llckit.transitions.smooth import Smooth
from llckit.transitions.stage import EDGE_SHARE
from llckit.transitions.stages import boundaries, stages

X = np.linspace(0, 10, 1001)


def posterior(value, slope, value_sd=1e-3, slope_sd=1e-3):
    """A smooth with given mean whose draws tilt and shift by about the given standard deviations."""
    shift, tilt = np.random.default_rng(0).standard_normal((2, 400, 1))
    wobble = np.random.default_rng(1).standard_normal((400, 1)) * np.sin(3 * X)
    slopes = slope + slope_sd * (tilt + wobble)
    return Smooth(X, value, slope, value + value_sd * (shift + wobble), slopes, slopes, np.ones(10))


def logistic(centre, width=0.3, size=1.0):
    done = 1 / (1 + np.exp(-(X - centre) / width))
    return size * done, size * done * (1 - done) / width


def total(*moves):
    return np.sum([value for value, _ in moves], axis=0), np.sum([slope for _, slope in moves], axis=0)


def test_boundaries_are_the_extrema_of_a_wave():
    places = boundaries(posterior(np.sin(X), np.cos(X)))
    np.testing.assert_allclose([place.x for place in places], np.pi * np.array([0.5, 1.5, 2.5]), atol=0.02)
    assert all(place.low <= place.x <= place.high for place in places)


def test_neighbouring_stages_share_their_boundary_and_fill_the_run():
    found = stages(posterior(np.sin(X), np.cos(X)))
    assert len(found) == 4
    assert (found[0].start.x, found[-1].end.x) == (0, 10)
    assert all(before.end == after.start for before, after in pairwise(found))
    np.testing.assert_allclose([stage.steepest.x for stage in found[1:]], np.pi * np.arange(1, 4), atol=0.02)


def test_a_plateau_between_two_rises_is_a_boundary():
    (place,) = boundaries(posterior(*total(logistic(3, 0.6), logistic(7, 0.6))))
    assert place.x == pytest.approx(5, abs=0.02)


def test_a_shallow_dip_between_two_rises_is_none():
    value, slope = total(logistic(4, 0.6), logistic(6, 0.6))
    dip = slope[500] / slope.max()
    assert 0.5 < dip < 1
    assert boundaries(posterior(value, slope)) == []


def test_a_straight_line_is_one_move_without_warnings():
    slope = np.ones_like(X)
    slope[[200, 700]] += 1e-15  # rounding makes peaks, and dips of no depth between them
    found = stages(posterior(X, slope))
    assert len(found) == 1
    assert boundaries(posterior(X, slope)) == []


def test_a_dip_within_the_error_of_the_slope_is_none():
    assert boundaries(posterior(*total(logistic(3, 0.6), logistic(7, 0.6)), slope_sd=2.0)) == []


@pytest.mark.parametrize(("size", "kept"), [(0.05, True), (0.005, False)])
def test_a_move_below_one_percent_of_the_range_is_merged(size, kept):
    value, slope = total(logistic(2), logistic(5, size=-size), logistic(8))
    found = stages(posterior(value, slope, value_sd=1e-5, slope_sd=1e-5))
    assert len(found) == 2 + kept
    assert [stage.steepest.x for stage in found if value[stage.last] > value[stage.first]] == pytest.approx([2, 8])


def test_a_move_within_the_error_of_the_value_is_merged():
    sizes = [len(stages(posterior(*total(logistic(3), logistic(7, size=-0.2)), value_sd=sd))) for sd in (0.01, 0.1)]
    assert sizes == [2, 1]


def test_a_curve_that_does_not_move_has_no_stages():
    flat = np.zeros_like(X)
    assert stages(posterior(flat, flat)) == []
    assert boundaries(posterior(flat, flat)) == []


def test_flat_ends_of_a_run_are_trimmed_where_the_slope_is_nearly_gone():
    (stage,) = stages(posterior(*logistic(5, 0.3)))
    # the slope of a logistic is 4 p (1 - p) of its steepest
    edge = 0.3 * np.log((1 + np.sqrt(1 - EDGE_SHARE)) / (1 - np.sqrt(1 - EDGE_SHARE)))
    assert stage.start.x == pytest.approx(5 - edge, abs=0.02)
    assert stage.end.x == pytest.approx(5 + edge, abs=0.02)
    assert stage.steepest.x == pytest.approx(5, abs=0.01)


def test_a_motion_linear_in_the_step_has_no_flat_start():
    time = np.exp(X - 4)
    done, slope = 1 - np.exp(-time), time * np.exp(-time)
    (stage,) = stages(posterior(done, slope))
    assert stage.start.x == 0
    assert 5 < stage.end.x < 7


def test_an_end_that_still_moves_is_not_trimmed():
    value, slope = logistic(5, 0.3)
    (stage,) = stages(posterior(value + 0.03 * X, slope + 0.03))
    assert (stage.start.x, stage.end.x) == (0, 10)


@pytest.mark.parametrize(("centre", "width"), [(8.7, 0.3), (9.6, 0.05)])
def test_a_short_flat_end_is_not_trimmed(centre, width):
    (stage,) = stages(posterior(*logistic(centre, width)))
    assert stage.end.x == 10


def test_an_end_may_move_more_than_a_start():
    value, slope = total(logistic(4), logistic(8, width=0.9, size=0.025))
    (ending,) = stages(posterior(value, slope))
    (starting,) = stages(posterior(-value[::-1], slope[::-1]))
    assert ending.end.x < 6
    assert starting.start.x == 0


def test_a_slow_flattening_is_not_trimmed():
    rate = 0.3  # λ̂ = t^-0.3: e^-3 of the slope is left at the end
    (stage,) = stages(posterior(np.exp(-rate * X), -rate * np.exp(-rate * X)))
    assert (stage.start.x, stage.end.x) == (0, 10)


def test_a_long_rest_between_two_moves_belongs_to_neither():
    first, second = stages(posterior(*total(logistic(2, 0.2), logistic(8, 0.2, -1))))
    assert first.end.x < 3
    assert second.start.x > 7


def test_indices_point_at_the_ends_of_the_stage():
    for stage in stages(posterior(np.sin(X), np.cos(X))):
        assert X[stage.first] == pytest.approx(stage.start.x, abs=0.01)
        assert X[stage.last] == pytest.approx(stage.end.x, abs=0.01)
