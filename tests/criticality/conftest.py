"""Measurements that several tests of this room share."""

import numpy as np
import pytest

from llckit import toys

SIZES = (64, 128, 256, 512, 1024)


@pytest.fixture
def curie_weiss():
    """Exact values within 1/√N of the critical temperature, 1; the susceptibility is the variance of |m|."""

    def make(sizes=SIZES, points=21):
        data = toys.curie_weiss(sizes, 1 + np.linspace(-1, 1, points) / np.sqrt(sizes)[:, None])
        observables = {
            "order_parameter": data.order_parameter,
            "susceptibility": data.susceptibility - data.size * data.order_parameter**2,
            "binder": data.binder,
            "specific_heat": data.specific_heat,
        }
        return {"size": data.size, "control": data.control, "observables": observables}

    return make


@pytest.fixture
def two_phases():
    """Two Gaussian phases of m at 0.8 and 0, and two of the energy, whose weights change over a range of 1/N."""

    def make():
        size, x = np.repeat(np.array(SIZES, dtype=float), 15), np.tile(np.linspace(-6, 6, 15), len(SIZES))
        share, v = 1 / (1 + np.exp(x)), 0.5 / size
        one, two, four = (
            share * ordered + (1 - share) * disordered
            for ordered, disordered in (
                (0.8, np.sqrt(2 * v / np.pi)),
                (0.64 + v, v),
                (0.4096 + 6 * 0.64 * v + 3 * v**2, 3 * v**2),
            )
        )
        observables = {
            "order_parameter": one,
            "susceptibility": size * (two - one**2),
            "binder": 1 - four / (3 * two**2),
            "specific_heat": 1 + size * share * (1 - share) / 4,
        }
        return {"size": size, "control": 2 * x / size, "observables": observables}

    return make


@pytest.fixture
def only():
    """The same measurements with some of their observables."""

    def make(data, *names):
        parts = [part for part in ("observables", "se") if data.get(part) is not None]
        return data | {part: {name: data[part][name] for name in names} for part in parts}

    return make


@pytest.fixture
def spoiled():
    """Keyword arguments with something wrong: other values by name, or (name, place, entry) of one array."""

    def make(arguments, change):
        if isinstance(change, dict):
            return arguments | change
        name, place, entry = change
        array = np.array(arguments[name], dtype=float)
        array[place] = entry
        return arguments | {name: array}

    return make
