import functools
import math

import pytest
import torch

from llckit.posterior import LocalPosterior
from llckit.sampling import FixedDraws, Start, hmc, mcse_mean, metric, sample
from llckit.sampling.metric import FIRST, LAST, Metric

H = torch.logspace(-1, 4, 12, dtype=torch.float64)  # nβ = 1
GAMMA = 0.1
WELL_SCALED = torch.logspace(-1, 1, 12, dtype=torch.float64)


@pytest.fixture
def posterior(quadratic):
    return lambda h=H, rows=32: quadratic(h, localization=GAMMA, rows=rows)


def collect(found, draws, grads):
    for step, (weights, grad) in enumerate(zip(draws, grads, strict=True), start=1):
        found = found.update(step, weights, grad)
    return found


def unused(found):
    return found.center is None and found.scale is None and found.scale_ratio == 1


def some_draws(dim, rows=8):
    return torch.randn(LAST, rows, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_scales_of_independent_normal_weights_are_their_deviations_whatever_the_draws():
    center = torch.linspace(-3, 3, 12, dtype=torch.float64)
    away = some_draws(12) * torch.linspace(0.5, 2, 12)  # not how the posterior's are spread
    found = collect(Metric.start(center), away + center, away * H)
    torch.testing.assert_close(found.scale, (H[-1] / H).sqrt(), rtol=1e-9, atol=0)
    assert found.scale_ratio == pytest.approx(math.sqrt(1e5), rel=1e-9)
    assert found.center is found.away2 is found.grad2 is None


def test_only_steps_nine_to_twenty_five_count():
    draws, grads = some_draws(2), some_draws(2) * torch.tensor([1.0, 1e4])
    found = collect(Metric.start(torch.zeros(2, dtype=torch.float64)), draws, grads)
    squares = [x[FIRST - 1 : LAST].square().sum((0, 1)) for x in (draws, grads)]
    scale = (squares[0] / squares[1]) ** 0.25
    torch.testing.assert_close(found.scale, scale / scale.min(), rtol=1e-9, atol=0)
    assert (FIRST, LAST) == (9, 25)
    assert found.update(LAST, draws[0], grads[0]) is found, "found once"


@pytest.mark.parametrize(("ratio", "used"), [(1.0, False), (31.9, False), (32.1, True)])
def test_scales_are_used_where_they_differ_by_more_than_a_factor_of_32(ratio, used):
    away = some_draws(2)
    found = collect(Metric.start(torch.zeros(2, dtype=torch.float64)), away, away * torch.tensor([1.0, ratio**2]))
    assert unused(found) != used
    assert found.scale_ratio == pytest.approx(ratio if used else 1.0)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_draws_that_tell_nothing_give_no_scales(bad):
    away = torch.full((LAST, 8, 2), bad, dtype=torch.float64)
    assert unused(collect(Metric.start(torch.zeros(2, dtype=torch.float64)), away, away))


def test_a_weight_without_gradient_has_a_finite_scale():
    away = some_draws(2)
    found = collect(Metric.start(torch.zeros(2, dtype=torch.float64)), away, away * torch.tensor([1.0, 0.0]))
    assert found.scale is not None
    assert found.scale.tolist() == pytest.approx([1.0, 1e5 * 2**0.25], rel=0.2)  # 10^-20 of the mean, half the other's


@pytest.mark.slow
def test_hmc_is_exact_on_very_different_scales(posterior):
    trace = sample(posterior(), hmc(), stopping=FixedDraws(200, 100_000))
    k = H + GAMMA
    expected = {
        "excess": float(0.5 * (H / k).sum()),
        "virial": float(len(H)),
        "distance2": float((1 / k).sum()),
    }
    for name, value in expected.items():
        draws = getattr(trace, name)
        assert float(draws.mean()) == pytest.approx(value, abs=4 * mcse_mean(draws))
    assert mcse_mean(trace.excess) < 0.015 * expected["excess"]
    assert mcse_mean(trace.distance2) < 0.05 * expected["distance2"], "the flattest directions are crossed too"
    spread = (trace.excess - expected["excess"]) ** 2
    assert float(spread.mean()) == pytest.approx(float(0.5 * (H / k).square().sum()), abs=4 * mcse_mean(spread))
    # in float64, draws and gradients tell the scales without error
    assert trace.scale_ratio == pytest.approx(math.sqrt(float(k[-1] / k[0])), rel=1e-6)
    # all directions have one frequency: chains from w* turn after a quarter of its period, others after about half, and
    # what is counted are whole leapfrogs
    phase = trace.step_size * math.sqrt(float(k[-1]))
    assert math.pi / 2 < trace.turning_length * phase < 1.2 * math.pi + phase


@pytest.mark.slow
def test_scales_save_gradients(posterior, monkeypatch):
    target = posterior(torch.tensor([2000.0, 2000.0, 0.9, 0.9], dtype=torch.float64), rows=16)
    run = functools.partial(sample, target, hmc(), stopping=FixedDraws(100, 100_000))

    def cost(trace):  # gradients, warm-up included, at which the error would be 1
        return trace.grad_evals * mcse_mean(trace.excess) ** 2

    on = run()
    monkeypatch.setattr(metric, "LEAST_RATIO", math.inf)
    off = run()
    assert on.scale_ratio > off.scale_ratio == 1
    assert 2 * cost(on) < cost(off)


@pytest.mark.slow
def test_where_scales_are_alike_nothing_changes(posterior, monkeypatch):
    run = functools.partial(sample, posterior(WELL_SCALED, rows=8), hmc(), stopping=FixedDraws(40, 100_000))
    trace = run()
    monkeypatch.setattr(Metric, "update", lambda self, *_: self)
    without = run()
    for name in ("excess", "distance2", "virial", "acceptance"):
        assert (getattr(trace, name) == getattr(without, name)).all()
    assert (trace.grad_evals, trace.step_size, trace.turning_length) == (
        without.grad_evals,
        without.step_size,
        without.turning_length,
    )
    assert trace.scale_ratio == without.scale_ratio == 1


@pytest.mark.slow
@pytest.mark.parametrize("given", [{"step_size": 0.01}, {"start": Start(0.01, 20.0)}, {"guide": True}], ids=str)
def test_a_fixed_step_a_start_and_a_guide_go_without(posterior, given):
    target: LocalPosterior = posterior(rows=4)
    sampler = hmc(**(given | {"guide": lambda draw: target} if "guide" in given else given))
    trace = sample(target, sampler, num_burnin=30, stopping=FixedDraws(4, 100_000))
    assert trace.scale_ratio == 1
