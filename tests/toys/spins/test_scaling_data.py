"""Observables from moments, their jackknife errors, and windows of the control."""

import numpy as np
import pytest
from scipy import stats

from llckit.toys.spins.control_grid import scaling_window
from llckit.toys.spins.scaling_data import from_moments


def test_the_jackknife_of_a_mean_is_its_standard_error():
    moments = np.random.default_rng(1).random((2, 12, 5)) + 1
    data = from_moments([5, 7], [1.0, 2.0], moments)
    np.testing.assert_allclose(data.order_parameter_se, stats.sem(moments[..., 0], axis=1))
    np.testing.assert_allclose(data.susceptibility_se, [5, 7] * stats.sem(moments[..., 1], axis=1))


@pytest.mark.parametrize("components", [1, 2, 9])
def test_the_cumulant_vanishes_for_normal_order_parameters(components):
    """<m²> = d, <m⁴> = d(d + 2) for a standard normal m of d components."""
    moments = np.array([1.0, components, components * (components + 2), 0, 0])[None, None]
    assert from_moments([1], [1.0], moments, components=components).binder[0] == pytest.approx(0, abs=1e-15)


def test_windows_of_different_sizes_share_no_point():
    x = scaling_window([8, 12, 16, 24, 32, 48, 64], 1.5)
    assert np.abs(x).max() <= 1.5
    np.testing.assert_allclose(np.diff(x, axis=1), 3 / 11)
    gaps = np.abs(x[:, None, :, None] - x[None, :, None, :])[~np.eye(7, dtype=bool)]
    assert gaps.min() > 0.01 * 3 / 11
