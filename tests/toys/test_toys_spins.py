"""Exact systems against brute force, Monte Carlo against enumeration and Kaufman's finite lattice."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from llckit.errors import InputError
from llckit.toys.lattice import ScalingData, Torus, from_moments, scaling_window
from llckit.toys.spins import (
    ISING_CRITICAL,
    curie_weiss,
    curie_weiss_law,
    ising,
    ising_chain,
    potts,
    potts_critical,
    two_basins,
    two_level_units,
)

OBSERVABLES = ("order_parameter", "susceptibility", "specific_heat", "binder", "energy")


def averaged(m, e, weight, size, temperature, components=1):
    """The observables of configurations with these weights."""
    chance = weight / weight.sum()
    moments = np.array([chance @ np.abs(m), chance @ m**2, chance @ m**4, chance @ e, chance @ e**2])
    return from_moments([size], [temperature], moments[None, None], temperature, components)


def all_states(states, sites):
    return np.array(list(itertools.product(range(states), repeat=sites)), dtype=np.int8)


def equal_pairs(grids):
    """Number of equal neighbours on the torus, for grids of shape (configurations, L, L)."""
    return sum((grids == np.roll(grids, 1, axis)).sum((1, 2)) for axis in (1, 2))


def scores(data, exact):
    """Deviations from the exact values in standard errors."""
    return np.array(
        [(getattr(data, name) - getattr(exact, name)) / getattr(data, name + "_se") for name in OBSERVABLES]
    )


def joined(parts):
    return ScalingData(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def enumerated_ising(temperatures):
    grids = (2 * all_states(2, 16) - 1).reshape(-1, 4, 4)
    m, e = grids.mean((1, 2)), 2.0 - 2 * equal_pairs(grids) / 16
    return joined([averaged(m, e, np.exp(-16 * (e + 2) / t), 16, t) for t in temperatures])


def enumerated_potts(states, temperatures):
    grids = all_states(states, 9).reshape(-1, 3, 3)
    shares = np.stack([(grids == a).mean((1, 2)) for a in range(states)])
    corners = np.eye(states) - 1 / states  # of the simplex, here of length² (q − 1)/q
    m = np.linalg.norm(corners @ shares, axis=0) * math.sqrt(states / (states - 1))
    e = -equal_pairs(grids) / 9
    return joined([averaged(m, e, np.exp(-9 * (e + 2) / t), 9, t, states - 1) for t in temperatures])


def test_ising_agrees_with_all_states_of_a_small_lattice():
    temperatures = np.linspace(1.5, 4.0, 30)
    data, exact = ising([4], temperatures, sweeps=800), enumerated_ising(temperatures)
    z = scores(data, exact)
    assert np.abs(z).max() < 4
    low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], 30)
    assert ((low < (z**2).sum(axis=1)) & ((z**2).sum(axis=1) < high)).all()  # errors neither too small nor too large


def test_the_law_of_curie_weiss_is_that_of_all_states_at_temperatures_of_any_shape():
    temperatures = np.array([[0.3, 1.0, 2.5]])
    m, law = curie_weiss_law(9, temperatures)
    assert law.shape == (1, 3, 10)
    found = (2.0 * all_states(2, 9) - 1).mean(1)
    for temperature, chances in zip(temperatures[0], law[0], strict=True):
        weight = np.exp(9 * (found**2 - 1) / (2 * temperature))
        expected = [weight[np.isclose(found, value)].sum() / weight.sum() for value in m]
        np.testing.assert_allclose(chances, expected, rtol=1e-12)


@pytest.mark.parametrize("states", [3, 4])
def test_potts_agrees_with_all_states_of_a_small_lattice(states):
    temperatures = np.linspace(0.6, 1.6, 6)
    data, exact = potts([3], states, temperatures, sweeps=1500), enumerated_potts(states, temperatures)
    assert np.abs(scores(data, exact)).max() < 4


def kaufman(length, beta):
    """ln Z/N of the Ising model on an L × L torus (Kaufman, Phys. Rev. 76, 1949), L even."""
    r = np.arange(2 * length)
    gamma = np.arccosh(np.maximum(math.cosh(2 * beta) / math.tanh(2 * beta) - np.cos(math.pi * r / length), 1))
    gamma[0] = 2 * beta + math.log(math.tanh(beta))
    half = length * gamma / 2
    products = []
    for part in (half[1::2], half[0::2]):
        products.append((1, np.logaddexp(part, -part).sum()))
        sinh = 2 * np.sinh(np.where(np.abs(part) < 300, part, 0))
        sizes = np.where(np.abs(part) < 300, np.log(np.maximum(np.abs(sinh), 1e-300)), np.abs(part))
        products.append((np.prod(np.sign(part)), sizes.sum()))
    top = max(size for _, size in products)
    total = sum(sign * math.exp(size - top) for sign, size in products)
    return (-math.log(2) + top + math.log(total)) / length**2 + math.log(2 * math.sinh(2 * beta)) / 2


def kaufman_energy(length, temperature, step=1e-4):
    beta = 1 / temperature
    low, middle, high = (kaufman(length, beta + shift) for shift in (-step, 0, step))
    return -(high - low) / (2 * step), beta**2 * (high - 2 * middle + low) / step**2


def test_kaufman_agrees_with_all_states_and_tends_to_onsager():
    energy, heat = kaufman_energy(4, 2.3)
    exact = enumerated_ising([2.3])
    assert energy == pytest.approx(exact.energy[0], abs=1e-6)
    assert heat == pytest.approx(exact.specific_heat[0], abs=1e-5)
    gaps = [(kaufman_energy(length, ISING_CRITICAL)[0] + math.sqrt(2)) * length for length in (16, 32, 64)]
    np.testing.assert_allclose(gaps, gaps[-1], rtol=1e-2)  # Ferdinand and Fisher: −√2 and a correction in 1/L


def test_ising_of_length_32_agrees_with_the_exact_energy_and_specific_heat():
    temperatures = ISING_CRITICAL * np.array([0.97, 1, 1.03])
    data = ising([32], temperatures, sweeps=250)
    for i, temperature in enumerate(temperatures):
        energy, heat = kaufman_energy(32, temperature)
        assert abs(data.energy[i] - energy) < 4 * data.energy_se[i]
        assert abs(data.specific_heat[i] - heat) < 4 * data.specific_heat_se[i]
    assert data.energy_se.max() < 5e-3


def test_potts_of_two_states_is_ising_at_twice_the_temperature():
    temperatures = np.array([2.0, 2.3, 2.6])
    spins, two = ising([6], temperatures, sweeps=50), potts([6], 2, temperatures / 2, sweeps=50)
    for name in ("order_parameter", "susceptibility", "specific_heat", "binder", "binder_se"):
        np.testing.assert_allclose(getattr(spins, name), getattr(two, name), rtol=1e-9)
    np.testing.assert_allclose(spins.energy, 2 + 2 * two.energy)
    assert potts_critical(2) * 2 == pytest.approx(ISING_CRITICAL)


def test_a_size_does_not_depend_on_the_others():
    alone, beside = ising([8], [2.2, 2.4], sweeps=5), ising([4, 8], [2.2, 2.4], sweeps=5)
    for one, both in zip(alone, beside, strict=True):
        np.testing.assert_array_equal(one, both[2:])


def test_first_order_runs_too_short_to_tunnel_have_large_errors():
    """With both phases present at T_c, the error of the mean over the starts is at least that of their two values."""
    stuck = potts([32], 10, [potts_critical(10)], sweeps=10, replicas=16)
    assert stuck.order_parameter_se[0] > 0.05
    free = potts([4], 10, [potts_critical(10)], sweeps=400, replicas=16)
    assert free.order_parameter_se[0] < 0.02


def test_the_cumulant_of_ten_states_turns_negative():
    data = potts([6], 10, [0.76], sweeps=600)
    assert data.binder[0] < -5 * data.binder_se[0]


def test_clusters_are_those_of_a_walk_along_bonds():
    random = np.random.default_rng(0)
    bonds = random.random((6, 5, 5, 2)) < 0.45
    number, labels = Torus(5, 6).clusters(bonds)
    seen = set()
    for row in range(6):
        links = {site: set() for site in itertools.product(range(5), repeat=2)}
        for (i, j), k in itertools.product(list(links), (0, 1)):
            if bonds[row, i, j, k]:
                other = (i, (j + 1) % 5) if k == 0 else ((i + 1) % 5, j)
                links[i, j].add(other)
                links[other].add((i, j))
        left = set(links)
        while left:
            cluster, queue = set(), [next(iter(left))]
            while queue:
                site = queue.pop()
                if site not in cluster:
                    cluster.add(site)
                    queue.extend(links[site])
            left -= cluster
            found = {labels[row, i, j] for i, j in cluster}
            assert len(found) == 1
            seen |= found
            assert (labels == found.pop()).sum() == len(cluster)
    assert len(seen) == number


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


@pytest.mark.parametrize("size", [9, 10])
def test_curie_weiss_and_the_chain_agree_with_all_states(size):
    spins = 2.0 * all_states(2, size) - 1
    m = spins.mean(1)
    for temperature in (0.3, 1.0, 2.5):
        for function, e in (
            (curie_weiss, -(m**2) / 2),
            (ising_chain, -(spins * np.roll(spins, 1, 1)).mean(1)),
        ):
            found = function([size], [temperature])
            expected = averaged(m, e, np.exp(-size * (e + 1) / temperature), size, temperature)
            for name in OBSERVABLES:
                assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9)
                assert np.isnan(getattr(found, name + "_se")).all()


def test_curie_weiss_scales_with_mean_field_exponents_at_the_critical_point():
    data = curie_weiss([1024, 4096], [1.0])
    ratio = np.log(4)
    assert np.log(data.order_parameter[0] / data.order_parameter[1]) / ratio == pytest.approx(1 / 4, rel=0.02)
    assert np.log(data.susceptibility[1] / data.susceptibility[0]) / ratio == pytest.approx(1 / 2, rel=0.02)


def test_long_chains_are_those_of_infinite_length():
    temperatures = np.array([0.6, 1.0, 2.0])
    data = ising_chain([4096], temperatures)
    np.testing.assert_allclose(data.susceptibility, np.exp(2 / temperatures), rtol=1e-6)
    np.testing.assert_allclose(data.energy, -np.tanh(1 / temperatures), rtol=1e-9)
    np.testing.assert_allclose(data.specific_heat, (temperatures * np.cosh(1 / temperatures)) ** -2, rtol=1e-6)


def test_two_level_units_follow_schottky_at_every_size():
    temperatures = np.array([0.15, 0.24, 0.5])
    data = two_level_units([10, 1000], temperatures)
    excited = 64 / (64 + np.exp(1 / temperatures))
    for block in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(data.order_parameter[block], 1 - excited, rtol=1e-9)
        np.testing.assert_allclose(data.specific_heat[block], excited * (1 - excited) / temperatures**2, rtol=1e-7)


def test_two_basins_are_a_mixture_of_normal_laws():
    n, tau, difference = 16, 0.02, 0.75
    data = two_basins([n], [tau], llc_difference=difference)
    random = np.random.default_rng(0)
    weight = np.exp([-(n * tau + difference * np.log(n)) / 2, (n * tau + difference * np.log(n)) / 2])
    ordered = random.random(400_000) < weight[0] / weight.sum()
    sign = random.choice([-1, 1], size=len(ordered))
    m = ordered * sign + random.standard_normal(len(ordered)) / math.sqrt(n)
    e = np.where(ordered, 0.5, -0.5) + random.standard_normal(len(ordered)) / math.sqrt(n)
    moments = np.stack([np.abs(m), m**2, m**4, e, e**2], axis=1).reshape(1, 100, -1, 5).mean(axis=2)
    drawn = from_moments([n], [tau], moments)
    assert np.abs(scores(drawn, data)).max() < 4


def test_two_basins_show_the_marks_of_a_first_order_transition():
    data = two_basins([256, 1024, 4096])
    for size in (256, 1024, 4096):
        heat = data.specific_heat[data.size == size]
        assert 1 + 0.9 * size / 4 < heat.max() < 1 + size / 4
    equal = two_basins([1024], [-0.5 * math.log(1024) / 1024])
    assert equal.specific_heat[0] == pytest.approx(1 + 1024 / 4)
    assert equal.energy[0] == pytest.approx(0, abs=1e-12)
    assert [data.binder[data.size == n].min() for n in (256, 1024, 4096)] == sorted(
        [data.binder[data.size == n].min() for n in (256, 1024, 4096)], reverse=True
    )
    assert data.binder.min() < -5


def test_windows_of_different_sizes_share_no_point():
    x = scaling_window([8, 12, 16, 24, 32, 48, 64], 1.5)
    assert np.abs(x).max() <= 1.5
    np.testing.assert_allclose(np.diff(x, axis=1), 3 / 11)
    gaps = np.abs(x[:, None, :, None] - x[None, :, None, :])[~np.eye(7, dtype=bool)]
    assert gaps.min() > 0.01 * 3 / 11


@pytest.mark.parametrize(
    "call",
    [
        lambda: ising([2]),
        lambda: ising([]),
        lambda: ising([8.5]),  # pyright: ignore[reportArgumentType]
        lambda: ising([8], [0.0]),
        lambda: ising([8], [math.nan]),
        lambda: ising([8, 16], np.ones((3, 4))),
        lambda: ising([8], sweeps=0),
        lambda: ising([8], replicas=1),
        lambda: potts([8], 1),
        lambda: potts([8], 128),
        lambda: curie_weiss([1]),
        lambda: curie_weiss([0]),
        lambda: curie_weiss([8], [-1.0]),
        lambda: curie_weiss_law(1, 1.0),
        lambda: curie_weiss_law(8, [1.0, 0.0]),
        lambda: ising_chain([1]),
        lambda: two_level_units([8], degeneracy=1),
        lambda: two_basins([1]),
        lambda: two_basins([8], [[[0.0]]]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
