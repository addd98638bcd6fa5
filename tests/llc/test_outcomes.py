"""Outcomes that single estimates end with, and what they say about the minimum near by."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import LLCEstimate
from llckit.llc import estimate_checkpoint as unit
from llckit.sampling import mcse_mean
from llckit.toys import Monomial, Quadratic, potential_loss, quadratic_energy

DATA = (torch.zeros(1000, 1),)


class Bowl(nn.Module):
    """½ Σ h (w − c)² at w* = 0."""

    def __init__(self, curvatures, away):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(len(curvatures)))
        self.register_buffer("curvatures", torch.tensor(curvatures))
        self.register_buffer("away", torch.tensor(away))

    def forward(self):
        return 0.5 * (self.curvatures * (self.w - self.away).square()).sum()


def estimate(model, **settings):
    defaults = {"n_beta": 100.0, "localization": 1.0, "num_chains": 16, "num_burnin": 60, "num_draws": 60}
    return lk.estimate_llc(model, DATA, potential_loss, progress=False, **(defaults | settings))


STIFF_AND_FLAT = torch.tensor([10.0, 0.0])


@pytest.mark.slow
def test_flat_directions_that_were_not_explored_are_told():
    model = Quadratic(STIFF_AND_FLAT)
    found = estimate(model, localization=1e-8, sampler=lk.hmc(max_leapfrogs=5))
    assert found.outcome is lk.Outcome.NOT_SPREAD
    assert found.virial == pytest.approx(0.5, abs=0.1)  # the stiff direction alone has its share
    assert found.rhat < 1.1, "the loss does not show it"
    assert "virial is below 0.9" in found.summary()
    with pytest.raises(lk.EstimationError, match="flat directions not explored"):
        estimate(model, localization=1e-8, sampler=lk.hmc(max_leapfrogs=5), on_failure="raise")


@pytest.mark.slow
def test_the_same_flat_direction_explored_is_fine():
    found = estimate(Quadratic(STIFF_AND_FLAT), localization=1.0, num_burnin=150, num_draws=300)
    assert found.outcome is lk.Outcome.CONVERGED
    assert found.trace is not None
    error = mcse_mean(found.trace.virial) / 2
    assert error < 0.06
    assert found.virial == pytest.approx(1, abs=4 * error)


@pytest.mark.slow
def test_a_few_hot_directions_do_not_hide_among_many_flat_ones():
    # ε k = 3 makes the three curved directions 4 times as hot, and the virial of all 300 no more than 1.03
    model, gamma = Quadratic(torch.tensor([1.0] * 3 + [0.0] * 297)), 100.0
    settings = {"n_beta": 1000.0, "localization": gamma, "num_draws": 2000, "num_burnin": 300}
    found = estimate(model, sampler=lk.sgld(step_size=3 / (1000 + gamma)), **settings)
    assert found.virial < 1.15
    assert found.llc > 3 * 1.5 * 1000 / 1100
    assert found.outcome is lk.Outcome.OVERHEATED
    cool = estimate(model, sampler=lk.sgld(step_size=0.05 / (1000 + gamma)), **settings)
    assert cool.outcome is not lk.Outcome.OVERHEATED


@pytest.mark.slow
@pytest.mark.parametrize("stiffness", [0.3, 0.8, 2.0])
def test_steps_too_large_are_told_and_heat_as_the_law_says(stiffness):
    curvatures, gamma = torch.tensor([1.0, 1.0, 1.0]), 5.0
    k = 100.0 + gamma
    settings = {"localization": gamma, "num_draws": 800, "num_burnin": 100, "num_chains": 32}
    found = estimate(Quadratic(curvatures), sampler=lk.sgld(step_size=stiffness / k), **settings)
    heat = 1 / (1 - stiffness / 4)
    cool = quadratic_energy(curvatures, 100.0, gamma)
    assert found.outcome is (lk.Outcome.OVERHEATED if stiffness > 0.5 else lk.Outcome.CONVERGED)
    assert found.trace is not None
    assert found.virial == pytest.approx(heat, abs=4 * mcse_mean(found.trace.virial) / 3)
    assert found.llc == pytest.approx(heat * cool, abs=4 * found.mcse)
    if stiffness > 0.5:
        assert found.interval[0] > cool, "the value is too high, which is why it is not believed"
        assert "the virial says by more than 10%" in found.summary()


@pytest.mark.slow
def test_fewer_draws_than_were_asked_for_have_exhausted_the_budget():
    sampler, settings = lk.hmc(max_leapfrogs=4), {"num_burnin": 20, "num_chains": 16}
    whole = estimate(Quadratic(torch.ones(2)), sampler=sampler, num_draws=300, **settings)
    assert whole.outcome is lk.Outcome.CONVERGED
    found = estimate(Quadratic(torch.ones(2)), sampler=sampler, num_draws=3000, max_grad_evals=800, **settings)
    assert 100 < found.how_found.num_draws < 3000
    assert found.outcome is lk.Outcome.BUDGET_EXHAUSTED


def test_the_virial_of_exact_draws_is_one():
    found = estimate(Quadratic(torch.tensor([3.0, 1.0, 0.1, 0.0])), num_draws=300)
    assert found.trace is not None
    assert found.virial == pytest.approx(float(found.trace.virial.mean()) / 4)
    assert found.virial == pytest.approx(1, abs=0.04)
    assert found.outcome is lk.Outcome.CONVERGED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("virial", "outcome"), [(0.85, "NOT_SPREAD"), (0.95, None), (1.05, None), (1.15, "OVERHEATED")]
)
def test_a_tenth_is_the_most_that_the_virial_may_miss(monkeypatch, virial, outcome):
    sampled = unit.Sampling.until

    def shifted(*args, **kwargs):
        trace = sampled(*args, **kwargs)
        # hardly any spread is left, so that three standard errors are small
        return dataclasses.replace(trace, virial=2 * virial + 1e-3 * (trace.virial - trace.virial.mean()))

    monkeypatch.setattr(unit.Sampling, "until", shifted)
    found = estimate(Quadratic(torch.ones(2)))
    assert found.virial == pytest.approx(virial)
    assert found.outcome is (lk.Outcome[outcome] if outcome else lk.Outcome.CONVERGED)


@pytest.mark.slow
def test_the_virial_has_the_benefit_of_the_doubt(monkeypatch):
    sampled = unit.Sampling.until

    def shifted(*args, **kwargs):
        trace = sampled(*args, **kwargs)
        return dataclasses.replace(trace, virial=2 * 0.85 + 50 * (trace.virial - trace.virial.mean()))

    monkeypatch.setattr(unit.Sampling, "until", shifted)
    found = estimate(Quadratic(torch.ones(2)))
    assert found.virial == pytest.approx(0.85)
    assert found.outcome is lk.Outcome.CONVERGED


@pytest.mark.slow
def test_depth_is_that_of_the_minimum_near_by():
    model = Bowl([1.0, 0.1, 0.0], [0.3, 1.0, 0.0])
    found = estimate(model, n_beta=100.0, localization=2.0, num_draws=300, num_chains=32)
    k, away, share = (100.0, 10.0), (0.3, 1.0), (100 / 102, 10 / 12)
    depth = sum(0.5 * k * a**2 * (1 - (1 - s) ** 2) for k, a, s in zip(k, away, share, strict=True))
    assert found.depth == pytest.approx(depth, rel=1e-4)
    assert found.llc_about_minimum == found.llc + found.depth
    # Around the localised minimum the posterior is Gaussian of precision k + γ: E[nβ L] has trace and offset.
    trace = sum(0.5 * s for s in share)
    assert found.llc == pytest.approx(trace - depth, abs=4 * found.mcse)
    assert found.llc_about_minimum == pytest.approx(trace, abs=4 * found.mcse)
    assert found.outcome is lk.Outcome.NOT_A_MINIMUM
    text = found.summary()
    assert f"w* lies {found.depth:.3g} above a minimum near by" in text
    assert f"the LLC is {found.llc_about_minimum:.4g}" in text


@pytest.mark.slow
def test_depth_is_not_mentioned_where_it_does_not_matter():
    found = estimate(Quadratic(torch.ones(2)))
    assert found.depth == 0
    assert found.llc_about_minimum == found.llc
    assert "above a minimum" not in found.summary()
    slight = dataclasses.replace(found, depth=1.9 * found.mcse)
    assert "above a minimum" not in slight.summary()
    large = dataclasses.replace(found, depth=2.0 * found.mcse)
    assert "above a minimum" in large.summary()


def test_a_diverged_estimate_speaks_and_keeps_its_depth():
    bowl = Bowl([1.0], [0.5])
    found = estimate(bowl, sampler=lk.sgld(step_size=1.0), num_draws=2000)
    assert found.outcome is lk.Outcome.DIVERGED
    assert math.isnan(found.virial)
    assert math.isnan(found.llc_about_minimum)
    assert found.depth == pytest.approx(0.5 * 100 * 0.25 * (1 - (1 / 101) ** 2), rel=1e-4)
    again = LLCEstimate.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert math.isnan(again.virial)
    assert again.depth == found.depth
    assert lk.Outcome.DIVERGED.advice in found.summary()


@pytest.mark.slow
def test_virial_and_depth_survive_the_round_trip():
    found = estimate(Bowl([1.0, 1.0], [0.05, 0.0]))
    again = LLCEstimate.from_dict(json.loads(json.dumps(found.to_dict())))
    assert found.depth > 0
    assert again.virial == found.virial
    assert again.depth == found.depth
    assert again.llc_about_minimum == found.llc_about_minimum
    assert again.outcome is found.outcome
    assert again.summary() == found.summary()


def test_every_outcome_has_advice_and_a_name_that_can_be_read_back():
    assert len({outcome.advice for outcome in lk.Outcome}) == len(lk.Outcome) == 9
    for outcome in lk.Outcome:
        assert outcome.advice.endswith(".")
        assert lk.Outcome(outcome.value) is outcome


@pytest.mark.slow
def test_an_estimate_near_zero_need_not_be_relatively_sharp():
    # λ̂ ≈ nβ/γ² = 0.01: an error of 1 % of that would take ten times the draws for each digit
    model = Monomial([1, 1])
    settings = {"localization": 100.0, "num_burnin": None, "num_draws": None, "num_chains": 64, "rel_tol": 0.02}
    found = estimate(model, **settings)
    assert found.llc == pytest.approx(model.energy(100.0, 100.0), abs=4 * found.mcse)
    assert found.outcome is lk.Outcome.CONVERGED
    assert found.mcse > 0.002 * found.llc, "else nothing is tested"
    assert found.mcse <= 0.02 * 0.1


@pytest.mark.slow
def test_no_error_is_below_a_thousandth_and_none_need_be():
    found = estimate(Quadratic(torch.ones(2)), num_burnin=None, num_draws=None, rel_tol=1e-4)
    assert found.outcome is lk.Outcome.CONVERGED
    assert found.mcse == pytest.approx(1e-3 * found.llc)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "outcome"), [(0.9, "CONVERGED"), (1.1, "BUDGET_EXHAUSTED")])
@pytest.mark.parametrize("llc", [0.0, 0.05, -1e-6, 0.1, 3.0])
def test_the_tolerance_is_relative_to_a_tenth_at_least(monkeypatch, llc, error, outcome):
    rel_tol = 0.02
    sampled = unit.Sampling.until
    monkeypatch.setattr(unit, "find_bounds", lambda *_, **__: None)  # no bracket holds what is made up here

    def at(trace, mcse):
        shape = (trace.excess - trace.excess.mean()) / mcse_mean(trace.excess)
        return dataclasses.replace(trace, excess=llc + mcse * shape, rel_tol=rel_tol)

    monkeypatch.setattr(
        unit.Sampling,
        "until",
        lambda *args, **kwargs: at(sampled(*args, **kwargs), error * rel_tol * max(abs(llc), 0.1)),
    )
    found = estimate(Monomial([1, 1]))
    assert found.llc == pytest.approx(llc, abs=1e-9)
    assert found.mcse == pytest.approx(error * rel_tol * max(abs(llc), 0.1))
    assert found.outcome is lk.Outcome[outcome]


HELD = [0.5, 0.5, 0.5, 0.5]  # curvatures; γ is far larger than nβ times these


@pytest.mark.slow
@pytest.mark.parametrize(("given", "depends"), [({}, True), ({"n_beta": 100.0}, False)])
def test_a_value_that_leans_on_a_scale_which_was_searched_for_is_not_called_the_llc(given, depends):
    # λ̂ = Σ ½ k/(k + γ) with k = t h changes by the share γ/(k + γ) per e-fold: 0.99 to 0.12 for t = 145 to 145 000
    quick = {"num_chains": 64, "num_burnin": 20, "num_draws": 400, "sampler": lk.hmc(max_leapfrogs=4)}
    quick |= {"localization": 1e4}
    found = lk.estimate_llc(Quadratic(torch.tensor(HELD)), DATA, potential_loss, **given, **quick, progress=False)
    assert found.outcome is (lk.Outcome.SCALE_DEPENDENT if depends else lk.Outcome.CONVERGED)
    assert found.outcome.trusted
    first = found.summary().splitlines()[0]
    leans = [found.sensitivity_n_beta / found.llc, found.sensitivity_localization / found.llc]
    for lean in leans:
        assert abs(lean) > 0.1
        assert (f"{lean:+.0%}" in first) == depends
    assert ("depends on its scale" in first) == depends
    again = LLCEstimate.from_dict(json.loads(json.dumps(found.to_dict())))
    assert (again.outcome, again.summary()) == (found.outcome, found.summary())
    assert again.grad_evals_total == found.grad_evals_total > 0
    assert (found.grad_evals_total > found.how_found.grad_evals) == depends, "a search costs more than its last rung"
    lk.estimate_llc(
        Quadratic(torch.tensor(HELD)), DATA, potential_loss, **given, **quick, progress=False, on_failure="raise"
    )


@pytest.mark.slow
def test_estimates_of_earlier_versions_count_their_own_gradients():
    kept = estimate(Quadratic(torch.ones(2))).to_dict()
    del kept["grad_evals_total"]
    again = LLCEstimate.from_dict(kept)
    assert again.grad_evals_total == again.how_found.grad_evals > 0
