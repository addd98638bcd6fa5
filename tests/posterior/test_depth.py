"""How far above a minimum a checkpoint lies: closed forms, and what must stay as it was."""

import math

import pytest
import torch

from llckit.posterior import depth as depth_module
from llckit.posterior import depth_below

H = (4.0, 1.0, 0.1, 0.0)
AWAY = (0.5, -1.0, 2.0, 1.0)


@pytest.fixture(params=["L-BFGS", "steepest descent"])
def either_way(request, monkeypatch):
    """Once as small models are descended, once as large ones."""
    if request.param == "steepest descent":
        monkeypatch.setattr(depth_module, "KEPT", 0)


def displaced(potential, dtype, **settings):
    """L(w) = 0.3 + ½ Σ h (w − c)², at w* = c − AWAY."""
    h, away = torch.tensor(H, dtype=dtype), torch.tensor(AWAY, dtype=dtype)
    start = torch.tensor([3.0, 0.0, -1.0, 2.0], dtype=dtype)
    return potential(lambda w: 0.3 + 0.5 * (h * (w - start - away).square()).sum(), start, **settings)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("n_beta", [1.0, 100.0, 1e4])
@pytest.mark.parametrize("localization", [0.0, 1.0, 50.0])
def test_the_closed_form_of_a_displaced_quadratic(potential, dtype, n_beta, localization):
    posterior = displaced(potential, dtype, n_beta=n_beta, localization=localization)
    depth, found = depth_below(posterior)
    # ŵ − w* = k/(k + γ) (c − w*) in each direction, k = nβh
    k, away = n_beta * torch.tensor(H, dtype=torch.float64), torch.tensor(AWAY, dtype=torch.float64)
    share = torch.where(k > 0, k / (k + localization), 0.0)
    exact = float((0.5 * k * away.square() * (1 - (1 - share).square())).sum())
    assert depth == pytest.approx(exact, rel=1e-7 if dtype == torch.float64 else 1e-4)
    moved = (found.double() - posterior.checkpoint.weights.double())[k > 0]
    torch.testing.assert_close(moved, (share * away)[k > 0], rtol=1e-3, atol=1e-3)
    assert found.shape == (4,)
    assert found.dtype == dtype


def test_the_depth_is_that_of_the_point_it_returns(potential):
    posterior = potential(
        lambda w: (w.square() - 1).square().sum(), torch.full((3,), 0.5), n_beta=20.0, localization=1.0
    )
    depth, found = depth_below(posterior)
    energy = posterior(found[None])
    assert depth == pytest.approx(-float(energy.excess), rel=1e-6)
    assert float(energy.potential) < 0
    assert float(energy.grad.norm()) < 1e-2 * 20 * float(posterior.checkpoint.loss_grad.norm())
    # The localiser holds ŵ back, so the well's own bottom lies deeper: nβ (1 − ¼)² for each weight.
    assert 0.9 * 33.75 < depth < 33.75


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_minimum_is_its_own(potential, dtype):
    start = torch.tensor([1.0, -2.0], dtype=dtype)
    posterior = potential(lambda w: 0.3 + (w - start).square().sum(), start, n_beta=1e4, localization=1.0)
    depth, found = depth_below(posterior)
    assert depth == 0
    assert torch.equal(found, start)


@pytest.mark.usefixtures("either_way")
def test_rounding_at_a_minimum_is_no_depth(potential):
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(50, generator=generator)
    start = targets.mean().reshape(1)
    posterior = potential(lambda w: 0.5 * (w - targets).square().mean(), start, n_beta=1e4, localization=1.0)
    assert posterior.checkpoint.loss_grad.any(), "else nothing is tested"
    depth, _ = depth_below(posterior)
    assert 0 <= depth < 1e4 * 1e-6


@pytest.mark.slow
@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize(
    "function",
    [
        lambda w: w.sin().sum() + 0.1 * w.square().sum(),
        lambda w: w.abs().sum(),
        lambda w: w.abs().sqrt().sum(),
        lambda w: (w[0] * w[1] - 1).square() + 1e-3 * w.pow(4).sum(),
        lambda w: w.exp().sum(),  # without a minimum
        lambda w: w.sum(),
        lambda w: torch.where((w.abs() <= 1).all(), w.sum(), torch.inf),
        lambda w: -(1 - w.square()).log().sum(),  # NaN outside of the unit cube
        lambda w: (1.01 + w).sqrt().sum(),
    ],
)
@pytest.mark.parametrize("n_beta", [1.0, 1e6])
def test_it_is_finite_and_never_negative(potential, function, n_beta):
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        start = 2 * torch.rand(3, generator=generator) - 1
        posterior = potential(function, start, n_beta=n_beta, localization=1.0)
        depth, found = depth_below(posterior)
        assert depth >= 0
        assert math.isfinite(depth)
        assert torch.isfinite(found).all()
        assert -float(posterior(found[None]).excess) == pytest.approx(depth, rel=1e-5, abs=1e-6 * n_beta)


def test_large_models_take_fewer_vectors_and_get_less_far(potential, monkeypatch):
    """Steepest descent: never deeper than the closed form, most of the way in a quadratic of condition 40."""
    best, _ = depth_below(displaced(potential, torch.float64, n_beta=100.0, localization=1.0))
    monkeypatch.setattr(depth_module, "KEPT", 0)
    posterior = displaced(potential, torch.float64, n_beta=100.0, localization=1.0)
    depth, found = depth_below(posterior)
    assert 0.9 * best < depth <= best
    assert -float(posterior(found[None]).excess) == pytest.approx(depth, rel=1e-12)


def test_more_localization_is_less_depth(potential):
    depths = [depth_below(displaced(potential, torch.float64, localization=g))[0] for g in (0.0, 0.1, 1.0, 10.0)]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] > 1.5 * depths[-1] > 0


@pytest.mark.usefixtures("either_way")
def test_nothing_else_changes(potential):
    posterior = displaced(potential, torch.float32, n_beta=10.0, localization=1.0)
    model = posterior.checkpoint.flat_loss.module.model
    weights, trained = posterior.checkpoint.weights.clone(), model.w.detach().clone()
    grad, loss, state = posterior.checkpoint.loss_grad.clone(), posterior.checkpoint.loss, torch.get_rng_state()
    first = depth_below(posterior)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(posterior.checkpoint.weights, weights)
    assert torch.equal(model.w, trained)
    assert model.w.grad is None
    assert not posterior.checkpoint.weights.requires_grad
    assert torch.equal(posterior.checkpoint.loss_grad, grad)
    assert posterior.checkpoint.loss == loss
    torch.manual_seed(99)
    second = depth_below(posterior)
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])
    first[1].add_(1)  # what is returned is nobody else's
    assert torch.equal(posterior.checkpoint.weights, weights)


def test_few_gradients_are_spent_also_in_a_valley_that_is_hard_to_follow(potential):
    def rosenbrock(w):
        return 100 * (w[1:] - w[:-1].square()).square().sum() + (1 - w[:-1]).square().sum()

    start = torch.tensor([-1.2, 1.0, -1.2, 1.0], dtype=torch.float64)
    posterior = potential(rosenbrock, start, n_beta=1e4)
    calls = []
    original = posterior.checkpoint.loss_and_grad
    posterior.checkpoint.loss_and_grad = lambda weights: calls.append(1) or original(weights)
    depth, found = depth_below(posterior)
    assert 20 <= len(calls) <= 30  # a line search may finish what it began
    assert float(rosenbrock(found)) > 0.01, "else 25 gradients are enough to find the minimum"
    assert 0 < depth < 1e4 * float(rosenbrock(start))  # a lower bound


def test_with_one_pair_kept_the_depth_of_a_bowl_is_found_all_the_same(potential, monkeypatch):
    monkeypatch.setattr(depth_module, "HISTORY_BYTES", 0)
    h = torch.tensor([1.0, 4.0, 9.0], dtype=torch.float64)
    posterior = potential(lambda w: 0.5 * (h * w.square()).sum(), torch.ones(3, dtype=torch.float64), n_beta=10.0)
    depth, found = depth_below(posterior)
    assert depth == pytest.approx(10 * 0.5 * 14, rel=1e-3)
    assert found.abs().max() < 0.05
