"""Every sampler against the exact law that its docstring states."""

import math

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import brentq

from llckit.posterior import Energy
from llckit.sampling import Noise, baoab, hmc, mala, mcse_mean, rmsprop_sgld, sample, sgld, sgnht

ROWS = 8
T, GAMMA = 2.0, 2.0
H = torch.tensor([4.0, 2.0, 1.0, 0.5], dtype=torch.float64)
K = (T * H + GAMMA).numpy()


class Quadratic:
    """U = ½ Σ (th + γ) w², with gradient noise of a variance where asked; no model, so that steps cost little."""

    def __init__(self, h=H, t=T, gamma=GAMMA, noise=0.0):
        self.h, self.t, self.gamma, self.noise = h, t, gamma, noise
        self._generator = torch.Generator().manual_seed(1)

    def __call__(self, weights):
        excess = 0.5 * self.t * (self.h * weights.square()).sum(1)
        distance2 = weights.square().sum(1)
        grad = (self.t * self.h + self.gamma) * weights
        if self.noise:
            draws = torch.randn(weights.shape, generator=self._generator, dtype=torch.float64)
            grad = grad + math.sqrt(self.noise) * draws
        return Energy(excess, excess + 0.5 * self.gamma * distance2, grad, distance2)


def walk(potential, sampler, num_draws, num_burnin=0, rows=ROWS, dim=4, stiffest=None):
    """The draws of weights, shape (draws, rows, dim)."""
    start = torch.zeros(rows, dim, dtype=torch.float64)
    noise = Noise(0, rows, start)
    state = sampler.init(start, potential, lambda: float(K.max()) if stiffest is None else stiffest)
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


def sgld_law(size, k=K):
    return 1 / (k * (1 - size * k / 4))


def rmsprop_law(size, eps, k=K):
    return 1 / (k * (1 - size / (np.sqrt(k / k.max()) + eps) * k / 4))


def sgnht_law(size, a, k=K, noise=0.0):
    def heat(xi):
        return (a + size**2 * noise / 2) / xi / (1 - xi / 2 - size**2 * k / 4)

    xi = brentq(lambda xi: heat(xi).mean() - 1, 1e-3 * a, 0.9)
    return (1 - xi / 2) * heat(xi) / k


def baoab_law(size, friction, k, noise=0.0):
    """From the linear map of (w, p before the last half kick), solved numerically."""
    c = math.exp(-friction * size)
    drift = np.array([[1, size * (1 + c) / 2], [0, c]])
    step = drift @ np.array([[1, 0], [-size * k, 1]])
    kick, fresh = drift @ np.array([0, -size]), math.sqrt(1 - c**2) * np.array([size / 2, 1])
    return solve_discrete_lyapunov(step, noise * np.outer(kick, kick) + np.outer(fresh, fresh))[0, 0]


LAWS = {
    "hmc": (hmc(), 1 / K, 150, 0.0),
    "mala": (mala(), 1 / K, 300, 0.0),
    "sgld": (sgld(step_size=0.1), sgld_law(0.1), 200, 0.0),
    # over the 1000 steps that it remembers, v still fluctuates with the square of the weights
    "rmsprop_sgld": (rmsprop_sgld(step_size=0.04, decay=0.999), rmsprop_law(0.04, 0.1), 4000, 0.02),
    "sgnht": (sgnht(step_size=0.2, diffusion=0.1), sgnht_law(0.2, 0.1), 500, 0.01),
    "baoab": (baoab(step_size=0.3), 1 / K, 200, 0.0),
    "baoab, adapted": (baoab(), 1 / K, 500, 0.0),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_law_of_a_quadratic_with_its_localiser(name):
    sampler, variance, num_burnin, tolerance = LAWS[name]
    draws = walk(Quadratic(), sampler, 3000, num_burnin)
    h = H.numpy()
    excess = (0.5 * T * h * draws**2).sum(2)
    assert near(excess, 0.5 * T * (h * variance).sum(), tolerance)
    assert mcse_mean(excess) < 0.02 * excess.mean()
    for i in range(4):
        assert near(draws[:, :, i] ** 2, variance[i], tolerance)
        assert near(draws[:, :, i], 0.0)


SIZE, MOVES, WIDE = 0.3, 40, 200


def free_baoab():
    c = math.exp(-0.1)
    pp = wp = ww = 0.0
    for _ in range(MOVES):
        ww += SIZE * (1 + c) * wp + SIZE**2 / 4 * ((1 + c) ** 2 * pp + 1 - c**2)
        wp = c * wp + SIZE / 2 * (c * (1 + c) * pp + 1 - c**2)
        pp = c**2 * pp + 1 - c**2
    return ww


def free_sgnht(a=0.05):
    pp = wp = ww = 0.0
    xi = a
    for _ in range(MOVES):
        pp = (1 - xi) ** 2 * pp + 2 * a
        ww += 2 * SIZE * (1 - xi) * wp + SIZE**2 * pp
        wp = (1 - xi) * wp + SIZE * pp
        xi += a**2 * (pp - 1)
    return ww


def free_rmsprop(b=0.9, eps=0.5):
    return sum(SIZE / (math.sqrt(b**t / (1 - b**t)) + eps) for t in range(1, MOVES + 1))


# what reports where a step began has made one move less
FREE = {
    "hmc": (hmc(step_size=SIZE, max_leapfrogs=1), MOVES, MOVES * SIZE**2),
    "mala": (mala(step_size=SIZE), MOVES, MOVES * SIZE),
    "sgld": (sgld(step_size=SIZE), MOVES + 1, MOVES * SIZE),
    "rmsprop_sgld": (rmsprop_sgld(step_size=SIZE, decay=0.9, eps=0.5), MOVES + 1, free_rmsprop()),
    "sgnht": (sgnht(step_size=SIZE, diffusion=0.05), MOVES + 1, free_sgnht()),
    "baoab": (baoab(step_size=SIZE), MOVES, free_baoab()),
}


@pytest.mark.parametrize("name", FREE)
def test_the_walk_without_a_force(name):
    sampler, steps, expected = FREE[name]
    free = Quadratic(torch.zeros(WIDE, dtype=torch.float64), gamma=0.0)
    ends = walk(free, sampler, steps, dim=WIDE, stiffest=1.0)[-1]
    assert (ends**2).mean() == pytest.approx(expected, rel=4 * math.sqrt(2 / ends.size))
    assert ends.mean() == pytest.approx(0, abs=4 * math.sqrt(expected / ends.size))


@pytest.mark.parametrize("name", ["hmc", "mala", "baoab"])
def test_everything_is_accepted_without_a_force(quadratic, name):
    trace = sample(quadratic([0.0] * 3), FREE[name][0], num_draws=20, num_burnin=0, max_grad_evals=10_000)
    assert (trace.acceptance == 1).all()
    assert (trace.excess == 0).all()


def test_gradient_noise_heats_sgld_by_the_known_amount():
    size, noise = 0.05, 20.0
    assert size * noise / 4 > 0.1, "else nothing is tested"
    draws = walk(Quadratic(noise=noise), sgld(step_size=size), 3000, 200)
    for i in range(4):
        assert near(draws[:, :, i] ** 2, (1 + size * noise / 4) * sgld_law(size)[i])


@pytest.mark.parametrize("friction", [0.5, 3.0])
@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_gradient_noise_heats_baoab_by_the_known_amount(friction, noise):
    size = 0.3
    variance = np.array([baoab_law(size, friction, k, noise) for k in K])
    if noise == 0:
        assert variance == pytest.approx(1 / K, rel=1e-12)
    else:
        assert variance * K - 1 == pytest.approx(size * noise / 2 / friction, rel=0.5), "the docstring's heat"
    draws = walk(Quadratic(noise=noise), baoab(step_size=size, friction=friction), 3000, 200)
    for i in range(4):
        assert near(draws[:, :, i] ** 2, variance[i])


def test_a_thermostat_takes_isotropic_gradient_noise_away():
    k, noise, size, a = 4.0, 8.0, 0.1, 0.05
    h = torch.ones(50, dtype=torch.float64)
    draws = walk(Quadratic(h, t=2.0, gamma=2.0, noise=noise), sgnht(step_size=size, diffusion=a), 3000, 500, dim=50)
    expected = float(sgnht_law(size, a, np.array([k]), noise)[0])
    assert size**2 * noise / 2 / a == pytest.approx(0.8), "else nothing is tested"
    assert expected == pytest.approx((1 - (a + size**2 * noise / 2) / 2) / k, rel=0.01), "the docstring's bias"
    assert near((draws**2).mean(2), expected)


@pytest.mark.parametrize("eps", [0.3, 1.0])
def test_rmsprop_sgld_is_too_warm_where_its_statistics_follow_the_weight(eps):
    c = math.sqrt(2 / math.pi)
    potential = Quadratic(torch.ones(40, dtype=torch.float64), t=3.0, gamma=1.0)
    draws = walk(potential, rmsprop_sgld(step_size=0.006, decay=0.0, eps=eps), 6_000, 500, dim=40, stiffest=4.0)
    z2 = 4 * draws.reshape(len(draws), -1) ** 2
    expected = (eps + 2 * c) / (eps + c)
    assert near(z2, expected, rel=0.01)
    assert mcse_mean(z2) < 0.03, "else it could not be told from 1"


def test_rmsprop_sgld_moves_flat_directions_faster():
    k = np.array([100.0, 1.0])
    potential = Quadratic(torch.tensor(k), t=1.0, gamma=0.0)

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
        return Energy(excess, excess, grad, weights.square().sum(1))


BOXED = {"hmc": (hmc(step_size=0.04, max_leapfrogs=20), 2000), "mala": (mala(step_size=0.002), 6000)}


@pytest.mark.parametrize("name", BOXED)
def test_a_box_prior_is_a_potential_of_infinity_outside(name):
    sampler, steps = BOXED[name]
    draws = walk(Box(), sampler, steps, steps // 4, dim=2)
    assert np.abs(draws).max() <= 1
    excess = BOX_T * (draws**2).prod(2)
    assert mcse_mean(excess) < 0.02
    assert near(excess, 0.38831)
    assert near((excess - 0.38831) ** 2, 0.37584)


@pytest.mark.parametrize("sampler", [hmc(), mala(), baoab(step_size=0.1)], ids=lambda s: s.name)
def test_a_loss_of_infinity_keeps_chains_inside(potential, sampler):
    def loss(w):
        return torch.where((w.abs() <= 1).all(), w.square().prod(), torch.inf)

    posterior = potential(loss, torch.zeros(2), n_beta=BOX_T, rows=8)
    trace = sample(posterior, sampler, num_draws=200, num_burnin=200, max_grad_evals=10_000)
    assert not trace.diverged
    assert (trace.distance2 <= 2).all()
    assert 0.1 < trace.excess.mean() < 0.8
    assert (trace.acceptance == 0).any(), "else no wall was met"
