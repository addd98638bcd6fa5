"""What chains share is recovered from chains that were made with it, and nothing is found where there is nothing."""

import numpy as np
import pytest

from llckit.transitions.shared_noise import shared_noise
from tests.transitions.curves import correlation, shared_errors

X = np.sort(np.random.default_rng(0).uniform(0, 10, 150))


def chains(share, length, count, gaussian, seed):
    rng = np.random.default_rng(seed)
    common = shared_errors(X, length, count, rng, gaussian)
    return np.sqrt(share) * common + np.sqrt(1 - share) * rng.standard_normal((len(X), count))


@pytest.mark.slow
@pytest.mark.parametrize("gaussian", [True, False])
@pytest.mark.parametrize(("share", "length"), [(0.5, 1.0), (0.9, 0.5), (0.8, 5.0)])
def test_the_covariance_of_the_mean_is_recovered(share, length, gaussian):
    found = []
    for seed in range(6):
        factor = shared_noise(X, 3 + 2 * chains(share, length, 8, gaussian, seed))
        found.append(factor @ factor.T)
    expected = 4 * share * correlation(X, length, gaussian) / 8
    for lag in (0.0, 0.5 * length, length):
        pairs = np.abs(np.abs(X[:, None] - X) - lag) < 0.05 * length + 1e-12 * (lag == 0)
        ratio = np.array([one[pairs].mean() for one in found]) / expected[pairs].mean()
        # seven contrasts over 10 / length independent stretches each give one variance
        assert ratio.mean() == pytest.approx(1, abs=4 * np.sqrt(2 / (6 * 7 * 10 / length)) + 0.1)


@pytest.mark.slow
def test_independent_errors_share_nothing():
    found = [shared_noise(X, np.random.default_rng([1, seed]).standard_normal((150, 8))) for seed in range(20)]
    assert sum(factor.shape[1] > 0 for factor in found) <= 2


@pytest.mark.parametrize("curves", [np.ones((150, 1)), np.ones((150, 4)), np.full((150, 4), np.nan)])
def test_chains_that_tell_nothing(curves):
    assert shared_noise(X, curves).shape == (150, 0)


def test_gaps_of_single_chains_are_left_out():
    curves = chains(0.9, 1.0, 8, True, 3)
    curves[::10, 2] = np.nan
    factor = shared_noise(X, curves)
    assert factor.shape[0] == 150
    assert factor.shape[1] > 0
    assert np.isfinite(factor).all()
