"""Scaling relations: exact exponents keep every law, wrong ones give their residual, errors are propagated."""

import math

import pytest

from llckit.criticality import scaling_relations
from llckit.errors import InputError

EXACT = {
    "2D Ising": {"alpha": 0, "beta": 1 / 8, "gamma": 7 / 4, "delta": 15, "nu": 1, "eta": 1 / 4, "nu_star": 2},
    "mean field": {"alpha": 0, "beta": 1 / 2, "gamma": 1, "delta": 3, "nu": 1 / 2, "eta": 0, "nu_star": 2},
    "2D percolation": {
        "alpha": -2 / 3,
        "beta": 5 / 36,
        "gamma": 43 / 18,
        "delta": 91 / 5,
        "nu": 4 / 3,
        "eta": 5 / 24,
        "nu_star": 8 / 3,
    },
    "2D Potts, 3 states": {
        "alpha": 1 / 3,
        "beta": 1 / 9,
        "gamma": 13 / 9,
        "delta": 14,
        "nu": 5 / 6,
        "eta": 4 / 15,
        "nu_star": 5 / 3,
    },
}
NAMES = ["Rushbrooke", "Widom", "Fisher", "Josephson"]


@pytest.mark.parametrize("exponents", EXACT.values(), ids=EXACT.keys())
def test_exact_exponents_keep_every_law(exponents):
    relations = scaling_relations(**exponents)
    assert [one.name for one in relations] == NAMES
    for one in relations:
        assert one.residual == pytest.approx(0, abs=1e-14)
        assert one.standard_error is None
        assert one.z is None


def test_2d_ising_has_residuals_of_exactly_zero():
    assert [one.residual for one in scaling_relations(**EXACT["2D Ising"])] == [0, 0, 0, 0]


def test_3d_ising_keeps_the_laws_to_its_digits():
    # Josephson with nu* = 3 nu; the exponents are rounded to the fifth decimal.
    relations = scaling_relations(alpha=0.11009, beta=0.32642, gamma=1.23708, delta=4.78984, nu_star=3 * 0.62997)
    assert [one.name for one in relations] == ["Rushbrooke", "Widom", "Josephson"]
    assert [one.residual for one in relations] == pytest.approx([0, 0, 0], abs=3e-5)


def test_lattice_hyperscaling_fails_for_mean_field_in_five_dimensions_and_the_volume_form_holds():
    assert scaling_relations(alpha=0, nu_star=5 / 2)[0].residual == pytest.approx(0.5)
    assert scaling_relations(alpha=0, nu_star=4 / 2)[0].residual == 0


def test_wrong_exponents_give_the_residual_expected():
    wrong = EXACT["2D Ising"] | {"beta": 1 / 8 + 0.01}
    rushbrooke, widom, fisher, josephson = scaling_relations(**wrong)
    assert rushbrooke.residual == pytest.approx(0.02)
    assert widom.residual == pytest.approx(-0.14)
    assert fisher.residual == 0
    assert josephson.residual == 0


@pytest.mark.parametrize("exponents", EXACT.values(), ids=EXACT.keys())
def test_standard_errors_are_propagated_to_first_order(exponents):
    errors = {name: 0.01 * (i + 1) for i, name in enumerate(exponents)}
    shifted = exponents | {"gamma": exponents["gamma"] + 0.1}
    step = 1e-6
    for place, one in enumerate(scaling_relations(**shifted, standard_errors=errors)):
        slopes = {
            name: (
                scaling_relations(**(shifted | {name: shifted[name] + step}))[place].residual
                - scaling_relations(**(shifted | {name: shifted[name] - step}))[place].residual
            )
            / (2 * step)
            for name in errors
        }
        expected = math.sqrt(sum((slopes[name] * errors[name]) ** 2 for name in errors))
        assert one.standard_error == pytest.approx(expected, rel=1e-6)
        assert one.z == pytest.approx(one.residual / expected, rel=1e-6)


def test_an_exponent_without_error_counts_as_exact_and_a_law_without_any_has_no_z():
    josephson, widom = (
        scaling_relations(alpha=0, nu_star=2.1, standard_errors={"nu_star": 0.05})[0],
        scaling_relations(beta=0.5, gamma=1, delta=3, standard_errors={"beta": 0})[0],
    )
    assert (josephson.standard_error, josephson.z) == pytest.approx((0.05, 2.0))
    assert (widom.standard_error, widom.z) == (0, None)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "exponents are not given; expected those of a law"),
        ({"alpha": 0, "beta": 0.5}, "exponents are alpha, beta; expected those of a law"),
        ({"alpha": math.nan, "nu_star": 2}, "alpha is nan"),
        ({"alpha": 0, "nu_star": "2"}, "nu_star is '2'"),
        ({"alpha": True, "nu_star": 2}, "alpha is True"),
        ({"alpha": 0, "nu_star": 2, "standard_errors": {"beta": 0.1}}, "has 'beta'; expected exponents that are given"),
        ({"alpha": 0, "nu_star": 2, "standard_errors": {"alpha": -0.1}}, "is -0.1; expected a finite number >= 0"),
        ({"alpha": 0, "nu_star": 2, "standard_errors": {"alpha": math.inf}}, "is inf"),
        ({"alpha": 0, "nu_star": 2, "standard_errors": [0.1]}, "expected a mapping"),
    ],
)
def test_bad_input_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        scaling_relations(**given)
