import math
import sys

import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.sampling import (
    FixedDraws,
    Start,
    UntilError,
    hmc,
    mcse_mean,
    sample,
    sgld,
    stopping,
)
from llckit.sampling.diagnostics import settled, spread

sampling_loop = sys.modules["llckit.sampling.sample"]  # the package has the function of that name


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [hmc(), sgld(step_size=0.01)], ids=["hmc", "sgld"])
@pytest.mark.parametrize("num_draws", [4, 17, 60])
def test_the_number_of_draws_is_exact(quadratic, sampler, num_draws):
    trace = sample(
        quadratic([1.0, 2.0], rows=3, localization=1.0),
        sampler,
        num_burnin=7,
        stopping=FixedDraws(num_draws, 9_000),
    )
    for name in ("excess", "distance2", "virial", "acceptance"):
        assert getattr(trace, name).shape == (num_draws, 3)
        assert getattr(trace, name).dtype == np.float64
    assert trace.num_burnin == 7
    assert trace.rel_tol is None
    assert not trace.diverged


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 50, 400, 3000])
@pytest.mark.parametrize(("rule", "goal"), [(UntilError, 1e-6), (FixedDraws, 10**6)])
def test_the_budget_of_gradients_ends_sampling(quadratic, rule, goal, budget):
    trace = sample(quadratic([1.0, 2.0], localization=1.0), hmc(), stopping=rule(goal, budget))
    # the last trajectory may cross the line, and an error needs four draws
    assert budget <= trace.grad_evals < budget + 5 * 20
    assert len(trace.excess) >= 4
    if budget >= 400:
        assert 10 * len(trace.excess) >= budget / 2 - 10, "warm-up takes half of the budget at most"
        assert trace.grad_evals < budget + 20


def test_gradients_are_counted(quadratic):
    trace = sample(quadratic([1.0]), sgld(step_size=0.1), num_burnin=12, stopping=FixedDraws(30, 9_000))
    assert trace.grad_evals == 42
    trace = sample(quadratic([1.0]), hmc(max_leapfrogs=1), num_burnin=12, stopping=FixedDraws(30, 9_000))
    assert trace.grad_evals == 42


@pytest.mark.slow
@pytest.mark.parametrize("rel_tol", [0.1, 0.02])
def test_draws_are_added_until_the_error_is_small_enough(quadratic, rel_tol):
    posterior = quadratic([1.0, 3.0, 10.0, 0.0, 0.0], n_beta=10.0, localization=1.0)
    trace = sample(posterior, hmc(), stopping=UntilError(rel_tol, 100_000))
    error = mcse_mean(trace.excess)
    assert error <= rel_tol * trace.excess.mean()
    assert trace.rel_tol == rel_tol
    assert trace.grad_evals < 100_000
    if rel_tol == 0.02:
        assert error > 0.3 * rel_tol * trace.excess.mean(), "far more draws than were asked for"


@pytest.mark.slow
def test_draws_go_on_until_their_error_is_small_where_a_guide_leads(quadratic):
    posterior, guide = (quadratic(curvatures, localization=1.0, rows=8) for curvatures in ([3.0, 1.0], [2.0, 1.5]))
    sampler = hmc(guide=lambda draw: guide)._replace(min_draws=50)
    trace = sample(posterior, sampler, stopping=UntilError(0.03, 100_000))
    assert len(trace.excess) > 100, "several looks"
    assert mcse_mean(trace.excess) <= 0.03 * trace.excess.mean()
    assert trace.virial.mean() == pytest.approx(2, abs=4 * mcse_mean(trace.virial))


@pytest.mark.slow
def test_a_tolerance_is_relative_to_half_a_parameter_at_least(quadratic):
    trace = sample(quadratic([1e-4], localization=1.0), hmc(), stopping=UntilError(0.05, 100_000))
    assert trace.excess.mean() < 1e-3
    assert len(trace.excess) == hmc().min_draws


@pytest.mark.slow
def test_chains_that_have_not_mixed_are_warmed_up_again(quadratic, monkeypatch):
    monkeypatch.setattr(stopping, "JUDGED", 10)
    verdicts = iter([False, False, True])
    monkeypatch.setattr(stopping, "settled", lambda *trace: next(verdicts))
    calls = []
    sampler = hmc()
    spied = sampler._replace(
        adapt=lambda *args: calls.append("adapt") or sampler.adapt(*args),
        freeze=lambda *args: calls.append("freeze") or sampler.freeze(*args),
        min_draws=10,
    )
    trace = sample(quadratic([1.0], localization=1.0), spied, num_burnin=6, stopping=UntilError(0.5, 100_000))
    # 6 and 10 draws; twice as long, 20 and 10; again, 40 and 10
    assert [len(run) for run in "".join(c[0] for c in calls).split("f")] == [6, 20, 40, 0]
    assert len(trace.excess) == 10
    assert trace.num_burnin == 6 + 10 + 20 + 10 + 40


def test_the_first_half_is_left_out_where_there_is_no_budget_for_another_warm_up(quadratic, monkeypatch):
    monkeypatch.setattr(stopping, "JUDGED", 10)
    monkeypatch.setattr(stopping, "settled", lambda *trace: False)
    sampler = hmc(max_leapfrogs=1)._replace(min_draws=10)
    posterior = quadratic([1.0])
    trace = sample(posterior, sampler, num_burnin=5, stopping=UntilError(0.01, 20))
    whole = sample(posterior, sampler, num_burnin=5, stopping=FixedDraws(15, 20))
    assert trace.grad_evals == whole.grad_evals == 20
    assert trace.num_burnin == 5 + 5
    assert (trace.excess == whole.excess[5:]).all()


@pytest.mark.slow
def test_a_loss_that_never_changes_ends_with_the_budget(potential):
    flat = potential(lambda w: 1 + 0 * w.sum(), torch.ones(2), localization=1.0)
    trace = sample(flat, hmc(), stopping=UntilError(0.01, 4_000))
    assert (trace.excess == 0).all()
    assert trace.grad_evals >= 4_000
    assert not trace.diverged


def test_hmc_takes_no_minibatches(quadratic):
    with pytest.raises(InputError, match=r"batch_size is 2; expected None, since hmc compares energies.*baoab"):
        sample(quadratic([1.0]), hmc(), stopping=FixedDraws(4, 100), batch_size=2)


@pytest.mark.slow
def test_sampling_leaves_the_posterior_and_global_randomness_alone(quadratic):
    posterior = quadratic([1.0, 2.0], localization=1.0)
    state, center = torch.get_rng_state(), posterior.checkpoint.weights.clone()
    first = sample(posterior, hmc(), stopping=FixedDraws(10, 9_000))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(posterior.checkpoint.weights, center)
    torch.manual_seed(99)
    assert (sample(posterior, hmc(), stopping=FixedDraws(10, 9_000)).excess == first.excess).all()


@pytest.mark.slow
def test_chains_may_have_their_own_scales(quadratic):
    n_beta = torch.tensor([10.0] * 8 + [1000.0] * 8, dtype=torch.float64)
    posterior = quadratic([1.0, 0.3], n_beta=n_beta, localization=5.0, rows=16)
    excess = sample(posterior, hmc(), stopping=FixedDraws(800, 100_000)).excess
    for t, draws in ((10.0, excess[:, :8]), (1000.0, excess[:, 8:])):
        expected = 0.5 * (t / (t + 5) + 0.3 * t / (0.3 * t + 5))
        assert draws.mean() == pytest.approx(expected, abs=4 * mcse_mean(draws))


@pytest.mark.slow
def test_flat_directions_that_chains_have_not_crossed_prolong_the_warm_up(quadratic):
    posterior = quadratic([10.0] + 9 * [0.0], n_beta=10.0, localization=0.1, rows=16)
    sampler = hmc(max_leapfrogs=5)
    trace = sample(posterior, sampler, num_burnin=20, stopping=UntilError(0.1, 30_000))
    early = sample(posterior, sampler, num_burnin=20, stopping=FixedDraws(sampler.min_draws, 30_000))
    assert not settled(early.excess, early.virial, 10)
    assert trace.num_burnin > 20, "else nothing was found to be missing"
    assert trace.grad_evals < 30_000
    assert spread(trace.virial, 10) > 0.95
    assert trace.distance2.mean() == pytest.approx(90, rel=0.5)


@pytest.mark.slow
def test_a_start_found_elsewhere_is_adapted_further_and_saves_warm_up(quadratic):
    posterior = quadratic([1.0, 3.0, 10.0], localization=0.5, rows=64)
    cold = sample(posterior, hmc(), stopping=UntilError(0.05, 100_000))
    found = Start(cold.step_size, cold.turning_length)
    warm = sample(posterior, hmc(start=found), stopping=UntilError(0.05, 100_000))
    assert (cold.num_burnin, len(cold.excess)) == (150, 40)
    assert (warm.num_burnin, len(warm.excess)) == (20, 40)
    assert warm.grad_evals < 0.6 * cold.grad_evals
    for name in ("excess", "distance2", "virial"):
        a, b = getattr(cold, name), getattr(warm, name)
        assert abs(a.mean() - b.mean()) < 4 * math.hypot(mcse_mean(a), mcse_mean(b))
    far = Start(3 * found.step_size, found.turning_length)
    again = sample(posterior, hmc(start=far), stopping=UntilError(0.05, 100_000))
    assert again.step_size < 0.6 * far.step_size


@pytest.mark.slow
def test_chains_are_not_called_unmixed_by_a_few_draws(quadratic, monkeypatch):
    looks = []

    def never_before_150(excess, virial, dim):
        looks.append(len(excess))
        return len(excess) >= stopping.JUDGED

    monkeypatch.setattr(stopping, "settled", never_before_150)
    posterior = quadratic([1.0, 2.0], localization=1.0, rows=32)
    trace = sample(posterior, hmc(start=Start(0.5, 6.0)), stopping=UntilError(0.1, 100_000))
    assert looks[0] == 40
    assert len(trace.excess) == looks[-1] >= 150
    assert trace.num_burnin == 20


@pytest.mark.slow
def test_chains_may_begin_where_others_ended(quadratic):
    """At a tenth of nβ they are √10 times too far apart along stiff directions, and right along the flat one."""
    coarse, fine = (quadratic([1.0, 3.0, 0.0], n_beta=t, localization=1e-4, rows=64) for t in (10.0, 100.0))
    before = sample(coarse, hmc(), stopping=FixedDraws(60, 100_000))
    assert before.last.shape == (64, 3)
    start = Start(before.step_size / math.sqrt(10), before.turning_length)
    at_once = sample(fine, hmc(start=start._replace(weights=before.last)), stopping=FixedDraws(60, 100_000))
    again = sample(fine, hmc(start=start), stopping=FixedDraws(60, 100_000))
    assert at_once.num_burnin == again.num_burnin == 20
    assert at_once.grad_evals < again.grad_evals, "only some trajectories are long"
    assert at_once.excess.mean() == pytest.approx(1.0, abs=4 * mcse_mean(at_once.excess))
    assert at_once.virial.mean() == pytest.approx(3.0, abs=4 * mcse_mean(at_once.virial))
    given = hmc(step_size=1e-9, max_leapfrogs=1, start=start._replace(weights=before.last))
    still = sample(fine, given, num_burnin=0, stopping=FixedDraws(4, 100))
    torch.testing.assert_close(still.last, before.last)


def test_weights_of_large_models_are_not_kept(quadratic, monkeypatch):
    posterior = quadratic([1.0, 3.0], rows=4)
    size = 4 * posterior.checkpoint.weights.nbytes
    for limit, kept in ((size, True), (size - 1, False)):
        monkeypatch.setattr(sampling_loop, "KEPT_BYTES", limit)
        assert (sample(posterior, hmc(), stopping=FixedDraws(4, 100)).last is not None) == kept


@pytest.mark.parametrize("start", [Start(0.0, 9.0), Start(math.nan, 9.0)])
def test_a_start_without_a_step_size_is_refused(start):
    with pytest.raises(InputError, match="step_size"):
        hmc(start=start)
