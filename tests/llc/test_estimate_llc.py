"""`estimate_llc` without any setting against closed forms, its outcomes, and its bad inputs."""

import importlib
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import LLCEstimate, choose_scale
from llckit.toys import (
    LinearNet,
    Monomial,
    Quadratic,
    deep_linear_llc,
    deepest_point,
    matrix_loss,
    monomial_energy,
    potential_loss,
    quadratic_energy,
)

DATA = (torch.zeros(10_000, 1),)


@pytest.mark.slow
@pytest.mark.parametrize(("rank", "dim", "spread"), [(1, 4, 0), (10, 10, 1), (10, 40, 0), (100, 120, 1)])
def test_quadratics_without_tuning(rank, dim, spread):
    curvatures = torch.zeros(dim)
    curvatures[:rank] = torch.logspace(-spread, spread, rank)
    model = Quadratic(curvatures, center=torch.randn(dim, generator=torch.Generator().manual_seed(1)))
    found, again = (lk.estimate_llc(model, DATA, potential_loss, seed=seed, progress=False) for seed in (0, 1))
    exact = quadratic_energy(curvatures, found.n_beta, found.localization)
    assert found.outcome is lk.Outcome.CONVERGED
    assert found.n_beta == again.n_beta == pytest.approx(1e4 / math.log(1e4)), "regular directions have a plateau there"
    assert abs((found.llc + again.llc) / 2 - exact) <= 3 * math.hypot(found.mcse, again.mcse) / 2
    assert found.mcse <= 0.01 * max(found.llc, 0.5)
    assert abs(found.llc / (rank / 2) - 1) <= 0.03
    # The energy of a quadratic is Gamma(rank/2), whose variance is its mean; sd of a variance from its ESS.
    assert abs(found.llc_variance - exact) <= 5 * exact * math.sqrt((2 + 6 / exact) / found.ess)


@pytest.mark.slow
def test_linear_net_at_its_deepest_point_without_tuning():
    widths, rank = (10, 8, 12), 3
    found = lk.estimate_llc(LinearNet(deepest_point(widths, rank)), DATA, matrix_loss, progress=False)
    assert deep_linear_llc(widths, rank) == (45.0, 2)
    assert found.outcome is lk.Outcome.CONVERGED
    assert abs(found.llc / 45 - 1) <= 0.03


@pytest.mark.slow
@pytest.mark.parametrize("powers", [(2,), (1, 1)])
def test_monomials_equal_the_integral_at_the_reported_scale(powers):
    found = lk.estimate_llc(
        Monomial(powers), DATA, potential_loss, localization=1.0, max_grad_evals=8000, progress=False
    )
    exact = monomial_energy(powers, found.n_beta, found.localization)
    assert abs(found.llc - exact) <= 4 * found.mcse
    assert found.mcse < 0.15 * exact


@pytest.mark.slow
def test_reruns_with_other_seeds_scatter_as_the_error_says():
    model = Quadratic(torch.ones(6))
    few = {"n_beta": 1000.0, "num_chains": 4, "num_burnin": 50, "num_draws": 60, "progress": False}
    runs = [lk.estimate_llc(model, DATA, potential_loss, seed=seed, **few) for seed in range(24)]
    exact = quadratic_energy(model.curvatures, runs[0].n_beta, runs[0].localization)
    z = np.array([(run.llc - exact) / run.mcse for run in runs])
    # χ² with 24 degrees of freedom: 99.8 % of mean squares lie within 0.37 … 2.1; twice that for the error of mcse.
    assert 0.3 < np.mean(z**2) < 2.6
    inside = [run.interval[0] <= exact <= run.interval[1] for run in runs]
    assert sum(inside) >= 19  # binomial(24, 0.95): fewer has probability 0.2 %


@pytest.mark.slow
def test_the_same_seed_gives_the_same_estimate_and_another_does_not():
    arguments = {"num_chains": 2, "num_burnin": 10, "num_draws": 20, "progress": False}
    first, same, other = (
        lk.estimate_llc(Quadratic(torch.ones(3)), DATA, potential_loss, seed=seed, **arguments) for seed in (0, 0, 1)
    )
    assert first.llc == same.llc
    assert first.llc != other.llc


@pytest.mark.slow
def test_sgld_full_batch_agrees_with_hmc():
    curvatures = torch.tensor([1.0, 0.5, 0.0])
    found = lk.estimate_llc(
        Quadratic(curvatures),
        DATA,
        potential_loss,
        sampler=lk.sgld(),
        localization=10.0,
        num_chains=16,
        num_draws=3000,
        progress=False,
    )
    k = found.n_beta * curvatures.double() + 10.0
    warm = 1 - found.how_found.step_size * k / 4
    exact = float((0.5 * found.n_beta * curvatures / k / warm).sum())
    assert abs(found.llc - exact) <= 4 * found.mcse


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 1e-3])  # a regular posterior does not care how large w* is
def test_sgld_on_minibatches_of_real_data(size):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(500, 3, generator=generator)
    model = nn.Linear(3, 1, bias=False)
    nn.init.constant_(model.weight, size)
    data = (inputs, inputs @ model.weight.detach().T)  # no residuals: the loss's gradient noise vanishes at w*
    found = lk.estimate_llc(
        model,
        data,
        lambda m, batch: (m(batch[0]) - batch[1]).square().mean(1),
        sampler=lk.sgld(),
        batch_size=100,
        n_beta=80.5,
        num_chains=32,
        num_draws=1000,
        progress=False,
    )
    assert found.llc == pytest.approx(1.5, rel=0.15)  # heated by gradient noise and step, by about a tenth


@pytest.mark.slow
def test_far_from_a_minimum_the_behavioral_llc_is_that_of_the_model():
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(4, 1, bias=False)
    inputs = torch.randn(500, 4, generator=generator)
    data = (inputs, inputs @ (model.weight.detach().T + 1.0))
    settings = {"localization": 1.0, "num_chains": 32, "num_draws": 200, "progress": False, "behavioral": True}

    def loss_fn(m, b):
        return (m(b[0]) - b[1]).square().mean()

    found = lk.estimate_llc(model, data, loss_fn, n_beta=100.0, **settings)
    curvatures = 100 * 2 * torch.linalg.eigvalsh(inputs.T @ inputs / 500)
    assert found.llc == pytest.approx(float(0.5 * (curvatures / (curvatures + 1)).sum()), abs=4 * found.mcse)
    assert found.how_found.behavioral
    assert found.loss == pytest.approx(float(loss_fn(model, data).detach()), rel=1e-5)
    profile = lk.scale_profile(model, data, loss_fn, n_beta=[100, 1000], **settings)
    assert profile.is_minimum.all()
    assert profile.estimates[0].llc == found.llc


@pytest.mark.slow
def test_a_point_that_is_no_minimum_is_called_so():
    model = nn.Linear(4, 1, bias=False)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2000, 4, generator=generator)
    data = (inputs, inputs @ (model.weight.detach().T + 1.0))
    found = lk.estimate_llc(
        model, data, lambda m, b: (m(b[0]) - b[1]).square().mean(), progress=False, localization=1.0
    )
    assert found.outcome is lk.Outcome.NOT_A_MINIMUM
    assert found.interval[1] < 0
    with pytest.raises(lk.EstimationError, match="behavioral_task"):
        lk.estimate_llc(
            model,
            data,
            lambda m, b: (m(b[0]) - b[1]).square().mean(),
            localization=1.0,
            progress=False,
            on_failure="raise",
        )


@pytest.mark.slow
def test_a_diverging_step_is_an_outcome_and_no_number():
    found = lk.estimate_llc(
        Quadratic(torch.ones(2)), DATA, potential_loss, sampler=lk.sgld(step_size=1.0), num_draws=2000, progress=False
    )
    assert found.outcome is lk.Outcome.DIVERGED
    assert math.isnan(found.llc)
    assert math.isnan(found.mcse)


@pytest.mark.slow
def test_the_budget_is_respected_and_told():
    found = lk.estimate_llc(Monomial([1, 1]), DATA, potential_loss, max_grad_evals=1500, progress=False)
    assert found.how_found.grad_evals <= 1500 + 10
    assert found.outcome is lk.Outcome.BUDGET_EXHAUSTED


@pytest.mark.slow
def test_an_estimate_survives_json_and_speaks():
    found = lk.estimate_llc(Quadratic(torch.ones(2)), DATA, potential_loss, num_draws=20, num_chains=2, progress=False)
    again = LLCEstimate.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert again.llc == found.llc
    assert again.outcome is found.outcome
    text = found.summary()
    assert f"{found.llc:.4g}" in text
    assert "n_beta" in text
    assert found.outcome.advice in text


@pytest.mark.slow
def test_the_draws_open_in_arviz():
    pytest.importorskip("xarray")
    found = lk.estimate_llc(Quadratic(torch.ones(2)), DATA, potential_loss, num_draws=20, num_chains=3, progress=False)
    tree = found.to_datatree()
    assert dict(tree["posterior"].sizes) == {"chain": 3, "draw": 20}
    assert float(tree["posterior"]["excess"].mean()) == pytest.approx(found.llc)
    with pytest.raises(lk.InputError, match="keeps no draws"):
        LLCEstimate.from_dict(found.to_dict()).to_datatree()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"n_beta": 0.0}, "n_beta is 0.0; expected a positive number"),
        ({"n_beta": math.nan}, "n_beta"),
        ({"localization": -1.0}, "localization"),
        ({"num_chains": 0}, "num_chains is 0"),
        ({"num_draws": 2}, "num_draws"),
        ({"num_draws": 10.5}, "num_draws"),
        ({"num_burnin": -1}, "num_burnin"),
        ({"max_grad_evals": 0}, "max_grad_evals"),
        ({"rel_tol": 0.0}, "rel_tol"),
        ({"seed": -1}, "seed"),
        ({"sampler": "nuts"}, "sampler"),
        ({"batch_size": 10, "sampler": lk.hmc()}, "hmc compares energies"),
        ({"on_failure": "ignore"}, "on_failure"),
        ({"n": 1}, "n is 1; expected an integer >= 2"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(argument, message):
    with pytest.raises(lk.InputError, match=message):
        lk.estimate_llc(Quadratic(torch.ones(2)), DATA, potential_loss, progress=False, **argument)


@pytest.mark.parametrize(
    ("curvatures", "rule"),
    [
        ([1.0, 1.0] + 200 * [0.0], "shrinks regular directions"),  # a gap: the regular part is known
        ([1.0, 0.01] + 200 * [0.0], "size of the weights"),  # none: what is flat is a matter of taste
    ],
)
def test_localization_trusts_a_gap_in_the_spectrum(curvatures, rule):
    h = torch.tensor(curvatures)
    model = Quadratic(h, torch.full((202,), 0.05))
    task = lk.Task(model, torch.zeros(10_000, 1), lambda model, batch: model())
    scale = choose_scale(task.checkpoint(), task.n)
    assert rule in str(scale.reason)
    near = 3 * 202 / (202 * 0.05**2)
    k = scale.n_beta
    assert scale.localization == pytest.approx(near if "size" in rule else 1e-3 * k, rel=0.01)


def test_a_localization_that_only_makes_it_affordable_says_what_it_takes(monkeypatch):
    module = importlib.import_module("llckit.llc.scale")
    monkeypatch.setattr(module, "MODEST", 1.0)
    model = Quadratic(torch.tensor([1.0, 1.0] + 200 * [0.0]), torch.full((202,), 0.05))
    task = lk.Task(model, torch.zeros(10_000, 1), lambda model, batch: model())
    scale = choose_scale(task.checkpoint(), task.n)
    k, near = scale.n_beta, 3 * 202 / (202 * 0.05**2)
    assert scale.localization == pytest.approx(near)
    assert scale.reason.shrinkage == pytest.approx(near / (k + near), rel=1e-3)
    assert "as the smaller one from the curvature would cost too much" in str(scale.reason)
