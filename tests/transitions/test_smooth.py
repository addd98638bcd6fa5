"""The smooth against exact laws: invariances, closed forms, the noise that was put in, and calibration."""

import numpy as np
import pytest

from llckit.transitions.smooth import fit_smooth
from tests.transitions.curves import GROKKING_STEPS


def wave(x):
    return 5 * np.sin(x) + x


def test_a_parabola_without_noise_is_reproduced_with_its_slope():
    x = np.sort(np.random.default_rng(0).uniform(2, 9, 40))
    grid = np.linspace(x[0], x[-1], 101)
    smooth = fit_smooth(x, 3 - 2 * x + 0.5 * x**2, grid)
    np.testing.assert_allclose(smooth.value, 3 - 2 * grid + 0.5 * grid**2, atol=1e-3)
    np.testing.assert_allclose(smooth.slope, grid - 2, atol=1e-3)


def test_a_wave_is_followed_with_its_slope():
    x = np.linspace(0, 10, 80)
    grid = np.linspace(0.5, 9.5, 101)
    smooth = fit_smooth(x, wave(x), grid)
    np.testing.assert_allclose(smooth.value, wave(grid), atol=0.01)
    np.testing.assert_allclose(smooth.slope, 5 * np.cos(grid) + 1, atol=0.1)


@pytest.mark.slow
def test_slope_draws_are_the_derivatives_of_the_value_draws():
    x = np.linspace(0, 10, 50)
    y = wave(x) + np.random.default_rng(1).standard_normal(50)
    grid = np.linspace(4, 6, 4001)
    smooth = fit_smooth(x, y, grid)
    numerical = np.gradient(smooth.value_draws[:20], grid, axis=1)[:, 1:-1]
    np.testing.assert_allclose(smooth.slope_draws[:20, 1:-1], numerical, atol=1e-4)
    np.testing.assert_allclose(smooth.slope[1:-1], np.gradient(smooth.value, grid)[1:-1], atol=1e-4)


def test_draws_scatter_about_the_mean():
    x = np.linspace(0, 10, 50)
    smooth = fit_smooth(x, wave(x) + np.random.default_rng(2).standard_normal(50), x)
    for mean, draws in ((smooth.value, smooth.value_draws), (smooth.slope, smooth.slope_draws)):
        standard_error = draws.std(axis=0) / np.sqrt(len(draws))
        assert np.all(np.abs(draws.mean(axis=0) - mean) < 5 * standard_error)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.03, 0.3, 1.0])
def test_constant_noise_is_recovered(noise):
    x = np.linspace(0, 10, 200)
    smooth = fit_smooth(x, 20 + wave(x) + noise * np.random.default_rng(3).standard_normal(200), x)
    # the standard error of a standard deviation from 200 residuals is 5 %
    assert np.sqrt(np.mean(smooth.noise**2)) == pytest.approx(noise, rel=0.2)


@pytest.mark.slow
def test_noise_proportional_to_the_level_is_recovered():
    x = np.linspace(0, 10, 200)
    level = 1 + np.exp(x / 2)
    smooth = fit_smooth(x, level * (1 + 0.02 * np.random.default_rng(4).standard_normal(200)), x)
    np.testing.assert_allclose(smooth.noise[20:], 0.02 * level[20:], rtol=0.3)


@pytest.mark.slow
def test_scatter_of_a_falling_loss_is_not_interpolated():
    step = GROKKING_STEPS
    level = 3.76 / (1 + (step / 50) ** 2)
    found = []
    for seed in range(20):
        scatter = 0.05 * np.random.default_rng(seed).standard_normal(len(step))
        smooth = fit_smooth(np.log1p(step), level * (1 + scatter), np.log1p(step))
        found.append(np.median(smooth.noise[:10] / level[:10]))
    assert np.mean((np.array(found) > 0.015) & (np.array(found) < 0.15)) >= 0.9


@pytest.mark.slow
def test_the_95_percent_bands_hold_95_percent():
    x = np.linspace(0, 10, 60)
    inside = []
    for seed in range(20):
        y = wave(x) + 0.5 * np.random.default_rng([5, seed]).standard_normal(60)
        smooth = fit_smooth(x, y, x)
        for truth, draws in ((wave(x), smooth.value_draws), (5 * np.cos(x) + 1, smooth.slope_draws)):
            low, high = np.quantile(draws, [0.025, 0.975], axis=0)
            inside.append(np.mean((low <= truth) & (truth <= high)))
    # neighbouring points share their error: about 15 independent ones a curve, standard error 0.01
    assert 0.9 < np.mean(inside) < 0.99


def test_units_of_x_and_y_do_not_matter():
    x = np.linspace(0, 10, 50)
    y = wave(x) + 0.5 * np.random.default_rng(6).standard_normal(50)
    plain, other = fit_smooth(x, y, x), fit_smooth(3 + 2 * x, 1e6 * y, 3 + 2 * x)
    np.testing.assert_allclose(other.value, 1e6 * plain.value, rtol=1e-3, atol=1e3)
    np.testing.assert_allclose(other.slope, 1e6 * plain.slope / 2, rtol=1e-3, atol=3e3)
    np.testing.assert_allclose(other.noise, 1e6 * plain.noise, rtol=1e-2)


def test_a_constant_curve_has_no_slope_and_no_noise():
    x = np.linspace(0, 10, 20)
    smooth = fit_smooth(x, np.full(20, 0.1), x)
    np.testing.assert_allclose(smooth.value, 0.1, rtol=1e-15)
    assert not smooth.slope.any()
    assert not smooth.slope_draws.any()
    assert not smooth.noise.any()


@pytest.mark.slow
def test_pure_noise_is_not_followed():
    x = np.linspace(0, 10, 20)
    wiggles = [
        np.ptp(fit_smooth(x, np.random.default_rng([7, seed]).standard_normal(20), x).value) for seed in range(20)
    ]
    assert np.median(wiggles) < 1.5


@pytest.mark.slow
def test_noise_at_few_places_far_apart_is_no_more_than_a_parabola():
    x = np.log1p([0, 1, 16, 250, 1333, 2000, 2667, 4000])
    grid = np.linspace(x[0], x[-1], 101)
    bends = []
    for seed in range(40):
        smooth = fit_smooth(x, np.random.default_rng([9, seed]).standard_normal(8), grid)
        bends.append(np.abs(np.diff(smooth.slope, 2)).max())
    assert np.mean(np.array(bends) > 1e-3) <= 0.05


def test_a_step_from_zero_is_followed_where_the_noise_does_not_grow():
    x = np.array(
        [0, 1.1, 1.8, 2.6, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.3, 5.9, 6, 6.3, 6.4, 6.7, 7, 7.1, 7.4, 7.6, 7.8, 8, 8.2]
    )
    y = 1 / (1 + np.exp(-(x - 6.4) / 0.12))
    y[:9] = [0.016, 0.01, 0.006, 0, 0, 0, 0.001, 0.001, 0.001]
    smooth = fit_smooth(x, y, x, noise_grows=False)
    np.testing.assert_allclose(smooth.value, y, atol=0.2)
    assert smooth.value[-1] == pytest.approx(1, abs=0.05)
