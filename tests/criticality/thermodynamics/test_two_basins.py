"""Two basins: derivatives of the partition function, equal weights, limits, bad input."""

import numpy as np
import pytest

from llckit.criticality import two_basins
from llckit.errors import InputError
from llckit.transitions import crossover_samples

MIXTURES = [(0.1, 2.0, 1.0, 0.0), (1e-3, 5.0, 1.5, -2.0), (-0.02, 1.0, 3.0, 1.0), (0.0, 0.5, 0.25, 0.0)]


@pytest.mark.parametrize("mixture", MIXTURES)
def test_energy_and_heat_capacity_are_derivatives_of_the_partition_function(mixture):
    x, h = np.linspace(1, 9, 33), 1e-3
    before, at, after = (two_basins(np.exp(x + shift), *mixture) for shift in (-h, 0, h))
    slope = (after.log_partition - before.log_partition) / (2 * h)
    bend = (after.log_partition - 2 * at.log_partition + before.log_partition) / h**2
    assert at.energy == pytest.approx(-slope, rel=1e-4, abs=1e-6)
    assert at.heat_capacity == pytest.approx(bend - slope, rel=1e-3, abs=1e-3)  # t² ∂²/∂t² = ∂²/∂x² - ∂/∂x
    energy_slope = (after.energy - before.energy) / (2 * h)
    assert energy_slope == pytest.approx(at.energy - at.heat_capacity, rel=1e-3, abs=1e-5)
    assert at.weight.sum(axis=1) == pytest.approx(1)


@pytest.mark.parametrize("mixture", [(0.1, 2.0, 1.0, 0.0), (1e-3, 5.0, 1.5, -2.0), (-0.02, 1.0, 3.0, -1.0)])
def test_weights_are_equal_where_it_says(mixture):
    crossings = two_basins([1.0], *mixture).equal_weights
    assert crossings
    assert two_basins(crossings, *mixture).weight == pytest.approx(np.full((len(crossings), 2), 0.5))
    dense = np.geomspace(1e-12, 1e8, 100001)
    second = two_basins(dense, *mixture).weight[:, 1] > 0.5
    assert np.sum(second[1:] != second[:-1]) == len(crossings)


def test_equal_volumes_cross_at_the_crossover_of_the_free_energies():
    # ln(Z_2/Z_1) = -(t ΔL + Δλ ln t): the same equation, solved there by Lambert's W.
    found = crossover_samples(-0.01, 2.0)
    assert two_basins([1.0], -0.01, 1.0, 3.0).equal_weights == pytest.approx((found.lower, found.upper), rel=1e-9)
    assert two_basins([1.0], -1.0, 1.0, 3.0).equal_weights == ()
    assert two_basins([1.0], -1.0, 1.0, 1.0).equal_weights == ()


def test_one_basin_is_the_limit_of_two():
    alone = two_basins(np.geomspace(10, 1000, 5), 10.0, 2.0, 1.0)
    assert alone.energy == pytest.approx(np.full(5, 2.0))
    assert alone.heat_capacity == pytest.approx(np.full(5, 2.0))
    assert alone.weight[:, 0] == pytest.approx(np.ones(5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], 1.0, 1.0, 1.0), "n_beta has the entry 0"),
        (([1.0], np.nan, 1.0, 1.0), "delta_loss is nan"),
        (([1.0], 1.0, -1.0, 1.0), "llc_1 is -1"),
        (([1.0], 1.0, 1.0, "a"), "llc_2 is 'a'"),
        (([1.0], 1.0, 1.0, 1.0, np.inf), "log_volume_ratio is inf"),
    ],
)
def test_bad_mixtures_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        two_basins(*arguments)
