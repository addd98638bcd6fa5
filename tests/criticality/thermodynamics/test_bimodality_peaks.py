"""Two phases by the bimodality over runs: they are found, and nothing else is taken for them."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.special import gamma

from llckit.criticality import bimodality, hyperscaling_test, measured_bimodality, transition_order
from llckit.errors import InputError
from llckit.toys import curie_weiss_law, potts_critical
from llckit.toys.spins.control_grid import scaling_window
from llckit.toys.spins.swendsen_wang import swendsen_wang

SIZES = (64, 128, 256, 512, 1024)
X = np.linspace(-3, 3, 15)


def measurements(draw, seed, sizes=SIZES, count=20):
    """Order parameter and bimodality of runs that draw(size, random) gives in shape (count, controls)."""
    random = np.random.default_rng(seed)
    rows = []
    for n in sizes:
        control, runs = draw(n, random, count)
        error = runs.std(axis=0, ddof=1) / np.sqrt(count)
        rows.append([np.full(len(control), n), control, runs.mean(axis=0), *bimodality(runs), error])
    return as_measurements(rows)


def as_measurements(rows):
    size, control, mean, bimodal, se, error = np.concatenate(rows, axis=1)
    return {
        "size": size,
        "control": control,
        "observables": {"order_parameter": mean, "bimodality": bimodal},
        "se": {"order_parameter": error, "bimodality": se},
    }


def drawn_from_two_phases(n, random, count):
    """Phases at 0.8 and 0, of width² 1/2N, whose weights change over a range of 1/N."""
    upper = random.random((count, 15)) < 1 / (1 + np.exp(2 * X))
    return 4 * X / n, np.abs(0.8 * upper + np.sqrt(0.5 / n) * random.standard_normal((count, 15)))


def curie_weiss_weights(n):
    """|m| and its exact weights at temperatures about the critical one, 1."""
    m, weight = curie_weiss_law(n, 1 + X / 3 / np.sqrt(n))
    return np.abs(m), weight


def drawn_from_curie_weiss(n, random, count):
    m, weight = curie_weiss_weights(n)
    return 1 + X / 3 / np.sqrt(n), np.stack([random.choice(m, count, p=one) for one in weight], axis=1)


def crossover(n, random, count):
    """A mean of no size with Gaussian noise."""
    return X, 1 / (1 + np.exp(X)) + random.standard_normal((count, 15)) / np.sqrt(n)


def split_at_all_sizes(n, random, count):
    """Two values whose distance and widths are the same at all sizes, as of a crossing probability: no coexistence."""
    share = 1 / (1 + np.exp(2 * X))
    return 1 + X / np.sqrt(n), (random.random((count, 15)) < share) + 0.15 * random.standard_normal((count, 15))


def split_exactly(n, random, count):
    """The same without widths: 1 - BC is 0 but for rounding."""
    return 1 + X / np.sqrt(n), 0.2 + 0.7 * (random.random((count, 15)) < 1 / (1 + np.exp(2 * X)))


def found_phases(draw, seed, **how):
    peaks = measured_bimodality(**measurements(draw, seed, **how))
    return None if peaks is None else peaks.coexistence()


@pytest.mark.slow
def test_the_order_parameter_alone_shows_two_phases():
    # 20 runs show them in 39 of 40 data sets.
    assert sum(found_phases(drawn_from_two_phases, seed) is not None for seed in range(20)) >= 18
    for seed in range(20):
        phases = found_phases(drawn_from_two_phases, seed, count=40)
        assert phases is not None
        assert phases.bimodality > 5 / 9
        assert phases.fall > 0.25
    data = measurements(drawn_from_two_phases, 0)
    found = transition_order(**data)
    assert found.order == "first-order"
    assert "bimodality" in found.reason
    assert "falls as N^-" in found.reason
    alone = {name: {"order_parameter": data[name]["order_parameter"]} for name in ("observables", "se")}
    assert transition_order(**(data | alone)).order != "first-order"
    assert hyperscaling_test(**data).verdict == "consistent"


@pytest.mark.parametrize("draw", [drawn_from_curie_weiss, crossover, split_at_all_sizes, split_exactly])
def test_nothing_else_is_taken_for_two_phases(draw):
    assert [found_phases(draw, seed) for seed in range(20)] == [None] * 20


@pytest.mark.parametrize("count", [10, 20])
def test_noise_is_not_taken_for_two_phases(count):
    def noise(_n, random, count):
        return X, np.linspace(0, 1, 15) + random.exponential(size=(count, 15))

    # 2 of 200 such curves of 8 runs would be; fewer than 10 are refused.
    assert sum(found_phases(noise, seed, count=count) is not None for seed in range(40)) <= 2


def test_the_exact_coefficient_of_curie_weiss_at_its_critical_point_is_one_number():
    # For N → ∞ m N^(1/4) has the density exp(-x⁴/12) (Ellis and Newman, 1978); corrections are powers of N^(-1/2).
    one, two, three, four = (12 ** (k / 4) * gamma((k + 1) / 4) / gamma(1 / 4) for k in (1, 2, 3, 4))
    limit = coefficient(one, two, three, four)
    found = []
    for n in (64, 256, 1024, 4096):
        m, weight = curie_weiss_weights(n)
        found.append(coefficient(*(weight[7] @ m**k for k in (1, 2, 3, 4))))
    assert limit < 5 / 9
    assert found == pytest.approx([limit] * 4, abs=0.003)
    for factor in (2, 4, 8):  # Richardson's extrapolation takes off N^(-1/2), N^(-1) and N^(-3/2)
        found = [(factor * b - a) / (factor - 1) for a, b in pairwise(found)]
    assert found == pytest.approx([limit], abs=1e-5)


def coefficient(one, two, three, four):
    """BC of the first moments about 0."""
    variance = two - one**2
    third = three - 3 * one * two + 2 * one**3
    return (third**2 / variance**3 + 1) * variance**2 / (four - 4 * one * three + 6 * one**2 * two - 3 * one**4)


@pytest.mark.slow
@pytest.mark.parametrize(("states", "order"), [(10, "first-order"), (3, "continuous")])
def test_potts_models(states, order):
    """One draw of the order parameter from each of 40 independent chains."""
    lengths, rows = (8, 12, 16, 24), []
    window = scaling_window(lengths, 6, 9) + np.log(10) if states > 4 else scaling_window(lengths, 1.5, 9)
    grid = potts_critical(states) * (1 + window / np.array(lengths)[:, None] ** (2 if states > 4 else 1.2))
    for length, temperature in zip(lengths, grid, strict=True):
        random = np.random.default_rng([6, length])
        m = swendsen_wang(length, states, 1 / temperature, (0, 1), 1, 40, random)[..., 0].T
        error = m.std(axis=0, ddof=1) / np.sqrt(40)
        rows.append([np.full(9, length**2), temperature, m.mean(axis=0), *bimodality(m), error])
    found = transition_order(**as_measurements(rows))
    assert found.order == order
    assert ("bimodality" in found.reason) == (order == "first-order")


def exact(value, order_parameter=None, sizes=(64, 256, 1024), se=None):
    """A coefficient for each size at 4 controls, of which the third has the given one."""
    size, control = np.repeat(sizes, 4), np.tile(np.arange(4.0), len(sizes))
    coefficient = np.where(control == 2, np.repeat(value, 4), 0.4)
    mean = np.tile([0.0, 0.3, 0.6, 1.0] if order_parameter is None else order_parameter, len(sizes))
    observables = {"order_parameter": mean, "bimodality": coefficient}
    error = None if se is None else {"bimodality": np.full(len(size), se)}
    return measured_bimodality(size, control, observables, error)


def test_the_coefficient_must_be_high_and_grow_at_three_sizes():
    for deep, found in (((0.68, 0.92, 0.98), True), ((0.92, 0.93, 0.94), False), ((0.1, 0.3, 0.5), False)):
        assert (exact(deep).coexistence() is not None) == found
    assert exact((0.92, 0.98), sizes=(256, 1024)).coexistence() is None
    assert exact((0.68, 0.92, 0.98), se=0.01).coexistence() is not None
    assert exact((0.68, 0.92, 0.98), se=0.15).coexistence() is None


def test_peaks_off_the_transition_do_not_count():
    # One sample of the test set wrong or none: two values, but both of one phase.
    assert exact((0.68, 0.92, 0.98), [0.0, 0.3, 0.95, 1.0]).coexistence() is None
    assert exact((0.68, 0.92, 0.98), [0.0, 0.3, 0.85, 1.0]).coexistence() is not None


@pytest.mark.slow
def test_a_constant_bimodality_decides_nothing_and_refuses_nothing():
    data = measurements(crossover, 0)
    for value in (0.4, 1.0, np.nan):
        constant = {
            name: values | {"bimodality": np.full(75, value)} for name, values in data.items() if name == "observables"
        }
        assert transition_order(**(data | constant)).order == "crossover"


@pytest.mark.slow
def test_no_exponent_depends_on_the_bimodality():
    data = measurements(drawn_from_curie_weiss, 1, count=100)
    without = {part: {"order_parameter": data[part]["order_parameter"]} for part in ("observables", "se")}
    assert hyperscaling_test(**data).to_dict() == hyperscaling_test(**(data | without)).to_dict()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("observables", np.full(75, 1.2), "entry 1.2; expected coefficients"),
        ("observables", np.full(75, 0.0), "entry 0; expected coefficients"),
        ("observables", np.ones(74), "bimodality has 74.*expected equal lengths"),
        ("se", np.full(75, -0.1), "entry -0.1; expected numbers >= 0"),
        ("se", np.ones(3), "expected equal lengths"),
    ],
)
def test_bad_coefficients_are_refused(part, value, message):
    data = measurements(crossover, 0)
    with pytest.raises(InputError, match=message):
        transition_order(**(data | {part: data[part] | {"bimodality": value}}))
