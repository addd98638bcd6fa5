"""Ising and Potts models by cluster moves, against enumeration and Kaufman's finite lattice."""

import math

import numpy as np
import pytest
from scipy import stats

from llckit.errors import InputError
from llckit.toys import ISING_CRITICAL, ScalingData, ising, potts, potts_critical


def equal_pairs(grids):
    """Number of equal neighbours on the torus, for grids of shape (configurations, L, L)."""
    return sum((grids == np.roll(grids, 1, axis)).sum((1, 2)) for axis in (1, 2))


def joined(parts):
    return ScalingData(*(np.concatenate(column) for column in zip(*parts, strict=True)))


@pytest.fixture
def enumerated_ising(averaged, all_states):
    """Exact observables of the Ising model on 4 × 4 sites."""

    def enumerate_states(temperatures):
        grids = (2 * all_states(2, 16) - 1).reshape(-1, 4, 4)
        m, e = grids.mean((1, 2)), 2.0 - 2 * equal_pairs(grids) / 16
        return joined([averaged(m, e, np.exp(-16 * (e + 2) / t), 16, t) for t in temperatures])

    return enumerate_states


@pytest.fixture
def enumerated_potts(averaged, all_states):
    """Exact observables of the Potts model on 3 × 3 sites."""

    def enumerate_states(states, temperatures):
        grids = all_states(states, 9).reshape(-1, 3, 3)
        shares = np.stack([(grids == a).mean((1, 2)) for a in range(states)])
        corners = np.eye(states) - 1 / states  # of the simplex, here of length² (q − 1)/q
        m = np.linalg.norm(corners @ shares, axis=0) * math.sqrt(states / (states - 1))
        e = -equal_pairs(grids) / 9
        return joined([averaged(m, e, np.exp(-9 * (e + 2) / t), 9, t, states - 1) for t in temperatures])

    return enumerate_states


@pytest.mark.slow
def test_ising_agrees_with_all_states_of_a_small_lattice(enumerated_ising, scores):
    temperatures = np.linspace(1.5, 4.0, 30)
    data, exact = ising([4], temperatures, sweeps=800), enumerated_ising(temperatures)
    z = scores(data, exact)
    assert np.abs(z).max() < 4
    low, high = stats.chi2.ppf([5e-4, 1 - 5e-4], 30)
    assert ((low < (z**2).sum(axis=1)) & ((z**2).sum(axis=1) < high)).all()  # errors neither too small nor too large


@pytest.mark.slow
@pytest.mark.parametrize("states", [3, 4])
def test_potts_agrees_with_all_states_of_a_small_lattice(enumerated_potts, scores, states):
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


def test_kaufman_agrees_with_all_states_and_tends_to_onsager(enumerated_ising):
    energy, heat = kaufman_energy(4, 2.3)
    exact = enumerated_ising([2.3])
    assert energy == pytest.approx(exact.energy[0], abs=1e-6)
    assert heat == pytest.approx(exact.specific_heat[0], abs=1e-5)
    gaps = [(kaufman_energy(length, ISING_CRITICAL)[0] + math.sqrt(2)) * length for length in (16, 32, 64)]
    np.testing.assert_allclose(gaps, gaps[-1], rtol=1e-2)  # Ferdinand and Fisher: −√2 and a correction in 1/L


@pytest.mark.slow
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


@pytest.mark.slow
def test_first_order_runs_too_short_to_tunnel_have_large_errors():
    """With both phases present at T_c, the error of the mean over the starts is at least that of their two values."""
    stuck = potts([32], 10, [potts_critical(10)], sweeps=10, replicas=16)
    assert stuck.order_parameter_se[0] > 0.05
    free = potts([4], 10, [potts_critical(10)], sweeps=400, replicas=16)
    assert free.order_parameter_se[0] < 0.02


@pytest.mark.slow
def test_the_cumulant_of_ten_states_turns_negative():
    data = potts([6], 10, [0.76], sweeps=600)
    assert data.binder[0] < -5 * data.binder_se[0]


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
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
