"""Chains in pairs on minibatches: the heat of their noise is measured, and the variance is that of the excess alone."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, baoab, mcse_mean, sample
from tests.cases import near, squared_error

N, DIM, N_BETA, GAMMA = 4000, 10, 200.0, 5.0


@pytest.fixture(scope="module")
def regression():
    """Linear regression with label noise at the least-squares solution, in float64, and its exact excess."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    targets = inputs @ torch.ones(DIM, 1, dtype=torch.float64)
    targets += 0.5 * torch.randn(N, 1, generator=generator, dtype=torch.float64)
    model = nn.Linear(DIM, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(inputs, targets).solution.T)
    k = N_BETA * torch.linalg.eigvalsh(2 * inputs.T @ inputs / N)
    share = k / (k + GAMMA)
    return lk.Task(model, (inputs, targets), squared_error), float(share.sum() / 2), float(share.square().sum() / 2)


def run(task, batch_size, *, control=True, rows=8, draws=2000, sampler=None, seed=0):
    posterior = LocalPosterior(task.checkpoint(), n_beta=N_BETA, localization=GAMMA, rows=rows)
    stopping = FixedDraws(draws, 10**6)
    sampler = sampler or baoab()
    return sample(
        posterior, sampler, seed=seed, num_burnin=200, stopping=stopping, batch_size=batch_size, control=control
    )


@pytest.mark.slow
def test_on_all_samples_there_is_neither_noise_nor_heat(regression):
    task, llc, variance = regression
    trace = run(task, None)
    assert not trace.noise.any()
    assert not trace.heat.any()
    assert near(trace.excess, llc)
    assert near((trace.excess - llc) ** 2, variance)


@pytest.mark.slow
@pytest.mark.parametrize(("batch_size", "control"), [(256, True), (2048, False)])
def test_the_heat_that_pairs_show_is_what_the_noise_adds(regression, batch_size, control):
    task, llc, _ = regression
    trace = run(task, batch_size, control=control)
    heat = trace.heat.mean()
    assert heat > 5 * mcse_mean(trace.heat) > 0
    assert near(trace.excess - trace.heat, llc), "to first order"
    assert mcse_mean(trace.excess - trace.heat) < 0.03 * llc
    assert trace.excess.mean() - llc == pytest.approx(heat, abs=4 * mcse_mean(trace.excess) + 0.1 * heat)


@pytest.mark.slow
def test_the_noise_of_the_minibatches_themselves_is_no_part_of_the_variance(regression):
    task, llc, variance = regression
    trace = run(task, 1024, control=False)
    raw, noise2 = trace.excess.var(ddof=1), np.square(trace.noise)
    assert noise2.mean() > 0.2 * variance, "there is something to take off"
    assert raw - noise2.mean() == pytest.approx(variance, abs=5 * mcse_mean((trace.excess - llc) ** 2) + 0.1 * variance)


def test_without_a_control_variate_no_pass_over_all_samples_is_made(regression, monkeypatch):
    task, *_ = regression
    seen, gather = [], type(task.samples).gather
    monkeypatch.setattr(type(task.samples), "gather", lambda self, i: seen.append(i.numel()) or gather(self, i))
    checkpoint = task.checkpoint()
    monkeypatch.setattr(type(checkpoint), "loss", property(lambda self: pytest.fail("L(w*) of all samples")))
    posterior = LocalPosterior(checkpoint, n_beta=N_BETA, localization=GAMMA, rows=2)
    trace = sample(
        posterior, baoab(step_size=0.01), num_burnin=0, stopping=FixedDraws(5, 100), batch_size=8, control=False
    )
    assert max(seen) <= 2 * 4
    assert np.isfinite(trace.excess).all()


@pytest.mark.slow
def test_gradients_are_counted_for_both_chains_of_a_pair(regression):
    task, *_ = regression
    counts = [
        run(task, 8, control=control, draws=10, rows=2).grad_evals - 200 * each
        for control, each in ((False, 2), (True, 3))
    ]
    assert counts == [2 * 10, 3 * 10]


@pytest.mark.slow
def test_friction_is_that_of_directions_that_only_the_localization_holds(quadratic):
    posterior = quadratic([100.0, 0.0], n_beta=1.0, localization=4.0, rows=64)
    trace = sample(posterior, baoab(), num_burnin=300, stopping=FixedDraws(1500, 10_000))
    assert near(trace.distance2, 1 / 104 + 1 / 4)
    found = trace.distance2 - trace.distance2.mean()
    lag = math.ceil(3 / (2 * trace.step_size))  # three times the time that critical damping takes
    correlation = (found[:-lag] * found[lag:]).mean() / found.var()
    assert abs(correlation) < 0.1
