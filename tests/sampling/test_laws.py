"""Every sampler against the exact law that its docstring states; the cases are in the table in conftest.py."""

import math

import numpy as np
import pytest
import torch

from llckit.posterior import Energy
from llckit.sampling import FixedDraws, Noise, mcse_mean, rmsprop_sgld, sample, sgld
from llckit.sampling.sampler import Curvature

ROWS, WIDE = 8, 200
T, GAMMA = 2.0, 2.0


class Quadratic:
    """U = ½ Σ (th + γ) w², with gradient noise of a variance if asked; no model, so that steps cost little."""

    def __init__(self, h, t=T, gamma=GAMMA, noise=0.0):
        self.h, self.t, self.gamma, self.noise = torch.as_tensor(h, dtype=torch.float64), t, gamma, noise
        self.stiffest = float(t * self.h.max() + gamma)
        self._generator = torch.Generator().manual_seed(1)

    def __call__(self, weights):
        excess = 0.5 * self.t * (self.h * weights.square()).sum(1)
        distance2 = weights.square().sum(1)
        grad = (self.t * self.h + self.gamma) * weights
        if self.noise:
            draws = torch.randn(weights.shape, generator=self._generator, dtype=torch.float64)
            grad = grad + math.sqrt(self.noise) * draws
        return Energy(excess, excess + 0.5 * self.gamma * distance2, grad, distance2, torch.zeros_like(excess))


def walk(potential, sampler, num_draws, num_burnin=0, dim=4, stiffest=1.0):
    """The draws of weights, shape (draws, rows, dim)."""
    start = torch.zeros(ROWS, dim, dtype=torch.float64)
    noise = Noise(0, ROWS, start)
    state = sampler.init(start, potential, Curvature(lambda weights: stiffest))
    for _ in range(num_burnin):
        state, info = sampler.step(state, potential, noise)
        state = sampler.adapt(state, info)
    state, draws = sampler.freeze(state), []
    for _ in range(num_draws):
        state, info = sampler.step(state, potential, noise)
        draws.append(info.weights.numpy())
    return np.stack(draws)


def near(draws, expected, rel=0.0):
    return float(draws.mean()) == pytest.approx(expected, abs=4 * mcse_mean(draws) + rel * abs(expected))


@pytest.mark.slow
def test_the_law_of_a_quadratic_with_its_localization(lawful, law):
    potential = Quadratic(law.h, noise=law.noise)
    sampler = lawful.make(**law.settings)
    draws = walk(potential, sampler, law.num_draws, law.num_burnin, len(law.h), potential.stiffest)
    excess = (0.5 * T * law.h * draws**2).sum(2)
    assert near(excess, 0.5 * T * (law.h * law.variance).sum(), law.tolerance)
    assert mcse_mean(excess) < 0.02 * excess.mean()
    for h in np.unique(law.h):
        alike = law.h == h  # directions of one curvature are tested together
        assert near((draws[:, :, alike] ** 2).mean(2), law.variance[alike][0], law.tolerance)
        assert near(draws[:, :, alike].mean(2), 0.0)


def test_a_law_is_the_posterior_or_can_be_told_from_it(lawful, law):
    k = T * law.h + GAMMA
    if lawful.is_exact:
        assert law.is_exact
    if law.is_exact:
        assert law.variance == pytest.approx(1 / k, rel=1e-12)
        assert law.tolerance == 0
    elif law.variance == pytest.approx(1 / k, rel=1e-12):
        assert law.tolerance > 0, "else it is exact"
    else:
        assert law.variance != pytest.approx(1 / k, rel=0.02)


def test_a_thermostat_takes_isotropic_gradient_noise_away(rows):
    law = next(law for row in rows if row.name == "sgnht" for law in row.laws if law.noise)
    size, a = law.settings["step_size"], law.settings["diffusion"]
    added = size**2 * law.noise / 2
    assert added / a == pytest.approx(0.8), "else nothing is tested"
    assert law.variance == pytest.approx((1 - (a + added) / 2) / 4, rel=0.01), "the docstring's bias"


def test_the_walk_without_a_force(row):
    free = Quadratic(np.zeros(WIDE), gamma=0.0)
    ends = walk(free, row.make(**row.free.settings), row.free.steps, dim=WIDE)[-1]
    assert (ends**2).mean() == pytest.approx(row.free.variance, rel=4 * math.sqrt(2 / ends.size))
    assert ends.mean() == pytest.approx(0, abs=4 * math.sqrt(row.free.variance / ends.size))


def test_everything_is_accepted_without_a_force(row, quadratic):
    sampler = row.make(**row.free.settings)
    trace = sample(quadratic([0.0] * 3), sampler, num_burnin=0, stopping=FixedDraws(20, 10_000))
    assert (trace.acceptance == 1).all()
    assert (trace.excess == 0).all()


@pytest.mark.slow
def test_rmsprop_sgld_moves_flat_directions_faster():
    potential = Quadratic([100.0, 1.0], t=1.0, gamma=0.0)

    def travelled(sampler):
        w = walk(potential, sampler, 4000, 500, dim=2, stiffest=100.0)[:, :, 1]
        return (np.diff(w, axis=0) ** 2).mean()

    # G in the flat direction is 1/(√(1/100) + 0.1)
    assert travelled(rmsprop_sgld()) / travelled(sgld()) == pytest.approx(5, rel=0.2)


BOX_T = 1e4 / math.log(1e4)


class Box:
    """t x²y² on [−1, 1]², infinite outside."""

    def __call__(self, weights):
        inside = (weights.abs() <= 1).all(1)
        excess = torch.where(inside, BOX_T * weights.square().prod(1), torch.inf)
        grad = 2 * BOX_T * weights * weights.square().flip(1) * inside[:, None]
        return Energy(excess, excess, grad, weights.square().sum(1), torch.zeros_like(excess))


@pytest.mark.slow
def test_a_box_prior_is_a_potential_of_infinity_outside(exact_row):
    settings, steps = exact_row.box
    draws = walk(Box(), exact_row.make(**settings), steps, steps // 4, dim=2)
    assert np.abs(draws).max() <= 1
    excess = BOX_T * (draws**2).prod(2)
    assert mcse_mean(excess) < 0.02
    assert near(excess, 0.38831)
    assert near((excess - 0.38831) ** 2, 0.37584)


@pytest.mark.slow
def test_a_loss_of_infinity_keeps_chains_inside(rejecting_row, potential):
    def loss(w):
        return torch.where((w.abs() <= 1).all(), w.square().prod(), torch.inf)

    posterior = potential(loss, torch.zeros(2), n_beta=BOX_T, rows=8)
    sampler = rejecting_row.make(**rejecting_row.rejections.wall)
    trace = sample(posterior, sampler, num_burnin=200, stopping=FixedDraws(200, 10_000))
    assert not trace.diverged
    assert (trace.distance2 <= 2).all()
    assert 0.1 < trace.excess.mean() < 0.8
    assert (trace.acceptance == 0).any(), "else no wall was met"
