"""Samplers without a Metropolis test: their own laws, where they become unstable, and what holds them."""

import pytest
import torch

from llckit.sampling import FixedDraws, baoab, chain_group, mcse_mean, rmsprop_sgld, sample, sgld, sgnht
from tests.cases import near

T, GAMMA = 100.0, 2.0


@pytest.mark.slow
@pytest.mark.parametrize("stiffness", [0.2, 1.0, 2.5])
def test_sgld_has_its_own_stationary_law(quadratic, stiffness):
    size = stiffness / (4.0 * T + GAMMA)
    h = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    k = T * h + GAMMA
    posterior = quadratic(h, n_beta=T, localization=GAMMA, rows=16)
    trace = sample(posterior, sgld(step_size=size), num_burnin=300, stopping=FixedDraws(2000, 10_000))
    heat = 1 / (1 - size * k / 4)
    assert near(trace.excess, float(0.5 * (T * h / k * heat).sum()))
    assert near(trace.distance2, float((heat / k).sum()))
    assert near(trace.virial, float(heat.sum()))
    assert mcse_mean(trace.excess) < 0.02 * trace.excess.mean()


@pytest.mark.slow
def test_default_sgld_is_five_percent_too_warm_in_the_stiffest_direction(quadratic):
    posterior = quadratic([3.0], n_beta=T, localization=GAMMA, rows=16)
    trace = sample(posterior, sgld(), num_burnin=300, stopping=FixedDraws(2000, 100_000))
    assert near(trace.excess, 0.5 * 300 / 302 / 0.95)
    assert trace.step_size == pytest.approx(0.2 / 302, rel=1e-6)


@pytest.mark.slow
def test_an_unstable_sgld_step_diverges(quadratic):
    trace = sample(quadratic([10.0]), sgld(step_size=0.5), num_burnin=0, stopping=FixedDraws(2_000, 20_000))
    assert trace.diverged
    assert len(trace.excess) < 2_000
    assert not torch.isfinite(torch.as_tensor(trace.excess[-1])).all()
    stable = sample(quadratic([10.0]), sgld(step_size=0.39), num_burnin=0, stopping=FixedDraws(1_000, 20_000))
    assert not stable.diverged
    assert stable.distance2.max() < 100 * 0.1 / (1 - 3.9 / 4)


@pytest.mark.slow
def test_an_unstable_sgnht_step_diverges_and_one_of_rmsprop_sgld_is_only_too_warm(quadratic):
    settings = {"num_burnin": 0, "stopping": FixedDraws(2_000, 9_000)}
    assert sample(quadratic([10.0]), sgnht(step_size=5.0), **settings).diverged
    held = sample(quadratic([10.0]), rmsprop_sgld(step_size=5.0), **settings)
    assert not held.diverged
    assert held.virial.mean() > 5


@pytest.mark.slow
def test_baoab_stays_in_a_place_far_sharper_than_its_step_allows(potential):
    def loss(w):  # curvature 1 at the start, 10⁶ beyond a wall
        return 0.5 * w.square().sum() + 5e5 * (w[0] - 1).clamp(min=0).square()

    target = potential(loss, torch.zeros(2), n_beta=1.0, localization=0.0)
    trace = sample(target, baoab(step_size=0.5), num_burnin=0, stopping=FixedDraws(1_000, 9_000))
    assert not trace.diverged
    assert (trace.acceptance == 0).any()
    assert trace.excess.max() < 30


@pytest.mark.slow
def test_baoab_finds_a_smaller_step_where_the_loss_is_sharper_than_at_the_start(potential):
    flat_bottom = potential(lambda w: (w.square() + 100 * w.pow(4)).sum(), torch.zeros(4), localization=0.1)
    trace = sample(flat_bottom, baoab(), num_burnin=500, stopping=FixedDraws(500, 9_000))
    assert trace.step_size < 0.7 * (0.3 / 2.1) ** 0.5
    assert near(trace.virial, 4.0)


@pytest.mark.slow
def test_the_step_of_baoab_takes_few_gradients_also_where_the_whole_spectrum_would_be_formed(quadratic, monkeypatch):
    posterior, rows = quadratic(torch.linspace(0.1, 4.0, 300), localization=1.0, rows=2), []
    checkpoint = type(posterior.checkpoint)
    loss_and_grad = checkpoint.loss_and_grad

    def counted(self, weights, *rest):
        rows.append(len(weights))
        return loss_and_grad(self, weights, *rest)

    monkeypatch.setattr(checkpoint, "loss_and_grad", counted)
    trace = sample(posterior, baoab(), num_burnin=200, stopping=FixedDraws(4, 10_000))
    assert trace.step_size == pytest.approx((0.3 / 5.0) ** 0.5, rel=0.05)
    assert sum(rows) < 2 * 205 + 4 * 2 * 8 + 4, "a gradient a step and chain, and four looks of eight steps"


def test_chains_moved_one_by_one_share_the_curvature(quadratic, monkeypatch):
    monkeypatch.setattr(chain_group, "LARGE", 1)
    posterior, looks = quadratic([3.0, 1.0], rows=5), []
    checkpoint = type(posterior.checkpoint)
    curvature = checkpoint.curvature
    monkeypatch.setattr(checkpoint, "curvature", lambda self: looks.append(1) or curvature(self))
    sample(posterior, sgld(), num_burnin=0, stopping=FixedDraws(4, 100))
    assert looks == [1]
