"""λ from a ladder without a plateau: exact curves of toys with a known answer, laws made up, and bad input."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import torch

import llckit as lk
from llckit.llc.ladder_limit import Limit, ladder_limit
from llckit.toys import Monomial, catalog, monomial_energy, potential_loss

LADDER = np.geomspace(100, 1e6, 9)
# Corrections of t^(-1/12) and t^(-1/6) are slower than any power that is tried.
SLOW = {"w1^2 w2^4 w3^6", "tanh 1-2-1 at zero"}
# Far from the origin a weak localiser lets chains reach zeros with another λ: the curve tends to something else.
TOYS = [
    toy
    for toy in catalog()
    if toy.exact is not None and toy.family != "monomial away from the origin" and toy.name not in SLOW
]


@functools.cache
def exact_curve(name):
    toy = next(toy for toy in TOYS if toy.name == name)
    return np.array([toy.exact(t, 1.0) for t in LADDER])


@pytest.mark.slow
@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: toy.name)
def test_exact_curves_give_lambda_where_the_multiplicity_is_known(toy):
    curve = exact_curve(toy.name)
    found = ladder_limit(LADDER, curve, 1e-3 * curve, toy.multiplicity)
    assert found.llc == pytest.approx(toy.llc, rel=0.025)
    assert found.se >= 0.003 * found.llc


@pytest.mark.parametrize("name", ["w1^2 w2^2", "linear 2-1-2 at zero", "|u|^2 |v|^2 |w|^2, 4 weights each"])
def test_the_limit_is_much_nearer_than_the_last_rung(name):
    toy = next(toy for toy in TOYS if toy.name == name)
    curve = exact_curve(name)
    found = ladder_limit(LADDER, curve, 1e-3 * curve, toy.multiplicity)
    assert abs(curve[-1] / toy.llc - 1) > 0.05, "else nothing is tested"
    assert abs(found.llc - toy.llc) < 0.1 * abs(curve[-1] - toy.llc)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_a_power_law_is_recovered(power):
    t = np.geomspace(1e2, 1e6, 9)
    llc = 3 - 0.6 * (t / t[0]) ** -power
    found = ladder_limit(t, llc, np.full(9, 1e-4), 1)
    assert found.llc == pytest.approx(3, abs=2e-3)
    assert found.chi2 < 1e-6
    # The law looks at ratios of nβ only.
    assert ladder_limit(1000 * t, llc, np.full(9, 1e-4), 1).llc == pytest.approx(found.llc, rel=1e-9)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_a_logarithm_is_recovered_and_a_power_fits_it_worse(m):
    llc = 5 - (m - 1) / (np.log(LADDER / LADDER[0]) + 4.0)
    found = ladder_limit(LADDER, llc, np.full(9, 5e-4), m)
    assert found.chi2 < 1
    assert found.llc == pytest.approx(5, abs=0.01)
    wrong = ladder_limit(LADDER, llc, np.full(9, 5e-4), multiplicity=1)
    assert wrong.chi2 > 10
    assert wrong.llc < found.llc - 0.02


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("w1^2 w2^2", 2),
        ("w1^2 w2^2 + w3^2 w4^2", 3),
        ("linear 2-1-2 at zero", 2),
        ("linear 4-4-2 at zero", 1),
        ("w1^4", 1),
    ],
)
def test_the_error_covers_the_truth_over_draws_of_the_noise(name, given):
    toy = next(toy for toy in TOYS if toy.name == name)
    curve = exact_curve(name)
    sd = 0.01 * curve
    noise = sd * np.random.default_rng(0).standard_normal((200, len(curve)))
    runs = [ladder_limit(LADDER, curve + error, sd, given) for error in noise]
    z = np.array([(run.llc - toy.llc) / run.se for run in runs])
    assert np.mean(np.abs(z) < 1.96) > 0.9  # binomial(200, 0.95) lies above 0.9 with probability 99.8 %
    spread = np.std([run.llc for run in runs])
    assert np.median([run.se for run in runs]) < 3 * spread, "so wide that it says nothing"


def test_sharper_rungs_count_more():
    llc = np.full(9, 2.0)
    llc[4] = 3.0
    blunt = np.full(9, 1e-3)
    blunt[4] = 100.0
    assert ladder_limit(LADDER, llc, blunt, 1).llc == pytest.approx(2, abs=0.01)


GOOD = np.full(6, 2.0)


@pytest.mark.parametrize(
    ("n_beta", "llc", "mcse", "m", "message"),
    [
        (LADDER[:4], GOOD[:4], GOOD[:4], 1, "4 rungs; expected at least 5"),
        (LADDER[:0], GOOD[:0], GOOD[:0], 1, "0 rungs"),
        (LADDER[:6], np.where(np.arange(6) == 2, np.nan, GOOD), GOOD, 1, "finite"),
        (LADDER[:6], GOOD, np.where(np.arange(6) == 2, np.inf, GOOD), 1, "finite"),
        (LADDER[:6], GOOD, np.where(np.arange(6) == 2, 0.0, GOOD), 1, "positive errors"),
        (LADDER[:6], GOOD, -GOOD, 1, "positive errors"),
        (LADDER[:6], GOOD, GOOD, 0, "multiplicity is 0"),
        (LADDER[:6], GOOD, GOOD, 5, "multiplicity is 5"),
        (LADDER[:6], GOOD, GOOD, 1.5, "multiplicity is 1.5"),
        (LADDER[:6], GOOD, GOOD, "2", "multiplicity is '2'"),
    ],
)
def test_wrong_ladders_are_refused(n_beta, llc, mcse, m, message):
    with pytest.raises(lk.InputError, match=message):
        ladder_limit(n_beta, llc, mcse, m)


@pytest.fixture(scope="module")
def profile():
    return lk.scale_profile(
        Monomial((1, 1)),
        (torch.zeros(10_000, 1),),
        potential_loss,
        n_beta=np.geomspace(100, 1e5, 6),
        localization=10.0,
        sampler=lk.hmc(max_leapfrogs=16),
        num_chains=32,
        num_burnin=40,
        num_draws=90,
        progress=False,
    )


@pytest.mark.slow
def test_a_profile_knows_its_limit(profile):
    exact = np.array([monomial_energy((1, 1), t, 10.0) for t in profile.n_beta])
    assert (np.abs(profile.llc - exact) < 4.5 * profile.mcse).all()
    found = profile.limit(2)
    assert isinstance(found, Limit)
    assert abs(found.llc - 0.5) < 3 * found.se + 0.02
    assert found.llc - profile.llc[-1] > 0.03
    assert found == ladder_limit(profile.n_beta, profile.llc, profile.mcse, 2)
    assert 0 < found.se < math.inf


@pytest.mark.slow
def test_rungs_that_failed_their_checks_take_no_part(profile):
    def failing(*which):
        estimates = [
            dataclasses.replace(e, outcome=lk.Outcome.NOT_MIXED) if i in which else e
            for i, e in enumerate(profile.estimates)
        ]
        llc = np.where(np.isin(np.arange(6), which), 1e6, profile.llc)
        return dataclasses.replace(profile, llc=llc, estimates=tuple(estimates))

    without = np.arange(6) != 3
    expected = ladder_limit(profile.n_beta[without], profile.llc[without], profile.mcse[without], 2)
    assert failing(3).limit(2) == expected
    with pytest.raises(lk.InputError, match="4 of 6 rungs passed their checks; expected at least 5"):
        failing(0, 3).limit(2)
