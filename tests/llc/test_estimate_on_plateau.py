"""Which scale `estimate_llc` settles on: every way the ladder can go, with made-up curves."""

import dataclasses
import math

import numpy as np
import pytest
import torch

import llckit as lk
from llckit.llc import HowFound, choose_scale
from llckit.llc import estimate_on_plateau as plateau
from llckit.llc.estimate_on_plateau import estimate_on_plateau, steady
from llckit.llc.gradients import AllSamples, Cause, GradientsReason
from llckit.llc.settings import Settings
from llckit.toys import Quadratic
from llckit.toys.potentials import potential_loss

N = 1000
DEFAULT = N / math.log(N)
DATA = (torch.zeros(N, 1),)
GAMMA = 7.0
ALL = AllSamples(GradientsReason(Cause.AFFORDABLE))


def flat(t, g):
    return 2.0


def flat_from_two(t, g):
    return 2.0 if g == 1 else 3.0


def made_up(
    llc, *, mcse=None, outcome=lk.Outcome.CONVERGED, leaning=0.0, rising=0.0, n_beta=1.0, localization=1.0, reason=None
):
    mcse = 0.001 * abs(llc) if mcse is None else mcse
    return lk.LLCEstimate(
        llc=llc,
        mcse=mcse,
        llc_per_chain=np.full(2, llc),
        llc_variance=llc,
        sensitivity_n_beta=rising,
        sensitivity_n_beta_mcse=0.0,
        sensitivity_localization=leaning,
        sensitivity_localization_mcse=0.0,
        observed={},
        depth=0.0,
        virial=1.0,
        rhat=1.0,
        ess=100.0,
        outcome=outcome,
        loss=0.0,
        grad_norm=0.0,
        n_beta=n_beta,
        localization=localization,
        how_found=HowFound(reason, ALL, "none", 100, 10, 1000, 0.1, 0.0, 1.0, 0.0, 0.9, 0, False, False),
        trace=None,
    )


@pytest.fixture
def search(monkeypatch):
    """Runs the search over a made-up λ̂(nβ in n/ln n, γ in the default's); gives the estimate and the rungs visited.

    `changes` overrides what the estimate says at one rung (decade of nβ, decade of γ).
    """

    def run(curve, changes=None, *, leaning=0.0, rising=0.0, given=None, rel_tol=0.01):
        rungs = []

        def fake(task, checkpoint, scale, gradients, settings, **kwargs):
            t, g = scale.n_beta / DEFAULT, scale.localization / GAMMA
            at = round(math.log10(t)), round(math.log10(g))
            rungs.append(at)
            assert settings.rel_tol == (0.02 if at == (0, -3) else min(rel_tol, 0.02))  # the last γ is only compared
            more = {"n_beta": scale.n_beta, "localization": scale.localization, "reason": scale.reason}
            base = made_up(curve(t, g), leaning=leaning, rising=rising, **more)
            return dataclasses.replace(base, **(changes or {}).get(at, {}))

        monkeypatch.setattr(plateau, "estimate_checkpoint", fake)
        task = lk.Task(Quadratic(torch.ones(2)), DATA, potential_loss)
        scale = choose_scale(task.checkpoint(), task.n, None, given)._replace(localization=GAMMA)
        settings = Settings(rel_tol=rel_tol)
        keep = given is not None
        found = estimate_on_plateau(task, task.checkpoint(), scale, ALL, settings, keep_localization=keep)
        return found, rungs

    return run


def rule(found):
    return str(found.how_found.reason)


def at(found):
    return round(math.log10(found.n_beta / DEFAULT), 9), round(math.log10(found.localization / GAMMA), 9)


def stairs(*values):
    """λ̂ at 1, 10, … n/ln n, whatever γ."""
    return lambda t, g: values[round(math.log10(t))]


def test_where_it_is_flat_the_default_stays(search):
    found, rungs = search(flat)
    assert at(found) == (0, 0)
    assert rungs == [(0, 0), (1, 0)]
    assert rule(found).startswith("n_beta = n/ln(n), from which on the LLC is flat; localization")
    assert found.how_found.sampler == "none", "other settings are kept"


@pytest.mark.parametrize(
    ("values", "decade", "times"), [((1, 2, 2), 1, "10 "), ((1, 2, 3, 3), 2, "100 "), ((3, 2, 1, 1.01), 2, "100 ")]
)
def test_it_climbs_until_a_further_decade_changes_nothing(search, values, decade, times):
    found, rungs = search(stairs(*values))
    assert at(found) == (decade, 0)
    assert found.llc == values[decade]
    assert rungs == [(k, 0) for k in range(len(values))]
    assert rule(found).startswith(f"n_beta = {times}n/ln(n), from which on the LLC is flat; localization")


def test_where_it_never_is_the_default_stays(search):
    found, rungs = search(stairs(1, 2, 3, 4))
    assert at(found) == (0, 0)
    assert rungs == [(k, 0) for k in range(4)]
    assert rule(found).startswith(
        "n_beta = n/ln(n), as no plateau was found (3 decades on it still changes); localization"
    )


@pytest.mark.parametrize(
    ("second", "kept"),
    [(2.035, True), (2.047, False), (1.965, True), (1.95, False)],  # 2 % less an error of 0.14 %: ln(2.035/2) = 0.0173
)
def test_two_percent_is_the_most_a_decade_may_change(search, second, kept):
    found, rungs = search(stairs(2.0, second, second))
    assert at(found) == ((0, 0) if kept else (1, 0))
    assert len(rungs) == (2 if kept else 3)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": lk.Outcome.NOT_A_MINIMUM, "llc": -3.0},
        {"outcome": lk.Outcome.NOT_MIXED},
        {"outcome": lk.Outcome.NOT_SPREAD},
        {"outcome": lk.Outcome.OVERHEATED},
        {"outcome": lk.Outcome.DIVERGED, "llc": math.nan, "mcse": math.nan},
    ],
)
@pytest.mark.parametrize("decade", [1, 2])
def test_a_rung_that_fails_ends_the_ladder(search, change, decade):
    found, rungs = search(stairs(1, 2, 3, 3), {(decade, 0): change})
    assert at(found) == (0, 0)
    assert rungs == [(k, 0) for k in range(decade + 1)]
    assert f"as no plateau was found ({decade} decade{'s' * (decade > 1)} on: {change['outcome'].value}); " in rule(
        found
    )
    assert found.outcome is lk.Outcome.CONVERGED


def test_a_rung_that_is_not_sharp_ends_the_ladder(search):
    blunt = {"mcse": 0.05, "outcome": lk.Outcome.BUDGET_EXHAUSTED}
    found, rungs = search(flat, {(1, 0): blunt})
    assert at(found) == (0, 0)
    assert rungs == [(0, 0), (1, 0)]
    assert "as no plateau was found (1 decade on: budget exhausted)" in rule(found)


def test_a_short_budget_is_no_failure_where_the_error_is_small(search):
    found, _ = search(flat, {(k, 0): {"outcome": lk.Outcome.BUDGET_EXHAUSTED} for k in (0, 1)})
    assert "from which on the LLC is flat" in rule(found)


@pytest.mark.parametrize(("rel_tol", "outcome"), [(0.05, "budget exhausted"), (0.2, "converged")])
def test_an_error_that_ends_the_ladder_may_be_as_small_as_asked(search, rel_tol, outcome):
    """Rungs are asked for 2 %; what that many gradients do not give may be what the user wanted."""
    blunt = {"mcse": 0.3, "outcome": lk.Outcome.BUDGET_EXHAUSTED}  # of 2
    found, _ = search(flat, {(0, 0): blunt}, rel_tol=rel_tol)
    assert found.outcome.value == outcome
    assert "this estimate cannot tell: budget exhausted" in rule(found)


@pytest.mark.parametrize(
    "change",
    [
        {"mcse": 0.05, "outcome": lk.Outcome.BUDGET_EXHAUSTED},
        {"outcome": lk.Outcome.NOT_A_MINIMUM, "llc": -3.0},
        {"outcome": lk.Outcome.DIVERGED, "llc": math.nan, "mcse": math.nan, "sensitivity_localization": math.nan},
        {"llc": 0.0, "mcse": 0.0},
        {"mcse": 0.05},
    ],
)
def test_a_first_estimate_that_says_little_is_given_as_it_is(search, change):
    found, rungs = search(flat, {(0, 0): change}, leaning=-1.0)
    assert rungs == [(0, 0)]
    assert found.outcome is change.get("outcome", lk.Outcome.CONVERGED)
    assert "n_beta = n/ln(n), as no plateau was found (this estimate cannot tell: " in rule(found)


def by_gamma(*values):
    """λ̂ rises with nβ for ever, and at n/ln n depends on γ, γ/10, …"""
    return lambda t, g: values[-round(math.log10(g))] * (1 + round(math.log10(t)))


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
    assert at(found) == (0, 0)


def test_nbeta_is_raised_where_no_smaller_localization_helps(search):
    found, rungs = search(lambda t, g: (1 - math.log10(g)) * min(t, 10), leaning=-0.5, rising=0.5)
    assert rungs == [(0, 0), (0, -2), (0, -3), (1, 0), (2, 0)]
    assert at(found) == (1, 0)
    assert rule(found).startswith("n_beta = 10 n/ln(n), from which on the LLC is flat; localization")


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


@pytest.mark.parametrize(
    ("values", "decade"),
    [
        ((1, 1.04, 1.06), 2),  # changes 3.9 %, 1.9 %: 3.7 % are still to come
        ((1, 1.04, 1.05), 1),  # 3.9 %, 0.96 %: 1.3 %
        ((1, 1.04, 1.02), 1),  # back again
        ((1.06, 1.02, 1.005), 2),  # the same downwards
        ((1, 0.95, 0.97), 1),
    ],
)
def test_a_drift_that_goes_on_makes_it_the_higher_of_two_that_agree(search, values, decade):
    found, rungs = search(stairs(*values))
    assert rungs == [(0, 0), (1, 0), (2, 0)]
    assert at(found) == (decade, 0)
    assert found.llc == values[decade]


def test_a_drift_of_the_localization_does_not(search):
    found, _ = search(by_gamma(1, 1.04, 1.06, 1.06), leaning=-0.5)
    assert at(found) == (0, -1)


@pytest.mark.parametrize(
    ("second", "third", "decade"),
    [(1.07, 0.98, 1), (1.09, 0.98, None), (1.07, 1.66, None)],  # 2 % and twice 2.55 %; the last goes on rising
)
def test_two_errors_are_allowed_where_one_finds_no_plateau(search, second, third, decade):
    error = 0.018
    blunt = {(1, 0): {"mcse": error * 1.2}, (2, 0): {"mcse": error * 1.2 * second}}
    found, rungs = search(stairs(1.5, 1.2, 1.2 * second, 1.2 * third), blunt)
    assert rungs == [(k, 0) for k in range(4)]
    assert at(found) == ((0, 0) if decade is None else (decade, 0))
    assert ("no plateau" in rule(found)) == (decade is None)
    assert ("10 n/ln(n), from which on the LLC is flat within two errors; " in rule(found)) == (decade == 1)


def test_a_drift_within_errors_is_no_plateau(search):
    found, rungs = search(stairs(1, 1.04, 1.082, 1.125), {(k, 0): {"mcse": 0.01} for k in range(4)})
    assert rungs == [(k, 0) for k in range(4)]
    assert at(found) == (0, 0)
    assert "no plateau was found (3 decades on it still changes)" in rule(found)


@pytest.mark.parametrize("name", ["sensitivity_localization_mcse", "sensitivity_n_beta_mcse"])
def test_noise_does_not_say_that_the_localization_holds_the_chain(search, name):
    for error, first in ((0.1, (0, -2)), (0.3, (1, 0))):  # 0.5 less two errors is above a tenth, or is not
        _, rungs = search(flat_from_two, {(0, 0): {name: 2 * error}}, leaning=-1.0, rising=1.0)
        assert rungs[1] == first


def test_no_smaller_localization_is_tried_where_nbeta_alone_gives_a_plateau(search):
    found, rungs = search(stairs(1, 2, 2), leaning=-0.5)
    assert at(found) == (1, 0)
    assert all(gamma == 0 for _, gamma in rungs)


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


def test_without_a_plateau_in_either_the_reason_is_that_of_nbeta(search):
    found, rungs = search(by_gamma(1, 2, 3, 4), {(2, 0): {"outcome": lk.Outcome.NOT_MIXED}}, leaning=-0.5)
    assert at(found) == (0, 0)
    assert rungs == [(0, 0), (1, 0), (2, 0), (0, -1), (0, -2), (0, -3)]
    assert "as no plateau was found (2 decades on: chains not mixed)" in rule(found)


def test_a_failing_rung_ends_the_ladder_of_the_localization_too(search):
    failed = {(0, -1): {"outcome": lk.Outcome.NOT_MIXED}}
    found, rungs = search(by_gamma(1, 2, 2, 2), failed, leaning=-0.5)
    assert at(found) == (0, 0)
    assert rungs[-1] == (0, -1)
    assert "no plateau" in rule(found)


@pytest.mark.parametrize(("ladder", "back"), [(1, True), (-1, False)])
def test_a_higher_nbeta_may_bring_a_value_back_into_its_bracket_a_lower_localization_may_not(search, ladder, back):
    outside = {(0, 0): {"outcome": lk.Outcome.OUTSIDE_BRACKET}}

    def curve(t, g):
        return 1.0 if (t, g) == (1, 1) else 2.0 if (t > 1) == (ladder > 0) else 2.0 * t

    found, rungs = search(curve, outside, leaning=-0.5)
    assert at(found) == ((1, 0) if back else (0, 0))
    assert found.outcome is (lk.Outcome.CONVERGED if back else lk.Outcome.OUTSIDE_BRACKET)
    assert rungs[-1] == ((2, 0) if back else (0, -1))


def test_steady_is_two_percent_and_one_standard_error():
    def pair(change, *errors):
        return [
            made_up(llc, mcse=error * llc) for llc, error in zip((3.0, 3.0 * math.exp(change)), errors, strict=True)
        ]

    for sign in (1, -1):
        assert steady(*pair(sign * 0.0199, 0, 0))
        assert not steady(*pair(sign * 0.0201, 0, 0))
        assert steady(*pair(sign * 0.0699, 0.03, 0.04))  # 2 % + √(3² + 4²) %
        assert not steady(*pair(sign * 0.0701, 0.03, 0.04))
