import math

import pytest
import torch

from llckit.errors import InputError
from llckit.sampling import Noise, hmc, sample, sgld

H = torch.tensor([10.0, 1.0, 0.0], dtype=torch.float64)
SAMPLERS = {"hmc": hmc, "sgld": sgld}
FIXED = {"hmc": lambda: hmc(step_size=0.2), "sgld": lambda: sgld(step_size=0.02)}
ARRAYS = ("excess", "distance2", "virial", "acceptance")


@pytest.fixture
def posterior(quadratic):
    return lambda rows=3: quadratic(H, n_beta=2.0, localization=0.5, rows=rows)


@pytest.mark.parametrize("name", SAMPLERS)
def test_shapes_of_state_and_info(posterior, name):
    target, sampler = posterior(), SAMPLERS[name]()
    noise = Noise(0, 3, target.point.weights)
    state = sampler.init(target.point.weights.repeat(3, 1), target, lambda: 20.5)
    assert sampler.name == name
    for _ in range(3):
        previous = state.weights.clone()
        state, info = sampler.step(state, target, noise)
        assert state.weights.shape == info.weights.shape == info.energy.grad.shape == (3, 3)
        assert state.weights.dtype == torch.float64
        for value in (info.energy.excess, info.energy.potential, info.energy.distance2, info.acceptance):
            assert value.shape == (3,)
            assert value.dtype == torch.float64
        assert ((info.acceptance >= 0) & (info.acceptance <= 1)).all()
        assert isinstance(info.grad_evals, int)
        assert info.grad_evals >= 1
        assert info.step_size > 0
        # the info's energy belongs to the info's weights, and the draw is where the step began or ended
        again = target(info.weights)
        torch.testing.assert_close(again.excess, info.energy.excess, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(again.grad, info.energy.grad, rtol=1e-12, atol=1e-14)
        assert torch.equal(info.weights, state.weights) or torch.equal(info.weights, previous)
        state = sampler.adapt(state, info)
    assert sampler.freeze(state).weights.shape == (3, 3)


@pytest.mark.parametrize(("name", "batch_size"), [("hmc", None), ("sgld", None), ("sgld", 4)])
def test_a_row_is_the_same_in_any_number_of_rows(potential, name, batch_size):
    few, many = (
        sample(
            potential(lambda w: w.pow(4).sum(), torch.ones(3), rows=rows, spread=0.3, n_beta=5.0, localization=1.0),
            FIXED[name](),
            num_draws=20,
            num_burnin=5,
            max_grad_evals=10_000,
            batch_size=batch_size,
        )
        for rows in (2, 5)
    )
    for array in ARRAYS:
        assert getattr(few, array) == pytest.approx(getattr(many, array)[:, :2], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_trace_and_another_seed_another(posterior, name):
    traces = [
        sample(posterior(), SAMPLERS[name](), seed=seed, num_draws=20, num_burnin=10, max_grad_evals=10_000)
        for seed in (1, 1, 2)
    ]
    for array in ("excess", "distance2", "virial"):
        a, b, c = (getattr(trace, array) for trace in traces)
        assert (a == b).all()
        assert (a != c).any()
    assert (traces[0].excess[:, 0] != traces[0].excess[:, 1]).any(), "chains must differ"


@pytest.mark.parametrize("name", SAMPLERS)
def test_adapt_is_called_in_the_warm_up_only_and_freeze_once(posterior, name):
    sampler, calls = SAMPLERS[name](), []
    spied = sampler._replace(
        step=lambda *args: calls.append("step") or sampler.step(*args),
        adapt=lambda *args: calls.append("adapt") or sampler.adapt(*args),
        freeze=lambda *args: calls.append("freeze") or sampler.freeze(*args),
    )
    sample(posterior(), spied, num_draws=5, num_burnin=4, max_grad_evals=10_000)
    assert calls == ["step", "adapt"] * 4 + ["freeze"] + ["step"] * 5


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_step_is_not_adapted(posterior, name):
    sampler = FIXED[name]()
    trace = sample(posterior(), sampler, num_draws=10, num_burnin=50, max_grad_evals=10_000)
    assert trace.step_size == sampler.settings["step_size"]


def test_first_steps_come_from_the_curvature(posterior):
    # largest curvature of U: 2 · 10 + ½
    assert sample(posterior(), sgld(), num_draws=4, max_grad_evals=9_000).step_size == pytest.approx(0.2 / 20.5)
    trace = sample(posterior(), hmc(), num_draws=4, num_burnin=0, max_grad_evals=9_000)
    assert trace.step_size == pytest.approx(1 / math.sqrt(20.5))


def test_trajectories_have_every_length_up_to_the_longest(posterior):
    target, sampler = posterior(2), hmc(step_size=0.1, max_leapfrogs=5)
    noise = Noise(0, 2, target.point.weights)
    state, lengths = sampler.init(target.point.weights.repeat(2, 1), target, lambda: 1.0), set()
    for _ in range(100):
        state, info = sampler.step(state, target, noise)
        lengths.add(info.grad_evals)
    assert lengths == {1, 2, 3, 4, 5}


def test_a_rejected_chain_stays_with_its_energy(quadratic):
    target, sampler = quadratic([1e6, 1e6], rows=6, localization=1.0), hmc(step_size=0.05, max_leapfrogs=1)
    noise = Noise(0, 6, target.point.weights)
    before = sampler.init(target.point.weights.repeat(6, 1), target, lambda: 1.0)
    after, info = sampler.step(before, target, noise)
    assert (info.acceptance < 1e-6).all()
    assert torch.equal(after.weights, before.weights)
    assert torch.equal(info.energy.excess, before.energy.excess)


def test_a_proposal_that_is_not_finite_is_rejected(potential):
    # log(1 − w²) is NaN outside of the unit cube
    target = potential(lambda w: -(1 - w.square()).log().sum(), torch.zeros(2), n_beta=2.0, localization=0.1)
    trace = sample(target, hmc(step_size=1.5), num_draws=200, num_burnin=0, max_grad_evals=10_000)
    assert not trace.diverged
    assert (trace.distance2 < 2).all()
    assert (trace.acceptance == 0).any()
    assert (trace.acceptance > 0).any()


def test_an_unstable_sgld_step_diverges(quadratic):
    trace = sample(quadratic([10.0]), sgld(step_size=0.5), num_draws=2_000, num_burnin=0, max_grad_evals=20_000)
    assert trace.diverged
    assert len(trace.excess) < 2_000
    assert not torch.isfinite(torch.as_tensor(trace.excess[-1])).all()
    stable = sample(quadratic([10.0]), sgld(step_size=0.39), num_draws=1_000, num_burnin=0, max_grad_evals=20_000)
    assert not stable.diverged
    assert stable.distance2.max() < 100 * 0.1 / (1 - 3.9 / 4)


@pytest.mark.parametrize("make", [hmc, sgld])
@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "0.1"])
def test_a_wrong_step_size_is_refused(make, bad):
    with pytest.raises(InputError, match=r"step_size is .*expected a positive number"):
        make(step_size=bad)


@pytest.mark.parametrize("bad", [0, -3, 2.5, None])
def test_a_wrong_length_is_refused(bad):
    with pytest.raises(InputError, match=r"max_leapfrogs is .*expected an integer"):
        hmc(max_leapfrogs=bad)
