"""Exact systems against sums over all states, limits and draws."""

import math

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.toys import curie_weiss, curie_weiss_law, ising_chain, two_basins, two_level_units
from llckit.toys.spins.scaling_data import from_moments


def test_the_law_of_curie_weiss_is_that_of_all_states_at_temperatures_of_any_shape(all_states):
    temperatures = np.array([[0.3, 1.0, 2.5]])
    m, law = curie_weiss_law(9, temperatures)
    assert law.shape == (1, 3, 10)
    found = (2.0 * all_states(2, 9) - 1).mean(1)
    for temperature, chances in zip(temperatures[0], law[0], strict=True):
        weight = np.exp(9 * (found**2 - 1) / (2 * temperature))
        expected = [weight[np.isclose(found, value)].sum() / weight.sum() for value in m]
        np.testing.assert_allclose(chances, expected, rtol=1e-12)


@pytest.mark.parametrize("size", [9, 10])
def test_curie_weiss_and_the_chain_agree_with_all_states(averaged, all_states, size):
    spins = 2.0 * all_states(2, size) - 1
    m = spins.mean(1)
    for temperature in (0.3, 1.0, 2.5):
        for function, e in (
            (curie_weiss, -(m**2) / 2),
            (ising_chain, -(spins * np.roll(spins, 1, 1)).mean(1)),
        ):
            found = function([size], [temperature])
            expected = averaged(m, e, np.exp(-size * (e + 1) / temperature), size, temperature)
            for name in ("order_parameter", "susceptibility", "specific_heat", "binder", "energy"):
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


def test_two_basins_are_a_mixture_of_normal_laws(scores):
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


def test_two_basins_show_the_signs_of_a_first_order_transition():
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


@pytest.mark.parametrize(
    "call",
    [
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
