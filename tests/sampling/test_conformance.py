"""What every sampler has to do, whatever its law; the cases are the rows of the table in conftest.py."""

import numpy as np
import pytest
import torch

import llckit as lk
from llckit.errors import InputError
from llckit.sampling import SAMPLERS, FixedDraws, Noise, chain_group, is_made_from_settings, sample
from llckit.sampling.chain_group import OneByOne
from llckit.sampling.jumps import Jumps
from llckit.sampling.potentials import FullPotential, MinibatchPotential, PairedMinibatches
from llckit.sampling.sampler import Curvature

ARRAYS = ("excess", "distance2", "virial", "acceptance")


@pytest.fixture
def posterior(quadratic):
    """Of largest curvature 2 · 10 + ½ = 20.5."""
    return lambda rows=3, **settings: quadratic([10.0, 1.0, 0.0], n_beta=2.0, localization=0.5, rows=rows, **settings)


def fixed(row):
    return row.make(step_size=row.step_size)


def test_the_table_has_every_sampler(rows):
    assert sorted(row.name for row in rows) == sorted(SAMPLERS)
    assert all(getattr(lk, name) is make for name, make in SAMPLERS.items() if name in lk.__all__)


def test_what_a_sampler_says_of_itself(row):
    sampler = row.make()
    assert sampler.name == row.name
    assert sampler.accepts == row.accepts
    assert sampler.is_exact == row.is_exact
    assert FullPotential in sampler.accepts
    if sampler.is_exact:  # a Metropolis test needs the same potential twice
        assert MinibatchPotential not in sampler.accepts
    if OneByOne in sampler.accepts:  # nothing is pooled over chains
        assert not row.finds_step
        assert Jumps not in sampler.accepts
    if PairedMinibatches in sampler.accepts:
        assert MinibatchPotential in sampler.accepts
    assert is_made_from_settings(sampler)
    assert not is_made_from_settings(sampler._replace(num_burnin=7))
    assert not is_made_from_settings(sampler._replace(name="another"))


def test_settings_are_recorded_and_make_the_sampler_again(row):
    sampler = row.make(step_size=0.25)
    assert sampler.settings["step_size"] == 0.25
    assert row.make().settings["step_size"] is None
    assert SAMPLERS[row.name](**sampler.settings).settings == sampler.settings
    assert is_made_from_settings(sampler)


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "0.1", True])
def test_a_wrong_step_size_is_refused(row, bad):
    with pytest.raises(InputError, match=r"step_size is .*expected a positive number"):
        row.make(step_size=bad)


def test_other_wrong_settings_are_refused(row):
    for setting, values in row.wrong.items():
        for bad in values:
            with pytest.raises(InputError, match=rf"^{setting} is .*expected an? "):
                row.make(**{setting: bad})


def test_shapes_of_state_and_info(row, posterior):
    target, sampler = posterior(), row.make()
    noise = Noise(0, 3, target.checkpoint.weights)
    state = sampler.init(target.checkpoint.weights.repeat(3, 1), target, Curvature(lambda weights: 20.5))
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
        if Jumps in sampler.accepts:
            torch.testing.assert_close(target(state.weights).excess, state.energy.excess, rtol=1e-12, atol=1e-14)
        state = sampler.adapt(state, info)
    assert sampler.freeze(state).weights.shape == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 4])
def test_a_row_is_the_same_in_any_number_of_rows(row, batch_size, potential):
    def run(rows):
        target = potential(lambda w: w.pow(4).sum(), torch.ones(3), rows=rows, spread=0.3, n_beta=5.0, localization=1.0)
        return sample(target, fixed(row), num_burnin=5, stopping=FixedDraws(20, 10_000), batch_size=batch_size)

    if batch_size is not None and MinibatchPotential not in row.accepts:
        with pytest.raises(InputError, match=f"^batch_size is 4; expected None, since {row.name} "):
            run(2)
        return
    few, many = run(2), run(5)
    for array in ARRAYS:
        assert getattr(few, array) == pytest.approx(getattr(many, array)[:, :2], rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace_and_another_seed_another(row, posterior):
    traces = [
        sample(posterior(), row.make(), seed=seed, num_burnin=10, stopping=FixedDraws(20, 10_000)) for seed in (1, 1, 2)
    ]
    for array in ("excess", "distance2", "virial"):
        a, b, c = (getattr(trace, array) for trace in traces)
        assert (a == b).all()
        assert (a != c).any()
    assert (traces[0].excess[:, 0] != traces[0].excess[:, 1]).any(), "chains must differ"


def test_adapt_is_called_in_the_warm_up_only_and_freeze_once(row, posterior):
    sampler, calls = row.make(), []
    spied = sampler._replace(
        step=lambda *args: calls.append("step") or sampler.step(*args),
        adapt=lambda *args: calls.append("adapt") or sampler.adapt(*args),
        freeze=lambda *args: calls.append("freeze") or sampler.freeze(*args),
    )
    sample(posterior(), spied, num_burnin=4, stopping=FixedDraws(5, 10_000))
    assert calls == ["step", "adapt"] * 4 + ["freeze"] + ["step"] * 5


@pytest.mark.slow
def test_a_fixed_step_is_not_adapted(row, posterior):
    trace = sample(posterior(), fixed(row), num_burnin=50, stopping=FixedDraws(10, 10_000))
    assert trace.step_size == row.step_size


@pytest.mark.slow
def test_the_first_step_comes_from_the_curvature(row, posterior):
    trace = sample(posterior(), row.make(), num_burnin=0, stopping=FixedDraws(4, 9_000))
    assert trace.step_size == pytest.approx(row.first_step(20.5))
    adapted = sample(posterior(), row.make(), num_burnin=30, stopping=FixedDraws(4, 9_000)).step_size
    assert (adapted != trace.step_size) == row.finds_step


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 3])
def test_chains_of_a_large_model_may_be_moved_one_at_a_time(row, batch_size, quadratic, monkeypatch):
    """The numbers are those of chains that move together; each has its own nβ and γ."""
    if MinibatchPotential not in row.accepts:
        batch_size = None
    n_beta, localization = torch.tensor([1.0, 10.0, 3.0, 0.1]), torch.tensor([2.0, 1.0, 0.0, 9.0])
    posterior = quadratic([1.0, 0.3, 0.0], spread=0.1, rows=4, n_beta=n_beta, localization=localization)
    settings = {
        "num_burnin": 5,
        "stopping": FixedDraws(30, 9_000),
        "batch_size": batch_size,
        "observe": lambda weights: {"first": weights[:, 0].numpy().copy()},
    }
    together = sample(posterior, row.make(), **settings)
    monkeypatch.setattr(chain_group, "LARGE", 1)
    groups, make = [], chain_group.ChainGroup
    monkeypatch.setattr(chain_group, "ChainGroup", lambda *args: groups.append(args) or make(*args))
    apart = sample(posterior, row.make(), **settings)
    assert len(groups) == (4 if OneByOne in row.accepts else 1)
    for name in (*ARRAYS, "heat"):
        np.testing.assert_allclose(getattr(apart, name), getattr(together, name), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(apart.observed["first"], together.observed["first"], rtol=1e-12, atol=1e-13)
    assert (apart.grad_evals, apart.step_size) == (together.grad_evals, together.step_size)


def test_a_rejected_chain_stays_with_its_energy(rejecting_row, quadratic):
    target = quadratic([1e6, 1e6], rows=6, localization=1.0)
    sampler = rejecting_row.make(**rejecting_row.rejections.too_long)
    noise = Noise(0, 6, target.checkpoint.weights)
    before = sampler.init(target.checkpoint.weights.repeat(6, 1), target, Curvature(lambda weights: 1.0))
    after, info = sampler.step(before, target, noise)
    assert (info.acceptance < 1e-6).all()
    assert torch.equal(after.weights, before.weights)
    assert torch.equal(info.energy.excess, before.energy.excess)


@pytest.mark.slow
def test_a_proposal_that_is_not_finite_is_rejected(rejecting_row, potential):
    # log(1 − w²) is NaN outside of the unit cube
    target = potential(lambda w: -(1 - w.square()).log().sum(), torch.zeros(2), n_beta=2.0, localization=0.1)
    sampler = rejecting_row.make(**rejecting_row.rejections.not_finite)
    trace = sample(target, sampler, num_burnin=0, stopping=FixedDraws(200, 10_000))
    assert not trace.diverged
    assert (trace.distance2 < 2).all()
    assert (trace.acceptance == 0).any()
    assert (trace.acceptance > 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [None, 16])
def test_an_estimate(row, batch_size):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 3, generator=generator)
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        targets = model(inputs)

    def estimate():
        return lk.estimate_llc(
            model,
            (inputs, targets),
            lambda net, batch: (net(batch[0]) - batch[1]).square().mean(1),
            sampler=row.make(),
            batch_size=batch_size,
            num_chains=4,
            num_draws=200,
            num_burnin=row.burnin,
            n_beta=100.0,
            localization=1.0,
        )

    if batch_size is not None and MinibatchPotential not in row.accepts:
        with pytest.raises(InputError, match=f"batch_size is 16; expected None, since {row.name} "):
            estimate()
        return
    found = estimate()
    assert found.how_found.sampler == row.name
    # λ = 8/2, less what γ takes; minibatches and large steps warm
    raw = found.llc + found.how_found.heat
    assert raw == pytest.approx(3.9, rel=0.25 if batch_size is None else 0.5)
    assert found.how_found.heat == 0 or not found.outcome.trusted
