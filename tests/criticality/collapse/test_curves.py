"""Curves: the distance from the master curve against its definition, point by point."""

import numpy as np
import pytest

from llckit.criticality.collapse.curves import Curves


def distance_by_definition(size, control, value, value_se, critical_point, nu_star, ratio):
    """(y - Y)² / (dy² + dY²) and dY²/dy², point by point and size by size."""
    x, y, dy = (control - critical_point) * size ** (1 / nu_star), value / size**ratio, value_se / size**ratio
    distances, excesses = [], []
    for i in range(len(x)):
        curves, variances = [], []
        for other in np.unique(size[size != size[i]]):
            points = np.flatnonzero(size == other)
            if not x[points].min() <= x[i] <= x[points].max():
                continue
            below = np.sum(x[points] <= x[i])
            start = min(max(below - 2, 0), len(points) - 4)
            points = points[start : start + 4]
            # The cubic through four points is linear in their values: its weights are its responses to unit values.
            weights = [np.polyval(np.polyfit(x[points] - x[i], unit, 3), 0.0) for unit in np.eye(4)]
            curves.append(np.dot(weights, y[points]))
            variances.append(np.dot(np.square(weights), dy[points] ** 2))
        if curves:
            precision = 1 / np.array(variances)
            curve, variance = np.dot(precision, curves) / precision.sum(), 1 / precision.sum()
            distances.append((y[i] - curve) ** 2 / (dy[i] ** 2 + variance))
            excesses.append(variance / dy[i] ** 2)
    return np.array(distances), np.array(excesses)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("critical_point", "nu_star", "ratio"), [(0.1, 2.0, -0.25), (-0.5, 0.7, 0.5), (0.9, 30.0, 0.0)]
)
def test_distance_is_what_it_is_defined_to_be(measurements, seed, critical_point, nu_star, ratio):
    size, control, value, se = measurements(seed)
    curves = Curves.from_input(size, control, value, se)
    low, high = curves.control_range
    theta = np.array([(critical_point - low) / (high - low), np.log(nu_star), ratio])
    distance, excess = curves.distance(theta, curves.value)
    expected_distance, expected_excess = distance_by_definition(
        size, control, value, se, critical_point, nu_star, ratio
    )
    np.testing.assert_allclose(distance, expected_distance, rtol=1e-6)
    np.testing.assert_allclose(excess, expected_excess, rtol=1e-6)


def test_cubic_master_curve_is_met_exactly(measurements):
    size, control, _, se = measurements(0)
    x = control * size**0.5
    curves = Curves.from_input(size, control, size**0.3 * (1 + x - 0.2 * x**2 + 0.05 * x**3), se)
    low, high = curves.control_range
    distance, _ = curves.distance(np.array([-low / (high - low), np.log(2), 0.3]), curves.value)
    assert len(distance) >= 9
    np.testing.assert_allclose(distance, 0, atol=1e-17)


@pytest.mark.slow
def test_noise_of_the_given_size_has_quality_one(measurements):
    # Random values about zero collapse for every theta: S is then a mean of squares of unit variance.
    qualities = []
    for seed in range(200):
        size, control, _, se = measurements(seed)
        value = se * np.random.default_rng([seed, 1]).standard_normal(18)
        curves = Curves.from_input(size, control, value, se)
        qualities.append(curves.distance(np.array([0.5, np.log(2), 0.0]), curves.value)[0].mean())
    assert np.mean(qualities) == pytest.approx(1, abs=4 * np.std(qualities) / np.sqrt(200))


def test_growth_is_the_exponent_of_the_values(measurements):
    size, control, value, _ = measurements(0)
    plain, steeper = (Curves.from_input(size, control, size**power * value, None) for power in (0.0, 1.5))
    assert steeper.growth() == pytest.approx(plain.growth() + 1.5)


def test_without_errors_each_size_counts_in_units_of_its_own_spread(measurements):
    size, control, value, _ = measurements(0)
    curves = Curves.from_input(size, control, value, None)
    for group in range(3):
        mine = curves.group == group
        np.testing.assert_allclose(curves.se[mine], curves.value[mine].std())


def test_without_the_smallest_size_the_others_stay_what_they_were(measurements):
    curves = Curves.from_input(*measurements(0))
    fewer = curves.without_smallest()
    np.testing.assert_array_equal(fewer.value, curves.value[curves.group > 0])
    np.testing.assert_array_equal(fewer.first, [0, np.sum(curves.group == 1)])
    np.testing.assert_array_equal(fewer.last + 1, [np.sum(curves.group == 1), np.sum(curves.group > 0)])
    assert set(fewer.group) == {0, 1}
