"""Energies that are exact at finite t = nβ: formulas against quadrature, the package against the formulas."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats
from torch import nn

import llckit as lk
from llckit.posterior import LocalPosterior, Task
from llckit.sampling import FixedDraws, hmc, mcse_mean, sample, sgld
from llckit.toys import (
    DisjointSum,
    Monomial,
    NormProduct,
    matrix_product_energy,
    monomial_energy,
    potential_loss,
    quadratic_energy,
)


def near(draws, expected):
    return float(draws.mean()) == pytest.approx(expected, abs=4 * mcse_mean(draws))


def run(model, t, gamma, sampler=None, *, rows=128, draws=120, burnin=60):
    task = Task(model.double(), (torch.zeros(100, 1),), potential_loss)
    posterior = LocalPosterior(task.checkpoint(), n_beta=t, localization=gamma, rows=rows)
    stopping = FixedDraws(draws, 10**6)
    return sample(posterior, sampler or hmc(max_leapfrogs=16), num_burnin=burnin, stopping=stopping)


# Quasi-homogeneous potentials under a flat prior: t K ~ Gamma(λ, 1).
HOMOGENEOUS = {
    "w^4": (Monomial([2]), 1 / 4),
    "w^2 + v^4": (DisjointSum(Monomial([1]), Monomial([2])), 3 / 4),
    "w^2 + v^4 + x^6": (DisjointSum(*(Monomial([k]) for k in (1, 2, 3))), 11 / 12),
    "|w|^4, 3 weights": (NormProduct([3], [2]), 3 / 4),
}


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_the_energy_of_a_homogeneous_potential_is_gamma(name):
    model, llc = HOMOGENEOUS[name]
    excess = run(model, t=1e6, gamma=1e-6).excess
    assert near(excess, llc)
    assert near((excess - llc) ** 2, llc), "the variance is the mean"
    for share in (0.25, 0.5, 0.75, 0.95):
        assert near((excess <= stats.gamma.ppf(share, llc)).astype(float), share)
    assert mcse_mean(excess) < 0.04 * llc


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_without_a_localiser_the_exact_energy_is_lambda_at_every_temperature(name):
    model, llc = HOMOGENEOUS[name]
    for t in (1e6, 1e8):
        assert model.energy(t, 1e-6) == pytest.approx(llc, rel=2e-4)
    # d E/d ln t = E − Var, so that Var = mean where E does not change
    slope = (model.energy(1.1e7, 1e-6) - model.energy(1e7 / 1.1, 1e-6)) / (2 * math.log(1.1))
    assert slope == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("n", "mean", "variance"), [(1e4, 0.38831, 0.37584), (1e6, 0.42397, 0.41819)])
def test_a_product_of_squares_on_a_box(n, mean, variance):
    t = n / math.log(n)

    # With s = x²y² on the box of density −ln(s)/(4√s): moments of te^{−ts}.
    def moment(power):
        def integrand(u):  # u = ln s
            s = math.exp(u)
            return -u * math.exp(u / 2) * (t * s) ** power * math.exp(-t * s)

        return integrate.quad(integrand, -80, 0, points=[-math.log(t), -math.log(t) + 2], limit=400)[0]

    first, second = moment(1) / moment(0), moment(2) / moment(0)
    assert first == pytest.approx(mean, abs=1e-5)
    assert second - first**2 == pytest.approx(variance, abs=1e-5)
    closed = 0.5 - 1 / (math.log(t) - special.psi(0.5))
    assert closed == pytest.approx(mean, abs=1e-5)
    assert -special.psi(0.5) == pytest.approx(1.96351, abs=1e-5)


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 0.4252916), (100.0, 0.2779219)])
def test_a_product_of_squares_under_a_gaussian(gamma, expected):
    t = 72380.0
    z = gamma**2 / (8 * t)
    closed = 0.5 + z * (1 - special.kve(1, z) / special.kve(0, z))
    assert closed == pytest.approx(expected, abs=1e-6)
    assert monomial_energy((1, 1), t, gamma) == pytest.approx(closed, abs=2e-6)
    if gamma == 100.0:
        assert near(run(Monomial([1, 1]), t, gamma).excess, expected)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 50.0])
def test_a_quadratic_with_its_localiser(gamma):
    h, t = torch.tensor([2.0, 1.0, 0.1]), 100.0
    exact = sum(0.5 * t * x / (t * x + gamma) for x in (2.0, 1.0, 0.1))
    assert quadratic_energy(h, t, gamma) == pytest.approx(exact, rel=1e-6)
    excess = run(lk.toys.Quadratic(h.double()), t, gamma, hmc(max_leapfrogs=10), draws=150).excess
    assert near(excess, exact)
    assert near((excess - exact) ** 2, sum(0.5 * (t * x / (t * x + gamma)) ** 2 for x in (2.0, 1.0, 0.1)))


class NoisyBowl(nn.Module):
    """½ h |w|² + z·w with z of mean zero over samples: gradient noise of one and the same size everywhere."""

    def __init__(self, h, dim):
        super().__init__()
        self.h, self.w = h, nn.Parameter(torch.zeros(dim, dtype=torch.float64))

    def forward(self, z):
        return 0.5 * self.h * self.w.square().sum() + z @ self.w


@pytest.mark.parametrize("stiffness", [0.3, 1.5])
def test_unadjusted_langevin_on_a_quadratic(stiffness):
    t, gamma = 50.0, 5.0
    k = [t * x + gamma for x in (2.0, 1.0)]
    size = stiffness / max(k)
    exact = sum(0.5 * (t * x / q) / (1 - size * q / 4) for x, q in zip((2.0, 1.0), k, strict=True))
    model = lk.toys.Quadratic(torch.tensor([2.0, 1.0], dtype=torch.float64))
    excess = run(model, t, gamma, sgld(step_size=size), rows=64, draws=800).excess
    assert near(excess, exact)
    assert exact - sum(0.5 * t * x / q for x, q in zip((2.0, 1.0), k, strict=True)) > 4 * mcse_mean(excess)


def test_paired_minibatches_have_no_noise_where_the_noise_is_additive():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(64, 2, generator=generator, dtype=torch.float64)
    z -= z.mean(0)
    model = NoisyBowl(2.0, 2)
    task = Task(model, z, lambda m, batch: m(batch))
    posterior = LocalPosterior(task.checkpoint(), n_beta=50.0, localization=5.0, rows=32)
    trace = sample(posterior, sgld(step_size=0.002), num_burnin=200, stopping=FixedDraws(1000, 10**6), batch_size=1)
    k = 105.0
    assert near(trace.excess, 2 * 0.5 * (100 / k) / (1 - 0.002 * k / 4))
    assert z.var(0).min() * 50.0**2 * 0.002 / 4 > 0.5, "unpaired it would be half as much again"


@pytest.mark.parametrize(("n", "h", "m"), [(2, 2, 2), (3, 2, 4), (2, 3, 1), (1, 4, 2)])
@pytest.mark.parametrize(("t", "gamma"), [(5.0, 1.0), (100.0, 3.0)])
def test_a_matrix_product_is_the_mean_of_a_determinant(n, h, m, t, gamma):
    """E = −t ∂_t ln Z with Z = E_A det(I + (2t/γ) A Aᵀ)^(−M/2), A (H × N) of variance 1/γ: over draws of A."""
    a = np.random.default_rng(0).standard_normal((200_000, h, n)) / math.sqrt(gamma)
    x = np.linalg.svd(a, compute_uv=False) ** 2 * 2 * t / gamma
    weight = np.exp(-m / 2 * np.log1p(x).sum(1))
    value = m / 2 * (x / (1 + x)).sum(1)
    mean = (weight * value).sum() / weight.sum()
    error = np.sqrt(np.square(weight * (value - mean)).sum()) / weight.sum()
    assert error < 0.02 * mean
    assert matrix_product_energy((n, h, m), t, gamma) == pytest.approx(mean, abs=4 * error)
