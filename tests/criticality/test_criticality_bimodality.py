from itertools import pairwise

import numpy as np
import pytest
from scipy.special import gamma

from llckit.criticality import bimodality, hyperscaling_test, transition_order
from llckit.criticality.order import measured_bimodality
from llckit.errors import InputError
from llckit.toys.lattice import scaling_window
from llckit.toys.spins import _swendsen_wang, curie_weiss_law, potts_critical

SIZES = (64, 128, 256, 512, 1024)
X = np.linspace(-3, 3, 15)


@pytest.mark.parametrize("upper", [2, 5, 10, 17])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (1e6, 1e6 + 1e-3), (-3.0, 0.1)])
def test_two_values_of_any_weights_have_the_highest_coefficient(upper, low, high):
    # What m_4/m_2² loses by rounding: a few units in the last place of moments of order 0.1.
    assert bimodality(np.repeat([low, high], [20 - upper, upper])) == pytest.approx((1, 0), abs=1e-13)


def test_uniform_and_gaussian_values_have_theirs():
    random = np.random.default_rng(0)
    coefficient, se = bimodality(np.stack([random.random(2000), random.standard_normal(2000)], axis=1))
    assert (np.abs(coefficient - [5 / 9, 1 / 3]) < 4 * se).all()
    assert (se < 0.02).all()


def test_the_coefficient_of_a_mixture_in_closed_form():
    # Moments of two Gaussians of width² v at 0 and 1: 1 - BC = v/(pq(1 - 3pq)) to first order in v.
    random = np.random.default_rng(1)
    p, v, runs = 0.3, 0.01, 3000
    q = 1 - p
    two, three, four = p * q + v, p * q * (q - p), p * q * (1 - 3 * p * q) + 6 * p * q * v + 3 * v**2
    coefficient, se = bimodality((random.random(runs) < p) + np.sqrt(v) * random.standard_normal(runs))
    assert abs(coefficient - (three**2 / two**3 + 1) * two**2 / four) < 4 * se
    assert 1 - coefficient == pytest.approx(v / (p * q * (1 - 3 * p * q)), rel=0.2)


def test_the_error_is_that_of_leaving_out_one_run_at_a_time():
    runs = np.random.default_rng(7).gamma(0.5, size=(13, 3))
    runs[0] = 1e6  # what is left without it has a range of 1e-6
    without = np.stack([bimodality(np.delete(runs, k, axis=0))[0] for k in range(13)])
    assert bimodality(runs)[1] == pytest.approx(np.sqrt(12 * without.var(axis=0)), rel=1e-9)


def test_the_error_is_the_spread_over_repetitions():
    random = np.random.default_rng(2)
    runs = (random.random((50, 400)) < 0.4) + 0.15 * random.standard_normal((50, 400))
    coefficient, se = bimodality(runs)
    # The standard deviation of 400 values is known to 1/√800, the mean error a little better: 5 of those, and the
    # jackknife's own bias of order 1/50.
    assert np.sqrt((se**2).mean()) == pytest.approx(coefficient.std(ddof=1), rel=0.2)


def test_twenty_gaussian_runs_are_biased_as_stated():
    coefficient, _ = bimodality(np.random.default_rng(3).standard_normal((20, 3000)))
    assert coefficient.mean() == pytest.approx(0.46, abs=0.005 + 5 * coefficient.std() / np.sqrt(3000))


def test_it_does_not_depend_on_unit_or_origin():
    runs = np.random.default_rng(4).random((12, 3)) ** 3
    before = bimodality(runs)
    for after in (bimodality(1e-150 * runs), bimodality(5 - 1000 * runs), bimodality(runs[::-1])):
        assert np.stack(after) == pytest.approx(np.stack(before), rel=1e-9)
    columns = [bimodality(column) for column in runs.T]
    assert np.transpose(columns) == pytest.approx(np.stack(before), rel=1e-12)


def test_runs_that_agree_have_none_and_neither_has_one_that_does_not():
    runs = np.full((10, 4), 0.3)
    runs[0, 1:] = 0.9, 0.3 + 1e-16, 0.9
    runs[1, 3] = 0.9
    coefficient, se = bimodality(runs)
    assert np.isnan(coefficient).tolist() == np.isnan(se).tolist() == [True, True, True, False]
    assert coefficient[3] == pytest.approx(1)


def test_one_run_far_from_the_others_has_a_large_error():
    runs = np.append(0.01 * np.random.default_rng(5).standard_normal(19), 1.0)
    coefficient, se = bimodality(runs)
    assert coefficient > 0.99
    assert coefficient - 3 * se < 5 / 9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, 0.2, 0.3], "has 3 runs, expected at least 10"),
        (np.ones((3, 20)), "has 3 runs"),
        ([*np.linspace(0, 1, 9), np.nan], "not finite"),
        (["a"] * 5, "expected numbers of shape"),
        (np.ones((4, 2, 2)), r"shape \(4, 2, 2\)"),
        ([], "expected numbers"),
        (0.5, "expected numbers"),
    ],
)
def test_runs_that_are_none_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        bimodality(values)


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


def two_phases(n, random, count):
    """Phases at 0.8 and 0, of width² 1/2N, whose weights change over a range of 1/N."""
    upper = random.random((count, 15)) < 1 / (1 + np.exp(2 * X))
    return 4 * X / n, np.abs(0.8 * upper + np.sqrt(0.5 / n) * random.standard_normal((count, 15)))


def curie_weiss_weights(n):
    """|m| and its exact weights at temperatures about the critical one, 1."""
    m, weight = curie_weiss_law(n, 1 + X / 3 / np.sqrt(n))
    return np.abs(m), weight


def curie_weiss(n, random, count):
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


def reason(draw, seed, **how):
    peaks = measured_bimodality(**measurements(draw, seed, **how))
    return "" if peaks is None else peaks.coexistence()


def test_two_phases_are_told_by_the_order_parameter_alone():
    # 20 runs tell them in 39 of 40 data sets.
    assert sum("falls as N^-" in reason(two_phases, seed) for seed in range(20)) >= 18
    assert all("falls as N^-" in reason(two_phases, seed, count=40) for seed in range(20))
    data = measurements(two_phases, 0)
    found = transition_order(**data)
    assert found.order == "first-order"
    assert "bimodality" in found.reason
    alone = {name: {"order_parameter": data[name]["order_parameter"]} for name in ("observables", "se")}
    assert transition_order(**(data | alone)).order != "first-order"
    assert hyperscaling_test(**data).verdict == "consistent"


@pytest.mark.parametrize("draw", [curie_weiss, crossover, split_at_all_sizes, split_exactly])
def test_nothing_else_is_told_for_two_phases(draw):
    assert [reason(draw, seed) for seed in range(20)] == [""] * 20


@pytest.mark.parametrize("count", [10, 20])
def test_noise_is_not_told_for_two_phases(count):
    def noise(_n, random, count):
        return X, np.linspace(0, 1, 15) + random.exponential(size=(count, 15))

    # 2 of 200 such curves of 8 runs would be; fewer than 10 are refused.
    assert sum(reason(noise, seed, count=count) != "" for seed in range(40)) <= 2


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


@pytest.mark.parametrize(("states", "order"), [(10, "first-order"), (3, "continuous")])
def test_potts_models(states, order):
    """One draw of the order parameter from each of 40 independent chains."""
    lengths, rows = (8, 12, 16, 24), []
    window = scaling_window(lengths, 6, 9) + np.log(10) if states > 4 else scaling_window(lengths, 1.5, 9)
    grid = potts_critical(states) * (1 + window / np.array(lengths)[:, None] ** (2 if states > 4 else 1.2))
    for length, temperature in zip(lengths, grid, strict=True):
        random = np.random.default_rng([6, length])
        m = _swendsen_wang(length, states, 1 / temperature, (0, 1), 1, 40, random)[..., 0].T
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
    for deep, told in (((0.68, 0.92, 0.98), True), ((0.92, 0.93, 0.94), False), ((0.1, 0.3, 0.5), False)):
        assert (exact(deep).coexistence() != "") == told
    assert exact((0.92, 0.98), sizes=(256, 1024)).coexistence() == ""
    assert exact((0.68, 0.92, 0.98), se=0.01).coexistence() != ""
    assert exact((0.68, 0.92, 0.98), se=0.15).coexistence() == ""


def test_peaks_off_the_transition_do_not_count():
    # One sample of the test set wrong or none: two values, but both of one phase.
    assert exact((0.68, 0.92, 0.98), [0.0, 0.3, 0.95, 1.0]).coexistence() == ""
    assert exact((0.68, 0.92, 0.98), [0.0, 0.3, 0.85, 1.0]).coexistence() != ""


def test_a_constant_bimodality_decides_nothing_and_refuses_nothing():
    data = measurements(crossover, 0)
    for value in (0.4, 1.0, np.nan):
        constant = {
            name: values | {"bimodality": np.full(75, value)} for name, values in data.items() if name == "observables"
        }
        assert transition_order(**(data | constant)).order == "crossover"


def test_no_exponent_depends_on_the_bimodality():
    data = measurements(curie_weiss, 1, count=100)
    without = {part: {"order_parameter": data[part]["order_parameter"]} for part in ("observables", "se")}
    assert hyperscaling_test(**data).to_dict() == hyperscaling_test(**(data | without)).to_dict()


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("observables", np.full(75, 1.2), "entry 1.2, expected coefficients"),
        ("observables", np.full(75, 0.0), "entry 0, expected coefficients"),
        ("observables", np.ones(74), "Lengths differ.*'bimodality': 74"),
        ("se", np.full(75, -0.1), "entry -0.1, expected 0 or more"),
        ("se", np.ones(3), "Lengths differ"),
    ],
)
def test_bad_coefficients_are_refused(part, value, message):
    data = measurements(crossover, 0)
    with pytest.raises(InputError, match=message):
        transition_order(**(data | {part: data[part] | {"bimodality": value}}))
