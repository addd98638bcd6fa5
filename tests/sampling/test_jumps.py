import math

import numpy as np
import pytest
import torch

from llckit.sampling import FixedDraws, Noise, hmc, mcse_mean, sample
from llckit.sampling.jumps import EVERY, LEAST, TRIALS, Jumps

N_BETA, GAMMA = 7.0, 0.5
GRID = np.linspace(-8, 8, 400_001)
PRIOR = np.exp(-GAMMA / 2 * (GRID - 1) ** 2)
EXCESS = N_BETA * (GRID**2 - 1) ** 2
DENSITY = PRIOR * np.exp(-EXCESS)
Z = float(DENSITY.sum() / PRIOR.sum())
ACROSS = float(DENSITY[GRID < 0].sum() / DENSITY.sum())


@pytest.fixture
def double_well(potential):
    """L = (w² − 1)² around 1: a barrier of nβ = 7, and beyond it the smaller part of the mass."""

    def make(rows):
        return potential(
            lambda w: (w.square() - 1).square().sum(), torch.ones(1), n_beta=N_BETA, localization=GAMMA, rows=rows
        )

    return make


def jumping(posterior, seed=0):
    return Jumps(posterior, Noise(seed, posterior.rows, posterior.checkpoint.weights, stream=2))


def at_center(posterior):
    return posterior.checkpoint.weights.repeat(posterior.rows, 1)


def near_share(hits, share, errors=4.5):
    return abs(float(np.mean(hits)) - share) < errors * math.sqrt(share * (1 - share) / len(hits))


@pytest.mark.slow
def test_a_jump_leaves_the_posterior_as_it_is(double_well):
    posterior = double_well(4096)
    cumulative = np.cumsum(DENSITY) / DENSITY.sum()
    drawn = np.interp(np.random.default_rng(0).random(posterior.rows), cumulative, GRID)
    weights = torch.tensor(drawn)[:, None]
    jumps, before = jumping(posterior), weights.clone()
    energy = posterior(weights)
    for _ in range(EVERY):
        weights, energy, _ = jumps.before_step(weights, energy)
    there, back = (before > 0) & (weights < 0), (before < 0) & (weights > 0)
    # detailed balance: as many go as come, ∫∫ min(π(w) q(w′), π(w′) q(w)) over the two wells
    assert int(there.sum()) > 100
    assert abs(int(there.sum()) - int(back.sum())) < 4.5 * math.sqrt(int(there.sum()) + int(back.sum()))
    assert near_share(weights.numpy() < 0, ACROSS)
    e = np.interp(weights[:, 0].numpy(), GRID, EXCESS)
    mean = float((EXCESS * DENSITY).sum() / DENSITY.sum())
    assert e.mean() == pytest.approx(mean, abs=4.5 * e.std() / math.sqrt(len(e)))
    fresh = posterior(weights)
    for name in ("excess", "potential", "distance2", "grad"):
        assert torch.allclose(getattr(energy, name), getattr(fresh, name), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_jumps_alone_forget_the_start_at_their_rate(double_well):
    posterior = double_well(1024)
    jumps, weights = jumping(posterior), at_center(posterior)
    energy = posterior(weights)
    num_jumps = math.ceil(math.log(1e-3) / math.log(1 - Z))
    for _ in range(EVERY * num_jumps):
        weights, energy, _ = jumps.before_step(weights, energy)
    # (1 − Z)^k is a thousandth, a fifteenth of the standard error
    assert near_share(weights[:, 0].numpy() < 0, ACROSS)


def test_the_share_is_the_evidence(quadratic):
    h, n_beta, gamma = torch.tensor([0.5, 2.0], dtype=torch.float64), 10.0, 1.5
    posterior = quadratic(h, n_beta=n_beta, localization=gamma, rows=512)
    jumps, weights = jumping(posterior), at_center(posterior)
    _, _, spent = jumps.before_step(weights, posterior(weights))
    evidence = float((gamma / (n_beta * h + gamma)).sqrt().prod())
    squared = float((gamma / (2 * n_beta * h + gamma)).sqrt().prod())  # E_q[e^(−2E)]
    error = math.sqrt((squared - evidence**2) / (TRIALS * posterior.rows))
    assert spent == TRIALS
    assert jumps.share == pytest.approx(evidence, abs=4 * error)


def without(sampler):
    return sampler._replace(accepts=sampler.accepts - {Jumps})


@pytest.mark.slow
def test_chains_cross_a_barrier_that_trajectories_do_not(double_well):
    posterior = double_well(256)

    def across(sampler):
        trace = sample(
            posterior,
            sampler,
            num_burnin=60,
            stopping=FixedDraws(100, 100_000),
            observe=lambda w: {"across": (w[:, 0] < 0).double().numpy()},
        )
        return trace.observed["across"]

    jumped, stayed = across(hmc()), across(without(hmc()))
    error = mcse_mean(jumped)
    assert error < 0.1 * ACROSS
    assert jumped.mean() == pytest.approx(ACROSS, abs=4 * error)
    assert abs(stayed.mean() - ACROSS) > 8 * error


@pytest.mark.slow
def test_jumps_cost_one_gradient_at_every_second_step(double_well):
    costs = [
        sample(double_well(8), sampler, num_burnin=12, stopping=FixedDraws(31, 100_000)).grad_evals
        for sampler in (hmc(), without(hmc()))  # of the same lengths, as the first search comes after 40 steps
    ]
    assert costs[0] - costs[1] == TRIALS + 43 // EVERY


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stiff", "gamma", "cost"), [(12, 1.0, TRIALS), (1, 0.0, 0)], ids=["hardly ever accepted", "no localization"]
)
def test_where_jumps_are_useless_nothing_changes(quadratic, stiff, gamma, cost):
    posterior = quadratic([10.0] * stiff, n_beta=10.0, localization=gamma, rows=16)
    with_jumps, plain = (
        sample(posterior, sampler, stopping=FixedDraws(40, 100_000)) for sampler in (hmc(), without(hmc()))
    )
    assert with_jumps.grad_evals == plain.grad_evals + cost
    for name in ("excess", "distance2", "virial", "acceptance"):
        assert np.array_equal(getattr(with_jumps, name), getattr(plain, name))
    assert math.sqrt(1 / 101) ** 12 < LEAST < 0.05


def test_jumps_that_are_not_finite_are_rejected(potential):
    def loss(w):  # beyond 0.5 there is none
        return torch.where(w.abs().sum() < 0.5, w.square().sum(), torch.nan)

    posterior = potential(loss, torch.zeros(1), localization=1.0, rows=64)
    jumps, weights = jumping(posterior), at_center(posterior)
    energy = posterior(weights)
    for _ in range(10):
        weights, energy, _ = jumps.before_step(weights, energy)
    assert jumps.share is not None
    assert 0.1 < jumps.share < 0.6
    assert (weights != 0).any()
    assert (weights.abs() < 0.5).all()
    assert torch.isfinite(energy.potential).all()


def test_places_without_a_gradient_are_not_jumped_to(potential):
    def loss(w):  # of a square root beyond its end, which `where` hides from the value and not from the gradient
        inside = w.square().sum() < 1
        return torch.where(inside, 1 - torch.sqrt(1 - w.square().sum()), 1.0)

    posterior = potential(loss, torch.zeros(1), n_beta=3.0, localization=1.0, rows=64)
    outside = posterior(torch.full((64, 1), 2.0, dtype=torch.float64))
    assert torch.isfinite(outside.excess).all()
    assert not torch.isfinite(outside.grad).any(), "else nothing is tested"
    jumps, weights = jumping(posterior), at_center(posterior)
    energy = posterior(weights)
    for _ in range(10):
        weights, energy, _ = jumps.before_step(weights, energy)
    assert (weights.abs() > 0.5).any()
    assert (weights.abs() < 1).all()
    assert torch.isfinite(energy.grad).all()


def test_hmc_of_a_given_length_or_with_a_guide_does_not_jump(quadratic):
    guide = quadratic([1.0], localization=1.0)
    assert Jumps in hmc().accepts
    assert Jumps in hmc(step_size=0.1).accepts
    assert Jumps not in hmc(max_leapfrogs=3).accepts
    assert Jumps not in hmc(guide=lambda draw: guide).accepts
