"""The bracket beside every estimate: its ends, its margins, and the estimates that lie outside."""

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.llc import LLCEstimate
from llckit.llc import estimate_checkpoint as unit
from llckit.llc.bounds import Bounds, find_bounds, is_affordable
from llckit.toys import LinearNet, Monomial, Quadratic, matrix_loss, potential_loss, quadratic_energy, two_layer_point
from tests.cases import OnceDifferentiable

DATA = (torch.zeros(1000, 1),)
FIXED = {"n_beta": 1000.0, "localization": 1.0, "progress": False}
QUICK = FIXED | {"num_chains": 8, "num_burnin": 30, "num_draws": 40}


class Potential(nn.Module):
    """Any function of some weights."""

    def __init__(self, function, weights):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(weights, dtype=torch.float32))
        self.function = function

    def forward(self):
        return self.function(self.w)


def estimate(function, weights, **settings):
    return lk.estimate_llc(Potential(function, weights), DATA, potential_loss, **(QUICK | settings))


def bounds(function, weights, n_beta=1000.0, localization=1.0, depth=0.0):
    task = lk.Task(Potential(function, weights), DATA, potential_loss)
    found = find_bounds(task, task.checkpoint(), n_beta, localization, depth)
    assert found is not None
    return found


@pytest.mark.slow
def test_an_estimate_has_its_bracket():
    h = torch.cat([torch.logspace(-1, 1, 5), torch.zeros(7)])
    found = lk.estimate_llc(Quadratic(h), DATA, potential_loss, **QUICK)
    assert found.bracket == (2.5, 6.0)
    assert found.lower_finite == pytest.approx(quadratic_energy(h, 1000.0, 1.0), rel=1e-6)
    assert found.bracket_margin == pytest.approx((0.1 * found.lower_finite, 0.6), abs=1e-4)
    assert "bracket of λ 2.5 … 6" in found.summary()
    assert "an LLC may be 2.24 … 6.6" in found.summary()


@pytest.mark.slow
def test_the_bracket_survives_json_and_earlier_estimates_are_read():
    found = lk.estimate_llc(Quadratic(torch.ones(3)), DATA, potential_loss, **QUICK)
    again = LLCEstimate.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again.bracket == found.bracket == (1.5, 1.5)
    assert again.lower_finite == found.lower_finite
    assert again.bracket_margin == found.bracket_margin
    assert again.summary() == found.summary()
    new = {"bracket", "lower_finite", "bracket_margin", "depth"}
    earlier = LLCEstimate.from_dict({key: value for key, value in found.to_dict().items() if key not in new})
    assert earlier.bracket is earlier.lower_finite is earlier.bracket_margin is None
    assert earlier.llc == found.llc
    assert math.isnan(earlier.depth)
    assert "bracket" not in earlier.summary()


@pytest.mark.parametrize(
    ("llc", "error", "is_outside"),
    [(3.0, 0.0, False), (1.5, 0.0, False), (1.4, 0.0, True), (1.4, 0.2, False), (8.4, 0.0, False), (8.6, 0.0, True)],
)
def test_outside_is_beyond_error_and_margin(llc, error, is_outside):
    assert Bounds(2.0, 8.0, lower_finite=1.9, below=0.45, above=0.5).exclude(llc, error) is is_outside


# Found by none of the other checks: the virial is 1 and the chains agree, yet the value is half as large again.
@pytest.mark.slow
def test_chains_too_hot_where_only_the_bracket_tells(monkeypatch):
    net = LinearNet(two_layer_point((4, 12, 6), (4, 6, 3)))
    settings = {"sampler": lk.sgld(step_size=2 / 8030), "num_draws": 400, "num_burnin": 100, "num_chains": 32}
    settings |= FIXED | {"localization": 30.0}
    found = lk.estimate_llc(net, DATA, matrix_loss, **settings)
    assert found.bracket == (12.0, 12.0), "λ itself, since every solution near by is as regular"
    assert found.llc > 15
    assert found.outcome is lk.Outcome.OUTSIDE_BRACKET
    assert found.outcome.advice in found.summary()
    with pytest.raises(lk.EstimationError, match="outside its bracket"):
        lk.estimate_llc(net, DATA, matrix_loss, on_failure="raise", **settings)
    monkeypatch.setattr(unit, "find_bounds", lambda *_, **__: None)
    assert lk.estimate_llc(net, DATA, matrix_loss, **settings).outcome.trusted


@pytest.mark.slow
def test_chains_that_left_for_a_more_singular_place_are_told(monkeypatch):
    # At (0, 1) λ is ½; at the origin, which a small γ lets chains reach, it is ¼.
    model = Monomial((1, 2), (0, 1))
    settings = FIXED | {"num_burnin": 60, "num_draws": 120, "num_chains": 16}
    assert lk.estimate_llc(model, DATA, potential_loss, **settings).outcome is lk.Outcome.OUTSIDE_BRACKET
    held = settings | {"localization": 1000.0}
    assert lk.estimate_llc(model, DATA, potential_loss, **held).outcome is lk.Outcome.CONVERGED
    monkeypatch.setattr(unit, "find_bounds", lambda *_, **__: None)
    assert lk.estimate_llc(model, DATA, potential_loss, **settings).outcome is lk.Outcome.CONVERGED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "draws", "outcome"),
    [
        (lk.sgld(step_size=3.9 / 1001), (300, 100), "OVERHEATED"),
        (lk.sgld(step_size=1.0), (300, 100), "DIVERGED"),
        (lk.sgld(step_size=1e-5), (20, 0), "NOT_MIXED"),
    ],
)
def test_what_is_more_specific_comes_first(sampler, draws, outcome):
    model = Quadratic(torch.linspace(0.5, 1, 20))
    settings = FIXED | {"num_draws": draws[0], "num_burnin": draws[1], "num_chains": 8}
    found = lk.estimate_llc(model, DATA, potential_loss, sampler=sampler, **settings)
    assert found.outcome is lk.Outcome[outcome]
    assert found.bracket == (10.0, 10.0)
    assert not 9 < found.llc < 11, "outside all the same"


@pytest.mark.slow
def test_a_saddle_has_no_verdict():
    def saddle(w):
        return 50 * w[0].square() - 0.05 * w[1].square() + w[1] ** 4  # λ̂ is low, which is no failure of the chains

    found = estimate(saddle, [0.0, 0.0])
    assert found.bracket == (0.5, 1.0)
    assert found.bracket_margin is None
    assert found.outcome is not lk.Outcome.OUTSIDE_BRACKET
    assert math.isinf(bounds(saddle, [0.0, 0.0]).below)


def test_slightly_negative_curvature_lowers_the_end_by_its_share():
    found = bounds(lambda w: w[0].square() - 1e-4 * w[1].square(), [0.0, 0.0])
    th = -0.2
    assert found.below == pytest.approx(0.1 * found.lower_finite - 0.5 * th / (th + 1), rel=1e-5)


def test_a_gradient_lowers_the_end_by_what_it_takes():
    # E[t (L − L*)] = ½ th/k − (tg)²/k + ½ th (tg)²/k² with g = h·a
    a, h, t = 0.02, 2.0, 1000.0
    exact = 0.5 * t * h / (t * h + 1) - (t * h * a) ** 2 / (t * h + 1) * (1 - 0.5 * t * h / (t * h + 1))
    found = bounds(lambda w: (w - 1 + a).square().sum(), [1.0])
    assert exact < 0.2
    assert not found.exclude(exact, 0.0)
    assert bounds(lambda w: w.square().sum(), [0.0], depth=0.7).below == pytest.approx(0.75, abs=1e-4)


@pytest.mark.parametrize("quartic", [0.0, 300.0, 3e3, 3e4, 3e6])
def test_anharmonicity_is_granted(quartic):
    # K = w² + c w⁴ is ½ at large nβ and ¼ at small; the integral is exact.
    t, w = 1000.0, torch.linspace(-1, 1, 200_001, dtype=torch.float64)
    energy = t * (w.square() + quartic * w**4)
    weight = (-energy - w.square() / 2).exp()
    exact = float((energy * weight).sum() / weight.sum())
    found = bounds(lambda w: (w.square() + quartic * w**4).sum(), [0.0])
    assert not found.exclude(exact, 0.0)
    if not quartic:
        assert found.below == pytest.approx(0.05, rel=0.01)  # and nothing is granted for nothing
        assert found.exclude(0.44, 0.0)


def test_a_loss_that_ends_near_by_has_no_verdict():
    def cut(w):
        return torch.where(w.abs() < 1e-3, 1.0, torch.nan).mul(w.square()).sum()

    found = bounds(cut, [0.0])
    assert not found.exclude(0.0, 0.0)
    assert not found.exclude(9.0, 0.0)


@pytest.mark.parametrize("cubic", [10.0, 20.0])
def test_odd_powers_may_raise_the_value(cubic):
    # K = (w + c w²)² is regular; about 0 its cubic term adds ½ E[V²]
    t, w = 1000.0, torch.linspace(-0.5 / cubic, 0.5, 200_001, dtype=torch.float64)
    energy = t * (w + cubic * w.square()).square()
    weight = (-energy - w.square() / 2).exp()
    exact = float((energy * weight).sum() / weight.sum())
    found = bounds(lambda w: (w + cubic * w.square()).square().sum(), [0.0])
    assert not found.exclude(exact, 0.0)
    assert found.above > 0.05


@pytest.mark.slow
def test_of_a_behavioral_task_too():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1, bias=False), torch.randn(500, 4)
    data = (x, model(x).detach() + 1)  # no minimum of the loss
    loss = lambda m, b: (m(b[0]) - b[1]).square().mean()  # noqa: E731
    settings = QUICK | {"num_chains": 32, "num_draws": 150}
    found = lk.estimate_llc(model, data, loss, behavioral=True, **settings)
    assert found.bracket == (2.0, 2.0)
    assert found.outcome.trusted


@pytest.mark.slow
def test_without_second_derivatives_there_is_none():
    found = estimate(lambda w: OnceDifferentiable.apply(w).square().sum(), [0.0, 0.0])
    assert found.bracket is found.lower_finite is found.bracket_margin is None
    assert found.outcome is not lk.Outcome.OUTSIDE_BRACKET


def test_only_where_it_costs_little():
    def at(dim):
        return lk.Task(Quadratic(torch.ones(dim)), DATA, potential_loss).checkpoint()

    assert is_affordable(at(100), 3 * 100 * 1000 * 10)
    assert not is_affordable(at(100), 3 * 100 * 1000 * 10 - 1)
    assert is_affordable(at(64), 0)
    assert is_affordable(at(512), 10**9)
    assert not is_affordable(at(513), 10**9)
    few = lk.estimate_llc(Quadratic(torch.ones(100)), DATA, potential_loss, **(QUICK | {"num_draws": 4}))
    assert few.bracket is None


@pytest.mark.slow
def test_a_subset_is_judged_by_its_own_loss():
    torch.manual_seed(0)
    model, x = nn.Linear(3, 1, bias=False), torch.randn(400, 3)
    x[:, 2] *= torch.arange(400) < 399  # flat in the third weight, but for one sample
    loss = lambda m, b: (m(b[0]) - b[1]).square().mean()  # noqa: E731
    found = lk.estimate_llc(model, (x, model(x).detach()), loss, subset=200, **QUICK)
    assert found.bracket == (1.5, 1.5)
    assert dataclasses.replace(found, bracket=None).summary() != found.summary()


@pytest.mark.slow
def test_an_honest_estimate_at_a_kink_has_no_bracket():
    inputs = torch.randn(200, 4)
    model = nn.Linear(4, 1, bias=False)
    data = inputs, model(inputs).detach()
    found = lk.estimate_llc(
        model,
        data,
        lambda model, batch: (model(batch[0]) - batch[1]).abs().mean(1),
        max_grad_evals=2000,
        progress=False,
    )
    assert found.bracket is None
    assert found.outcome.trusted
    assert found.llc > 3  # half the codimension would be 2
