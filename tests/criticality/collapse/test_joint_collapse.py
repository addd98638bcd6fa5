"""The joint collapse: its resampling against the scatter of new data."""

import numpy as np
import pytest

from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.joint_collapse import joint_collapse
from llckit.criticality.collapse.master_curve import master_curves

NU_STAR, RATIO, NOISE = 1.8, 0.5, 0.02


def planted(seed, known_se=True):
    size, x = np.repeat([64.0, 128, 256, 512], 13), np.tile(np.linspace(-3, 3, 13), 4)
    height = size**RATIO
    value = height * (1 / (1 + x**2) + NOISE * np.random.default_rng(seed).standard_normal(len(size)))
    se = NOISE * height if known_se else None
    return {"susceptibility": Curves.from_input(size, 1 + x * size ** (-1 / NU_STAR), value, se)}


def collapse(seed, known_se=True, fixed=()):
    masters, unit = master_curves(planted(seed, known_se))
    start = np.array([(1 - unit[0]) / unit[1], 1 / NU_STAR, 0.0, RATIO])
    return joint_collapse(masters, unit, start=start, fixed=fixed)


@pytest.mark.slow
@pytest.mark.parametrize("known_se", [True, False])
def test_resampled_parameters_scatter_as_the_estimates_of_new_data_do(known_se):
    runs = 40
    fits = [collapse(seed, known_se) for seed in range(runs)]
    found = np.array([fit.theta for fit in fits])
    draws = [fit.resampled(40, np.random.default_rng(seed)) for seed, fit in enumerate(fits)]
    spread = np.sqrt(np.mean([(one - fit.theta) ** 2 for one, fit in zip(draws, fits, strict=True)], axis=(0, 1)))
    free = [0, 1, 3]
    # A standard deviation from 40 runs is known to 1/sqrt(80), 11 %.
    np.testing.assert_allclose(spread[free], found.std(axis=0, ddof=1)[free], rtol=3 / np.sqrt(2 * runs))


@pytest.mark.parametrize("known_se", [True, False])
def test_noise_at_places_that_come_twice_has_both_signs(known_se):
    fit = collapse(0, known_se, fixed=(0, 1, 2))
    places = np.repeat(fit.theta[None, :3], 100, axis=0)
    one, other = np.split(fit.resampled(100, np.random.default_rng(0), places)[:, 3] - fit.theta[3], 2)
    assert np.corrcoef(one, other)[0, 1] < -0.9
    assert one.std() > 0
