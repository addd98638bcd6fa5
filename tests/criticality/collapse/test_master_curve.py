"""Master curves: derivatives against finite differences, several fits at once against one at a time."""

from dataclasses import replace

import numpy as np
import pytest

from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.master_curve import MasterCurve


@pytest.fixture
def master_curve(measurements):
    """Makes a master curve, smoothed at one theta."""

    def make(background, corrected):
        size, control, value, se = measurements(3)
        curves = Curves.from_input(size, control, value, se)
        master = MasterCurve(
            curves.log_size, curves.control, curves.value, curves.se, True, curves.log_size.max(), True, background
        )
        return master.smoothed(np.array([0.4, 0.5, -0.4, 0.3]), corrected)

    return make


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("corrected", [False, True])
def test_master_curve_derivatives_are_those_of_finite_differences(master_curve, background, corrected):
    master, theta = master_curve(background, corrected), np.array([[0.4, 0.5, -0.4, 0.3]])
    weighted = master.weighted[None]
    fit = master.linearise(theta, weighted)
    for index in range(4):
        step = np.zeros(4)
        step[index] = 1e-6
        ahead, behind = (master.linearise(theta + sign * step, weighted) for sign in (1, -1))
        cost = [(one.residual**2).sum() for one in (ahead, behind)]
        expected = -2 * fit.jacobian[0, :, index] @ fit.residual[0]
        assert (cost[0] - cost[1]) / 2e-6 == pytest.approx(expected, rel=1e-4, abs=1e-4)
        slope = (ahead.log_determinant - behind.log_determinant)[0] / 2e-6
        assert slope == pytest.approx(2 * fit.log_determinant_slope[0, index], rel=1e-4, abs=1e-4)


def test_several_theta_at_once_give_what_each_gives_alone(master_curve):
    master = master_curve(background=True, corrected=True)
    theta = np.array([[0.4, 0.5, -0.4, 0.3], [0.6, 0.2, -0.2, 0.0], [0.5, 0.9, -0.7, -0.2]])
    together = master.linearise(theta, np.repeat(master.weighted[None], 3, axis=0))
    for row in range(3):
        alone = master.linearise(theta[row : row + 1], master.weighted[None])
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], other[row], rtol=1e-9, atol=1e-9)


def test_master_curve_goes_through_a_power_with_background_and_through_a_logarithm(measurements):
    size, control, _, se = measurements(3)
    log_size = np.log(size) - np.log(size).mean()
    u = (control + 1) / 2
    x = (u - 0.5) * np.exp(0.5 * (log_size - log_size.max()))
    for power, level in ((0.3, 2.0), (0.0, 0.7 * log_size)):
        value = np.exp(power * log_size) * (1 + x - x**2) + level
        master = MasterCurve(log_size, u, value, 1e-3 * se, True, log_size.max(), True, True)
        theta = np.array([0.5, 0.5, 0.0, power])
        residual = master.smoothed(theta, False).linearise(theta[None], (value / (1e-3 * se))[None]).residual
        assert np.abs(residual[0, : len(size)]).max() < 0.5


@pytest.mark.parametrize("known_se", [True, False])
@pytest.mark.parametrize(("background", "corrected"), [(False, False), (True, True)])
def test_each_data_set_gets_the_penalty_that_it_would_get_alone(master_curve, known_se, background, corrected):
    master, theta = replace(master_curve(background, corrected), known_se=known_se), np.array([0.4, 0.5, -0.4, 0.3])
    # From smooth curves to noise, so that the penalties differ.
    smooth = np.outer(np.ones(5), np.exp(0.3 * master.log_size) * (1 + master.control))
    noise = np.random.default_rng(0).standard_normal(smooth.shape) * np.geomspace(0.1, 30, 5)[:, None]
    values = smooth + master.se * noise
    together = master.resmoothed(np.repeat(theta[None], 5, axis=0), values / master.se).penalty
    for value, penalty in zip(values, together, strict=True):
        alone = replace(master, value=value).smoothed(theta, corrected).penalty
        np.testing.assert_allclose(penalty, alone, rtol=1e-9)
    assert len(np.unique(np.round(together[:, 0, 0], 6))) > 1
