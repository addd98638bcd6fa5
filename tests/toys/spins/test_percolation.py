"""Site percolation against enumeration, its limits and the known critical point."""

import itertools

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.toys import SITE_CRITICAL, percolation

COLUMNS = ("order_parameter", "susceptibility", "binder")


def cluster_sizes(occupied):
    """By a walk over occupied neighbours on the torus."""
    length = len(occupied)
    left = {site for site in itertools.product(range(length), repeat=2) if occupied[site]}
    sizes = []
    while left:
        queue, count = [left.pop()], 0
        while queue:
            i, j = queue.pop()
            count += 1
            for other in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                site = (other[0] % length, other[1] % length)
                if site in left:
                    left.remove(site)
                    queue.append(site)
        sizes.append(count)
    return np.array(sizes, dtype=float)


def enumerated(p):
    """The three columns on 3 × 3 sites from all 512 configurations."""
    totals = np.zeros(3)
    for sites in itertools.product((0, 1), repeat=9):
        sizes = cluster_sizes(np.array(sites).reshape(3, 3))
        chance = p ** sum(sites) * (1 - p) ** (9 - sum(sites))
        s2, s4 = (sizes**2).sum(), (sizes**4).sum()
        totals += chance * np.array([sizes.max(initial=0) / 9, s2, 3 * s2**2 - 2 * s4])
    return totals[0], totals[1] / 9, 1 - totals[2] / (3 * totals[1] ** 2)


@pytest.mark.slow
def test_percolation_agrees_with_all_configurations_of_a_small_lattice():
    occupations = [0.2, 0.45, 0.6, 0.8]
    data = percolation([3], occupations, samples=1000)
    exact = np.array([enumerated(p) for p in occupations]).T
    z = [
        (getattr(data, name) - value) / getattr(data, name + "_se") for name, value in zip(COLUMNS, exact, strict=True)
    ]
    assert np.abs(z).max() < 4


def test_a_full_lattice_is_one_cluster():
    data = percolation([5, 8], [1.0], samples=2)
    np.testing.assert_array_equal(data.order_parameter, 1)
    np.testing.assert_array_equal(data.susceptibility, [25, 64])
    np.testing.assert_allclose(data.binder, 2 / 3)
    assert np.isnan(data.specific_heat).all()
    assert np.isnan(data.energy_se).all()


@pytest.mark.slow
def test_cumulants_of_two_lengths_cross_at_the_critical_point():
    small, large = (percolation([length], [0.55, SITE_CRITICAL, 0.64], samples=100) for length in (16, 48))
    gap = large.binder - small.binder
    error = np.hypot(large.binder_se, small.binder_se)
    assert gap[0] < -10 * error[0]
    assert gap[2] > 10 * error[2]
    assert abs(gap[1]) < 0.05 * abs(gap[0])


@pytest.mark.slow
def test_the_largest_cluster_has_its_fractal_dimension():
    """max s/N ~ L^{−5/48} at p_c."""
    data = percolation([12, 48], [SITE_CRITICAL], samples=250)
    slope = np.log(data.order_parameter[0] / data.order_parameter[1]) / np.log(4)
    error = np.hypot(*(data.order_parameter_se / data.order_parameter)) / np.log(4)
    assert abs(slope - 5 / 48) < 4 * error + 0.003  # corrections to scaling of site percolation at these lengths
    assert error < 0.003


@pytest.mark.parametrize(
    "call",
    [
        lambda: percolation([2]),
        lambda: percolation([8], [0.0]),
        lambda: percolation([8], [1.1]),
        lambda: percolation([8], samples=0),
        lambda: percolation([8], replicas=1),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
