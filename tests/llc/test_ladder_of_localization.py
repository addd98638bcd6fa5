"""Which localization the search for a plateau settles on, with made-up curves."""

import pytest

import llckit as lk
from tests.llc.ladders import GAMMA, at, by_gamma, flat_from_two, rule, stairs


@pytest.mark.parametrize(
    ("values", "decade", "share"),
    [((2, 2, 9, 9), 0, ""), ((1, 2, 2, 9), 1, ", a 10th of it"), ((1, 2, 3, 3), 2, ", a 100th of it")],
)
def test_a_smaller_localization_is_taken_where_it_is_what_matters(search, values, decade, share):
    found, rungs = search(by_gamma(*values), leaning=-0.5)
    assert at(found) == (0, -decade)
    assert rungs == [(k, 0) for k in range(4)] + [(0, -k) for k in range(1, decade + 2)]
    assert found.llc == values[decade]
    assert rule(found).startswith("n_beta = n/ln(n), with the LLC flat in localization; localization")
    assert rule(found).endswith(share)
    assert share or "th of it" not in rule(found)


@pytest.mark.parametrize(
    ("held", "tried", "taken"),
    [(0.11, [1, 2], 1), (0.16, [1, 2], 1), (0.19, [2, 3], 2), (0.9, [2, 3], 2), (1.5, [2, 3], 2)],
)
def test_a_localization_that_holds_the_chain_is_lowered_first_and_at_once(search, held, tried, taken):
    # λ̂ ∝ k/(k + γ) falls by γ/(k + γ) per e-fold: at γ/10 by a further 2 % to γ/100 where that is 0.185
    found, rungs = search(by_gamma(1, 2, 2, 2), leaning=-held, rising=held)
    assert rungs == [(0, 0)] + [(0, -decade) for decade in tried]
    assert at(found) == (0, -taken)
    assert rule(found).startswith("n_beta = n/ln(n), with the LLC flat in localization; localization")


@pytest.mark.parametrize(("leaning", "rising"), [(-0.5, 0.05), (-0.05, 0.5), (0.5, 0.5), (-0.5, -0.5)])
def test_it_takes_both_sensitivities_to_say_that_the_localization_holds_the_chain(search, leaning, rising):
    found, rungs = search(stairs(1, 1), leaning=leaning, rising=rising)
    assert rungs == [(0, 0), (1, 0)]
    assert at(found) == (1, 0), "the first leans on n_beta"


def test_without_any_plateau_a_localization_that_holds_the_chain_is_left_all_the_same(search):
    found, rungs = search(by_gamma(1, 2, 3, 4), leaning=-0.5, rising=0.5)
    assert rungs == [(0, 0), (0, -2), (0, -3), (1, 0), (2, 0), (3, 0)]
    assert at(found) == (0, -2)
    assert rule(found).startswith("n_beta = n/ln(n), as no plateau was found (3 decades on it still changes); loc")
    assert rule(found).endswith(", a 100th of it")


def test_where_a_lower_localization_fails_the_first_estimate_stays(search):
    failed = {(0, -2): {"outcome": lk.Outcome.NOT_MIXED}}
    found, rungs = search(by_gamma(1, 2, 3, 4), failed, leaning=-0.5, rising=0.5)
    assert rungs == [(0, 0), (0, -2), (1, 0), (2, 0), (3, 0)]
    assert at(found) == (0, 0)
    assert "th of it" not in rule(found)


def test_a_given_localization_stays_even_if_it_holds_the_chain(search):
    found, rungs = search(stairs(1, 2, 2), leaning=-0.5, rising=0.5, given=GAMMA)
    assert rungs == [(0, 0), (1, 0), (2, 0)]
    assert at(found) == (1, 0)


def test_a_drift_of_the_localization_does_not(search):
    found, _ = search(by_gamma(1, 1.04, 1.06, 1.06), leaning=-0.5)
    assert at(found) == (0, -1)


@pytest.mark.parametrize("name", ["sensitivity_localization_mcse", "sensitivity_n_beta_mcse"])
def test_noise_does_not_say_that_the_localization_holds_the_chain(search, name):
    for error, first in ((0.1, (0, -2)), (0.3, (1, 0))):  # 0.5 less two errors is above a tenth, or is not
        _, rungs = search(flat_from_two, {(0, 0): {name: 2 * error}}, leaning=-1.0, rising=1.0)
        assert rungs[1] == first


@pytest.mark.parametrize(("leaning", "tried"), [(-0.03, False), (0.03, False), (-0.05, True), (0.05, True)])
def test_the_localization_is_only_lowered_where_the_estimate_leans_on_it(search, leaning, tried):
    found, rungs = search(by_gamma(2, 2, 2, 2), leaning=leaning)  # 2 % of 2 is 0.04
    assert at(found) == (0, 0)
    assert ((0, -1) in rungs) == tried
    assert ("flat in localization" in rule(found)) == tried


def test_a_given_localization_stays(search):
    found, rungs = search(by_gamma(1, 2, 2, 2), leaning=-0.5, given=GAMMA)
    assert rungs == [(k, 0) for k in range(4)]
    assert at(found) == (0, 0)
    assert rule(found) == (
        "n_beta = n/ln(n), as no plateau was found (3 decades on it still changes); localization given"
    )


def test_a_failing_rung_ends_the_ladder_of_the_localization_too(search):
    failed = {(0, -1): {"outcome": lk.Outcome.NOT_MIXED}}
    found, rungs = search(by_gamma(1, 2, 2, 2), failed, leaning=-0.5)
    assert at(found) == (0, 0)
    assert rungs[-1] == (0, -1)
    assert "no plateau" in rule(found)
