"""Energies that are exact at finite t = nβ: what the package samples against the formulas."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

import llckit as lk
from llckit.posterior import LocalPosterior, Task
from llckit.sampling import FixedDraws, hmc, mcse_mean, sample, sgld
from llckit.toys import DisjointSum, Monomial, NormProduct, monomial_energy, potential_loss, quadratic_energy
from tests.cases import near


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


@pytest.mark.slow
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
def test_without_a_localization_the_exact_energy_is_lambda_at_every_temperature(name):
    model, llc = HOMOGENEOUS[name]
    for t in (1e6, 1e8):
        assert model.energy(t, 1e-6) == pytest.approx(llc, rel=2e-4)
    # d E/d ln t = E − Var, so that Var = mean where E does not change
    slope = (model.energy(1.1e7, 1e-6) - model.energy(1e7 / 1.1, 1e-6)) / (2 * math.log(1.1))
    assert slope == pytest.approx(0, abs=1e-4)


@pytest.mark.slow
def test_a_product_of_squares_under_a_gaussian():
    t, gamma = 72380.0, 100.0
    assert near(run(Monomial([1, 1]), t, gamma).excess, monomial_energy((1, 1), t, gamma))


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.0, 1.0, 50.0])
def test_a_quadratic_with_its_localization(gamma):
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


@pytest.mark.slow
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


@pytest.mark.slow
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
