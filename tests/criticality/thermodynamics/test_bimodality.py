"""The bimodality coefficient: known distributions, its error, units, bad input."""

import numpy as np
import pytest

from llckit.criticality import bimodality
from llckit.errors import InputError


@pytest.mark.parametrize("upper", [2, 5, 10, 17])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1e6, 1e6 + 1e-3), (-3.0, 0.1)])
def test_two_values_of_any_weights_have_the_highest_coefficient(upper, low, high):
    # What m_4/m_2² loses by rounding: a few units in the last place of moments of order 0.1.
    assert bimodality(np.repeat([low, high], [20 - upper, upper])) == pytest.approx((1, 0), abs=1e-13)


def test_uniform_and_gaussian_values_have_theirs():
    random = np.random.default_rng(0)
    coefficient, se = bimodality(np.stack([random.random(2000), random.standard_normal(2000)], axis=1))
    assert (np.abs(coefficient - [5 / 9, 1 / 3]) < 4 * se).all()
    assert (se < 0.02).all()


def test_the_coefficient_of_a_mixture_in_closed_form():
    # Moments of two Gaussians of width² v at 0 and 1: 1 - BC = v/(pq(1 - 3pq)) to first order in v.
    random = np.random.default_rng(1)
    p, v, runs = 0.3, 0.01, 3000
    q = 1 - p
    two, three, four = p * q + v, p * q * (q - p), p * q * (1 - 3 * p * q) + 6 * p * q * v + 3 * v**2
    coefficient, se = bimodality((random.random(runs) < p) + np.sqrt(v) * random.standard_normal(runs))
    assert abs(coefficient - (three**2 / two**3 + 1) * two**2 / four) < 4 * se
    assert 1 - coefficient == pytest.approx(v / (p * q * (1 - 3 * p * q)), rel=0.2)


def test_the_error_is_that_of_leaving_out_one_run_at_a_time():
    runs = np.random.default_rng(7).gamma(0.5, size=(13, 3))
    runs[0] = 1e6  # what is left without it has a range of 1e-6
    without = np.stack([bimodality(np.delete(runs, k, axis=0))[0] for k in range(13)])
    assert bimodality(runs)[1] == pytest.approx(np.sqrt(12 * without.var(axis=0)), rel=1e-9)


def test_the_error_is_the_spread_over_repetitions():
    random = np.random.default_rng(2)
    runs = (random.random((50, 400)) < 0.4) + 0.15 * random.standard_normal((50, 400))
    coefficient, se = bimodality(runs)
    # The standard deviation of 400 values is known to 1/√800, the mean error a little better: 5 of those, and the
    # jackknife's own bias of order 1/50.
    assert np.sqrt((se**2).mean()) == pytest.approx(coefficient.std(ddof=1), rel=0.2)


def test_twenty_gaussian_runs_are_biased_as_stated():
    coefficient, _ = bimodality(np.random.default_rng(3).standard_normal((20, 3000)))
    assert coefficient.mean() == pytest.approx(0.46, abs=0.005 + 5 * coefficient.std() / np.sqrt(3000))


def test_it_does_not_depend_on_unit_or_origin():
    runs = np.random.default_rng(4).random((12, 3)) ** 3
    before = bimodality(runs)
    for after in (bimodality(1e-150 * runs), bimodality(5 - 1000 * runs), bimodality(runs[::-1])):
        assert np.stack(after) == pytest.approx(np.stack(before), rel=1e-9)
    columns = [bimodality(column) for column in runs.T]
    assert np.transpose(columns) == pytest.approx(np.stack(before), rel=1e-12)


def test_runs_that_agree_have_none_and_neither_has_one_that_does_not():
    runs = np.full((10, 4), 0.3)
    runs[0, 1:] = 0.9, 0.3 + 1e-16, 0.9
    runs[1, 3] = 0.9
    coefficient, se = bimodality(runs)
    assert np.isnan(coefficient).tolist() == np.isnan(se).tolist() == [True, True, True, False]
    assert coefficient[3] == pytest.approx(1)


def test_one_run_far_from_the_others_has_a_large_error():
    runs = np.append(0.01 * np.random.default_rng(5).standard_normal(19), 1.0)
    coefficient, se = bimodality(runs)
    assert coefficient > 0.99
    assert coefficient - 3 * se < 5 / 9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, 0.2, 0.3], "has 3 runs; expected at least 10"),
        (np.ones((3, 20)), "has 3 runs"),
        ([*np.linspace(0, 1, 9), np.nan], "has the entry nan; expected finite"),
        (["a"] * 5, "expected numbers of shape"),
        (np.ones((4, 2, 2)), r"shape \(4, 2, 2\)"),
        ([], "expected numbers"),
        (0.5, "expected numbers"),
    ],
)
def test_runs_that_are_none_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        bimodality(values)
