"""Thermodynamics: laws in closed form, errors under autocorrelation, peaks of two basins, sampled chains."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid
from scipy.signal import lfilter
from scipy.stats import norm
from torch import nn

import llckit as lk
from llckit.criticality import thermodynamics, thermodynamics_from_moments, two_basins
from llckit.errors import InputError

LADDER = np.geomspace(10, 1000, 5)
QUICK = {"localization": 1.0, "sampler": lk.hmc(max_leapfrogs=8), "progress": False}


def gamma_draws(llc, draws=400, chains=8, seed=0, scales=5):
    return list(np.random.default_rng(seed).gamma(llc, size=(scales, draws, chains)))


class Wells:
    """A narrow parabola at -2 with its bottom at 0, and a quartic well at 2 with its bottom at `depth`."""

    curvature = 1e4
    depth = 0.05
    grid = np.concatenate([-2 + 0.3 * np.sinh(np.linspace(-8, 8, 4001)) / np.sinh(8), np.linspace(-1.69, 5, 8001)])

    def loss(self, w):
        return np.where(w < -1.7, self.curvature * (w + 2) ** 2 / 2, self.depth + (w - 2) ** 4)

    def draws(self, n_beta, count, rng):
        """Exact and independent, by inverting the distribution function on a fine grid."""
        weight = np.exp(-n_beta * self.loss(self.grid))
        area = np.append(0, np.cumsum((weight[1:] + weight[:-1]) / 2 * np.diff(self.grid)))
        return n_beta * self.loss(np.interp(rng.uniform(0, area[-1], count), area, self.grid))

    def predicted(self, n_beta):
        quartic = 2 * math.gamma(1.25)
        return two_basins(n_beta, self.depth, 0.5, 0.25, math.log(quartic / math.sqrt(2 * math.pi / self.curvature)))


class Pit(nn.Module):
    """A parabolic pit in a plateau. Under the localization γ = 1 chains at the peak leave the pit, P(Γ(2) > nβ) = 1 %,
    and find it again, P(Γ(2) < 1/4) = 3 %."""

    curvature, depth, dim = 4.0, 1.0, 4

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(self.dim))

    def forward(self):
        return torch.clamp(self.curvature * self.w.square().sum() / 2, max=self.depth)

    def exact(self, n_beta):
        """Energy and heat capacity with the localization, from s = |w|²/2 ~ Γ(2)."""
        edge = self.depth / self.curvature
        s = np.concatenate([np.linspace(0, edge, 20001), np.linspace(edge, 40, 40001)[1:]])
        loss = np.minimum(self.curvature * s, self.depth)
        weight = s * np.exp(-n_beta * loss - s)
        z, first, second = (trapezoid(weight * (n_beta * loss) ** power, s) for power in range(3))
        return first / z, second / z - (first / z) ** 2

    def predicted(self, n_beta):
        return two_basins(n_beta, self.depth, self.dim / 2, 0.0, self.dim / 2 * math.log(self.curvature))


def peak_of(predicted):
    grid = np.geomspace(1, 1e5, 20001)
    return grid[predicted(grid).heat_capacity.argmax()]


def test_gamma_draws_have_equal_energy_and_heat_capacity():
    found = thermodynamics(LADDER, gamma_draws(3.0))
    for values, se in ((found.energy, found.energy_se), (found.heat_capacity, found.heat_capacity_se)):
        assert (np.abs(values - 3) < 4 * se).all()
    # Var of the mean is λ/n; of the variance (3λ² + 6λ - λ²)/n; a jackknife of 24 batches knows it to 15 %.
    assert found.energy_se == pytest.approx(np.full(5, math.sqrt(3 / 3200)), rel=0.6)
    assert found.heat_capacity_se == pytest.approx(np.full(5, math.sqrt(36 / 3200)), rel=0.7)
    assert found.peak is None
    assert found.effective_dimension == pytest.approx(2 * found.energy)
    assert found.effective_dimension_se == pytest.approx(2 * found.energy_se)
    assert json.loads(json.dumps(found.to_dict()))["energy"] == found.energy.tolist()


@pytest.mark.parametrize("chains", [1, 4, 40])
def test_errors_account_for_autocorrelation(chains):
    # The square of a first-order autoregression of lag-1 correlation 0.9 is chi-squared: energy λ = 1/2 of half of it.
    draws, rho, runs = 40_000 // chains, 0.9, 60
    rng = np.random.default_rng(1)
    kicks = math.sqrt(1 - rho**2) * rng.standard_normal((draws, chains * runs))
    kicks[0] /= math.sqrt(1 - rho**2)
    z = lfilter([1], [1, -rho], kicks, axis=0)
    ladder = np.arange(1.0, runs + 1)
    found = thermodynamics(ladder, list((z**2 / 2).reshape(draws, runs, chains).transpose(1, 0, 2)))
    for values, se, truth in (
        (found.energy, found.energy_se, 0.5),
        (found.heat_capacity, found.heat_capacity_se, 0.5),
        (found.excess, found.excess_se, 0.0),
    ):
        pull = (values - truth) / se
        # 95 % of a t distribution of 20 degrees of freedom; 60 runs put the share within 3 sd of the binomial.
        assert np.mean(np.abs(pull) < 2.09) > 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)
        assert np.mean(np.abs(pull) < 0.69) < 0.5 + 3 * math.sqrt(0.25 / runs)
    naive = np.sqrt(0.5 / (draws * chains))
    assert np.median(found.energy_se / naive) > 2  # √((1 + ρ²)/(1 - ρ²)) = 3.1


def test_chains_that_disagree_have_large_errors():
    rng = np.random.default_rng(0)
    draws = rng.gamma(3.0, size=(400, 4)) + np.array([0.0, 0.0, 6.0, 6.0])
    together = thermodynamics([1.0], [draws])
    assert together.energy_se[0] > 0.9 * np.std([3, 3, 9, 9], ddof=1) / 2  # the spread of the chains' own means


@pytest.mark.slow
def test_false_peaks_are_rare():
    alarms = sum(thermodynamics(LADDER, gamma_draws(2.0, 200, 8, seed)).peak is not None for seed in range(200))
    assert alarms <= 11  # 99.5 % of binomial(200, 2.5 %)


@pytest.mark.slow
def test_two_separate_wells_peak_where_the_closed_form_says():
    wells = Wells()
    truth = peak_of(wells.predicted)
    ladder = np.geomspace(truth / 16, truth * 16, 9)
    predicted = wells.predicted(ladder)
    covered = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = thermodynamics(ladder, [wells.draws(t, (200, 8), rng) for t in ladder])
        # Draws are independent; the quartic well's walls and the grid are good to a percent.
        assert (np.abs(found.energy - predicted.energy) < 4.5 * found.energy_se + 0.01 * predicted.energy).all()
        close = 5 * found.heat_capacity_se + 0.02 * predicted.heat_capacity
        assert (np.abs(found.heat_capacity - predicted.heat_capacity) < close).all()
        assert found.peak is not None
        low, high = found.peak.n_beta_interval
        assert 0 < high / low < 6
        assert low < found.peak.n_beta < high
        covered += low <= truth <= high
        assert found.peak.excess > 3 * found.peak.excess_se
        assert found.peak.heat_capacity == pytest.approx(predicted.heat_capacity.max(), rel=0.3)
    assert covered >= 17  # P(fewer of 20 at 95 %) = 1.6 %
    equal = wells.predicted(ladder).equal_weights[-1]
    assert equal == pytest.approx(truth, rel=0.3)


def test_a_ladder_that_ends_at_the_peak_leaves_the_interval_open():
    wells = Wells()
    truth = peak_of(wells.predicted)
    rng = np.random.default_rng(0)
    for ladder, side in ((np.geomspace(truth / 50, truth, 4), 1), (np.geomspace(truth, 50 * truth, 4), 0)):
        peak = thermodynamics(ladder, [wells.draws(t, (400, 8), rng) for t in ladder]).peak
        assert peak.n_beta == pytest.approx(truth)
        assert peak.n_beta_interval[side] == (0.0, math.inf)[side]
        assert 0 < peak.n_beta_interval[1 - side] < math.inf
        plain = thermodynamics(ladder, [wells.draws(t, (400, 8), rng) for t in ladder]).to_dict()
        assert json.loads(json.dumps(plain))["peak"]["n_beta_interval"][side] is None


@pytest.mark.slow
def test_sampled_one_basin_has_heat_capacity_equal_to_the_llc():
    model = lk.toys.Quadratic(torch.tensor([1.0, 0.5, 2.0, 1.0, 3.0, 0.3]))
    ladder = np.array([300.0, 10_000.0])
    profile = lk.scale_profile(
        model,
        (torch.zeros(1000, 1),),
        lambda m, _: m(),
        n_beta=ladder,
        num_chains=24,
        num_draws=100,
        num_burnin=50,
        **QUICK,
    )
    found = thermodynamics(ladder, [estimate.trace.excess for estimate in profile.estimates])
    assert found.peak is None
    assert found.energy == pytest.approx([estimate.trace.excess.mean() for estimate in profile.estimates])
    assert (np.abs(found.excess) < 3.5 * found.excess_se).all()
    exact = [model.energy(t, 1.0) for t in ladder]
    assert (np.abs(found.energy - exact) < 3.5 * found.energy_se).all()
    assert (found.heat_capacity_se < 0.2 * found.energy).all()


@pytest.mark.slow
def test_sampled_two_basins_peak_at_the_predicted_scale():
    pit = Pit()
    ladder = np.array([3.0, 5.0, 6.5, 8.0, 9.5])
    profile = lk.scale_profile(
        pit,
        (torch.zeros(1000, 1),),
        lambda m, _: m(),
        n_beta=ladder,
        num_chains=64,
        num_draws=200,
        num_burnin=150,
        **QUICK,
    )
    found = thermodynamics(ladder, [estimate.trace.excess for estimate in profile.estimates])
    exact_energy, exact_heat = np.transpose([pit.exact(t) for t in ladder])
    assert (np.abs(found.energy - exact_energy) < 4 * found.energy_se).all()
    assert (np.abs(found.heat_capacity - exact_heat) < 4 * found.heat_capacity_se).all()
    truth = peak_of(pit.predicted)
    assert found.peak is not None
    assert found.peak.n_beta_interval[0] <= truth <= found.peak.n_beta_interval[1]
    assert found.peak.n_beta_interval[0] > 5
    assert found.peak.n_beta == pytest.approx(truth, rel=0.25)  # one rung
    assert found.peak.excess > 3 * found.peak.excess_se


def test_moments_give_the_same_as_draws_but_for_the_errors_of_the_excess():
    draws = gamma_draws(3.0)
    one = thermodynamics(LADDER, draws)
    other = thermodynamics_from_moments(
        LADDER, one.energy, one.energy_se, one.heat_capacity, one.heat_capacity_se, seed=1
    )
    assert other.excess == pytest.approx(one.excess)
    assert other.excess_se == pytest.approx(np.hypot(one.energy_se, one.heat_capacity_se))
    assert other.peak is None
    raised = thermodynamics_from_moments(LADDER, np.full(5, 3.0), np.full(5, 0.1), [3, 3.2, 9, 3.2, 3], np.full(5, 0.3))
    assert raised.peak.n_beta == pytest.approx(100)  # the neighbours are alike
    assert raised.peak.rungs == (pytest.approx(100),)
    assert raised.peak.excess == pytest.approx(6)


def test_the_threshold_is_the_stated_one():
    z = norm.isf(0.025 / 5)
    for factor, expected in ((0.99, False), (1.01, True)):
        variance = np.full(5, 3.0)
        variance[2] += factor * z * math.hypot(0.1, 0.3)
        found = thermodynamics_from_moments(LADDER, np.full(5, 3.0), np.full(5, 0.1), variance, np.full(5, 0.3))
        assert (found.peak is not None) is expected


def test_order_of_the_ladder_and_repetition_do_not_matter():
    rng = np.random.default_rng(0)
    wells = Wells()
    ladder = np.geomspace(20, 500, 5)
    draws = [wells.draws(t, (200, 8), rng) for t in ladder]
    one, other = thermodynamics(ladder, draws), thermodynamics(ladder[::-1], draws[::-1])
    assert one.peak == other.peak
    assert one.to_dict() == other.to_dict() == thermodynamics(ladder, np.array(draws)).to_dict()


BAD = {
    "no rung": ([], [], r"n_beta has shape \(0,\)"),
    "negative": ([-1.0], gamma_draws(1.0, scales=1), "expected positive numbers"),
    "twice": ([1.0, 1.0], gamma_draws(1.0, scales=2), "each number once"),
    "other number": ([1.0, 2.0], gamma_draws(1.0, scales=3), "excess has 3 entries; expected 2"),
    "flat": ([1.0], [np.ones(100)], r"shape \(100,\)"),
    "few draws": ([1.0], [np.random.default_rng(0).gamma(1.0, size=(24, 4))], "expected at least 25 of each"),
    "no chains": ([1.0], [np.ones((100, 0))], "0 chain"),
    "nan": ([1.0], [np.full((100, 4), np.nan)], "has the entry nan; expected finite numbers"),
    "constant": ([1.0], [np.ones((100, 4))], "is 1 throughout; expected chains that move"),
    "text": ([1.0], [np.full((100, 4), "a")], "expected numbers of shape"),
}


@pytest.mark.parametrize(("n_beta", "excess", "message"), BAD.values(), ids=BAD.keys())
def test_bad_draws_are_refused(n_beta, excess, message):
    with pytest.raises(InputError, match=message):
        thermodynamics(n_beta, excess)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [1.0]}, "mean has 1 entries; expected 2"),
        ({"mean_se": [0.1, 0.0]}, "mean_se has the entry 0"),
        ({"variance": [1.0, -1.0]}, "variance has the entry -1"),
        ({"variance_se": [1.0, np.nan]}, r"variance_se\[1\] is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_moments_are_refused(change, message):
    good = {"mean": [1.0, 1.0], "mean_se": [0.1, 0.1], "variance": [1.0, 1.0], "variance_se": [0.1, 0.1]}
    with pytest.raises(InputError, match=message):
        thermodynamics_from_moments([1.0, 2.0], **(good | change))
