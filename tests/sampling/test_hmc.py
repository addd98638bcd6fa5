"""Hamiltonian Monte Carlo against exact laws, and its leapfrogs against a plain integrator."""

import itertools
import math

import numpy as np
import pytest
import torch

from llckit.sampling import FixedDraws, Noise, hmc, mcse_mean, sample
from tests.cases import near

H = torch.tensor([4.0, 1.0, 0.1, 0.0], dtype=torch.float64)
T, GAMMA = 100.0, 2.0
K = T * H + GAMMA


@pytest.mark.slow
def test_hmc_samples_a_quadratic_exactly(quadratic):
    posterior = quadratic(H, n_beta=T, localization=GAMMA, rows=32)
    trace = sample(posterior, hmc(), stopping=FixedDraws(400, 100_000))
    expected = float(0.5 * (T * H / K).sum())
    assert near(trace.excess, expected)
    assert mcse_mean(trace.excess) < 0.02 * expected
    assert near(trace.virial, 4.0)
    assert near(trace.distance2, float((1 / K).sum()))
    # Var of ½ Σ (th/k) z², z ~ N(0, 1)
    variance = float(0.5 * (T * H / K).square().sum())
    assert near((trace.excess - expected) ** 2, variance)


@pytest.mark.slow
def test_hmc_is_exact_whatever_guides_it(quadratic):
    posterior = quadratic(H, n_beta=T, localization=GAMMA, rows=32)
    shapes = [H * torch.tensor(scale, dtype=torch.float64) for scale in ((0.7, 0.6, 0.5, 1.0), (0.9, 0.5, 2.0, 1.0))]
    guides = [quadratic(shape, n_beta=T, localization=GAMMA, rows=32) for shape in shapes]
    sampler = hmc(guide=lambda draw: guides[int(draw(2, 1))])
    trace = sample(posterior, sampler, stopping=FixedDraws(600, 100_000))
    expected = float(0.5 * (T * H / K).sum())
    assert near(trace.excess, expected)
    assert mcse_mean(trace.excess) < 0.02 * expected
    assert near(trace.virial, 4.0)
    assert (trace.virial[:10] == trace.virial[0]).all(), "it is measured every tenth time"
    assert (trace.virial[10] != trace.virial[0]).any()
    # accepted by the guides' own energies, chains would have about this
    theirs = np.mean([float(0.5 * (T * H / (T * shape + GAMMA)).sum()) for shape in shapes])
    assert theirs > expected + 10 * mcse_mean(trace.excess)


@pytest.mark.slow
def test_hmc_has_the_covariance_of_the_posterior(quadratic):
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    values = torch.tensor([50.0, 5.0, 0.0], dtype=torch.float64)
    hessian = (rotation * values) @ rotation.T
    covariance = (rotation / (values + 1)) @ rotation.T
    posterior = quadratic([0.0] * 3, localization=1.0, rows=32)
    posterior.checkpoint.flat_loss.module.model.function = lambda w: 0.5 * w @ hessian @ w
    draws = walk(posterior, hmc(), 300, stiffest=51.0)
    for i in range(3):
        assert near(draws[:, :, i], 0.0)
        for j in range(i + 1):
            assert near(draws[:, :, i] * draws[:, :, j], float(covariance[i, j]))


def walk(posterior, sampler, num_draws, stiffest, num_burnin=100, seed=0):
    """The draws of weights themselves, shape (draws, rows, dim)."""
    noise = Noise(seed, posterior.rows, posterior.checkpoint.weights)
    state = sampler.init(posterior.checkpoint.weights.repeat(posterior.rows, 1), posterior, lambda: stiffest)
    draws = []
    for _ in range(num_burnin):
        state, info = sampler.step(state, posterior, noise)
        state = sampler.adapt(state, info)
    state = sampler.freeze(state)
    for _ in range(num_draws):
        state, info = sampler.step(state, posterior, noise)
        draws.append(info.weights.numpy())
    return np.stack(draws)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_hmc_of_a_quartic_well(potential, seed):
    posterior = potential(lambda w: w.pow(4).sum(), torch.zeros(1), n_beta=1e4, localization=1e-6, rows=64)
    trace = sample(posterior, hmc(), seed=seed, stopping=FixedDraws(300, 100_000))
    assert near(trace.excess, 0.25)  # λ = 1/4, Gamma(1/4, 1): variance = mean
    assert near((trace.excess - 0.25) ** 2, 0.25)
    assert near(trace.virial, 1.0)


@pytest.mark.slow
def test_hmc_of_a_double_well_that_is_no_quadratic(potential):
    posterior = potential(
        lambda w: (w.square() - 1).square().sum(), torch.ones(1), n_beta=3.0, localization=0.5, rows=64
    )
    grid = np.linspace(-5, 5, 200_001)
    excess = 3 * (grid**2 - 1) ** 2
    density = np.exp(-excess - 0.25 * (grid - 1) ** 2)
    density /= density.sum()
    trace = sample(posterior, hmc(), stopping=FixedDraws(300, 100_000))
    assert near(trace.excess, float((excess * density).sum()))
    assert near(trace.distance2, float(((grid - 1) ** 2 * density).sum()))


@pytest.mark.slow
def test_hmc_accepts_always_without_a_force(quadratic):
    trace = sample(quadratic([0.0] * 3), hmc(step_size=0.7), num_burnin=0, stopping=FixedDraws(20, 10_000))
    assert (trace.acceptance == 1).all()
    assert (trace.excess == 0).all()


class Fixed:
    """Noise that repeats: one momentum, one length, and acceptance of everything."""

    def __init__(self, momentum, common):
        self.momentum, self._common = momentum, common

    def normal(self, dim):
        return self.momentum.clone()

    def uniform(self):
        return torch.full((len(self.momentum),), -1.0, dtype=torch.float64)

    def common(self):
        return self._common


def quartic(potential, rows):
    h = torch.tensor([3.0, 1.0, 0.3], dtype=torch.float64)
    return potential(lambda w: (h * w.square() + w.pow(4)).sum(), torch.zeros(3), rows=rows, localization=0.5)


def test_the_energy_error_of_leapfrogs_falls_with_the_square_of_the_step(potential):
    generator = torch.Generator().manual_seed(0)
    posterior = quartic(potential, 20)
    start = 0.5 * torch.randn(20, 3, dtype=torch.float64, generator=generator)
    momentum = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    errors = []
    for length in (10, 20, 40):
        sampler = hmc(step_size=1 / length, max_leapfrogs=length)
        state = sampler.init(start, posterior, lambda: 1.0)
        _, info = sampler.step(state, posterior, Fixed(momentum, 1 - 1e-9))
        assert info.grad_evals == length
        # rows whose energy rose: −ln acceptance is the error
        errors.append(-info.acceptance.log())
    rose = errors[0] > 1e-4
    assert rose.sum() >= 5
    for coarse, fine in itertools.pairwise(errors):
        torch.testing.assert_close((coarse / fine)[rose].median(), torch.tensor(4.0).double(), rtol=0.1, atol=0)


def test_leapfrogs_are_reversible_and_conserve_volume(potential):
    posterior = quartic(potential, 1)
    sampler = hmc(step_size=0.1, max_leapfrogs=7)

    def flow(weights, momentum):
        noise = Fixed(momentum[None], 1 - 1e-9)
        state, _ = sampler.step(sampler.init(weights[None], posterior, lambda: 1.0), posterior, noise)
        return state.weights[0]

    generator = torch.Generator().manual_seed(0)
    w, p = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    reference = leapfrog(posterior, w, p, 0.1, 7)
    torch.testing.assert_close(flow(w, p), reference[0], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(flow(reference[0], -reference[1]), w, rtol=1e-10, atol=1e-12)


def leapfrog(posterior, w, p, size, length):
    for _ in range(length):
        p = p - size / 2 * posterior(w[None]).grad[0]
        w = w + size * p
        p = p - size / 2 * posterior(w[None]).grad[0]
    return w, p


@pytest.mark.slow
def test_dual_averaging_reaches_its_acceptance(quadratic):
    h = torch.logspace(-2, 2, 50, dtype=torch.float64)
    trace = sample(quadratic(h, n_beta=10.0, localization=1.0), hmc(), stopping=FixedDraws(200, 100_000))
    assert 0.78 < trace.acceptance.mean() < 0.92
    assert trace.step_size < 2 / math.sqrt(1001)


def test_a_step_that_is_not_given_varies_down_to_a_sixteenth(quadratic):
    flat = quadratic([0.0, 0.0], rows=3)
    momentum = torch.ones(3, 2, dtype=torch.float64)
    moved = {}
    for common in (0.0, 1 - 1e-12):  # one leapfrog of ε; two of ε/16
        sampler = hmc(max_leapfrogs=2)
        state = sampler.init(torch.zeros(3, 2, dtype=torch.float64), flat, lambda: 4.0)
        state, info = sampler.step(state, flat, Fixed(momentum, common))
        assert info.step_size == 0.5
        moved[common] = float(state.weights[0, 0])
    assert list(moved.values()) == pytest.approx([0.5, 2 * 0.5 / 16])
