"""Sums over all states of small systems."""

import itertools

import numpy as np
import pytest

from llckit.toys.spins.scaling_data import from_moments

OBSERVABLES = ("order_parameter", "susceptibility", "specific_heat", "binder", "energy")


@pytest.fixture
def averaged():
    """The observables of configurations with these weights."""

    def average(m, e, weight, size, temperature, components=1):
        chance = weight / weight.sum()
        moments = np.array([chance @ np.abs(m), chance @ m**2, chance @ m**4, chance @ e, chance @ e**2])
        return from_moments([size], [temperature], moments[None, None], temperature, components)

    return average


@pytest.fixture
def all_states():
    """Every configuration of some sites, each in one of several states."""

    def states_of(states, sites):
        return np.array(list(itertools.product(range(states), repeat=sites)), dtype=np.int8)

    return states_of


@pytest.fixture
def scores():
    """Deviations of all observables from exact values, in standard errors."""

    def deviations(data, exact):
        return np.array(
            [(getattr(data, name) - getattr(exact, name)) / getattr(data, name + "_se") for name in OBSERVABLES]
        )

    return deviations
