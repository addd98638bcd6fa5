"""The stopping rules, asked about draws that are made up."""

import math

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.sampling import FixedDraws, UntilError, mcse_mean
from llckit.sampling.diagnostics import EXPLORED
from llckit.sampling.stopping import GROWTH, JUDGED, SMALLEST, Done, GoOn, Progress, WarmUpAgain

DIM, CHAINS = 5, 16


def progress(draws=200, shift=0.0, apart=0.0, grad_evals=1000, left_out=100, burnin=100):
    """Independent draws of mean 2 + shift; chains that are apart have not mixed."""
    generator = np.random.default_rng(0)
    excess = generator.gamma(2.0, size=(draws, CHAINS)) + shift + apart * np.arange(CHAINS)
    virial = generator.gamma(DIM / 2, 2.0, size=(draws, CHAINS))
    return Progress(excess, virial, DIM, grad_evals, left_out, burnin)


def test_a_number_of_draws_is_looked_at_once():
    rule = FixedDraws(37, 1000)
    assert rule.first_look(150, 400) == 37
    assert rule.judge(progress(37)) == Done()
    assert (rule.max_grad_evals, rule.rel_tol) == (1000, None)


@pytest.mark.parametrize(("min_draws", "burnin", "look"), [(40, 150, 40), (40, 20, 40), (40, 800, 200)])
def test_the_first_look_comes_no_earlier_than_after_a_quarter_of_the_warm_up(min_draws, burnin, look):
    assert UntilError(0.01, 1000).first_look(min_draws, burnin) == look


def test_draws_are_done_when_their_error_is_as_small_as_asked():
    so_far = progress()
    error = mcse_mean(so_far.excess) / so_far.excess.mean()
    assert UntilError(1.01 * error, 100_000).judge(so_far) == Done()
    verdict = UntilError(0.99 * error, 100_000).judge(so_far)
    assert isinstance(verdict, GoOn)
    assert verdict.look == math.ceil(GROWTH[0] * 200), "a few more are enough, but a look costs"
    assert verdict.dropped == 0
    assert (verdict.mean, verdict.error) == (so_far.excess.mean(), mcse_mean(so_far.excess))
    verdict = UntilError(error / 10, 100_000).judge(so_far)
    assert isinstance(verdict, GoOn)
    assert verdict.look == GROWTH[1] * 200, "never more than twice as many"
    between = UntilError(error / 1.2, 100_000).judge(so_far)
    assert isinstance(between, GoOn)
    assert between.look == math.ceil(1.05 * 200 * 1.2**2)


def test_a_tolerance_is_relative_to_a_tenth_at_least():
    so_far = progress(shift=-2.0)
    error = mcse_mean(so_far.excess)
    assert abs(so_far.excess.mean()) < SMALLEST
    assert UntilError(1.01 * error / SMALLEST, 100_000).judge(so_far) == Done()
    assert isinstance(UntilError(0.99 * error / SMALLEST, 100_000).judge(so_far), GoOn)


def test_chains_that_have_not_mixed_are_never_done():
    assert UntilError(0.5, 100_000).judge(progress()) == Done()
    assert UntilError(0.5, 100_000).judge(progress(apart=1.0)) == WarmUpAgain()
    few = UntilError(0.5, 100_000).judge(progress(JUDGED - 1, apart=1.0))
    assert isinstance(few, GoOn), "R-hat of so few draws is no verdict"
    assert few.dropped == 0
    assert UntilError(0.5, 100_000).judge(progress(JUDGED, apart=1.0)) == WarmUpAgain()


def test_another_warm_up_may_take_half_of_the_budget():
    # 1000 gradients for 100 + 200 steps; twice the longer of 100 and 200 take 1333
    so_far = progress(apart=1.0)
    assert UntilError(0.5, 4667).judge(so_far) == WarmUpAgain()
    verdict = UntilError(0.5, 4666).judge(so_far)
    assert isinstance(verdict, GoOn)
    assert verdict.dropped == 100, "the first half is left out instead"
    assert 250 <= verdict.look <= 400
    longer = progress(apart=1.0, burnin=300)  # twice 300 steps take 2000
    assert UntilError(0.5, 6000).judge(longer) == WarmUpAgain()
    assert isinstance(UntilError(0.5, 5999).judge(longer), GoOn)


def test_few_draws_are_not_enough_however_small_their_error_seems():
    generator = np.random.default_rng(0)
    for draws, enough in ((8, False), (30, True)):  # of 2 chains: 16 and 60
        excess = 100 + generator.normal(size=(draws, 2))
        virial = DIM + generator.normal(size=(draws, 2))
        verdict = UntilError(0.05, 100_000).judge(Progress(excess, virial, DIM, 1000, 100, 100))
        assert (verdict == Done()) == enough


def test_chains_that_have_not_spread_are_done_once_they_have_explored():
    so_far = progress(left_out=EXPLORED)._replace(virial=np.full((200, CHAINS), 8.2), dim=20, turning_length=30.0)
    assert UntilError(0.5, 100_000).judge(so_far) == Done()  # 8.2 is above 4 λ̂, which is about 8
    for fewer in ({"left_out": EXPLORED - 1}, {"turning_length": 0.0}, {"virial": np.full((200, CHAINS), 7.5)}):
        assert UntilError(0.5, 100_000).judge(so_far._replace(**fewer)) == WarmUpAgain()


def test_chains_that_have_fallen_below_the_start_are_done():
    assert UntilError(1e-6, 100_000).judge(progress(shift=-4.0)) == Done()
    assert UntilError(1e-6, 100_000).judge(progress(shift=-60.0, apart=1.0)) == Done()
    assert UntilError(1e-6, 3000).judge(progress(shift=-60.0, apart=1.0)) == Done(dropped=100)


def test_draws_that_are_all_equal_are_drawn_on():
    flat = Progress(np.zeros((200, CHAINS)), np.full((200, CHAINS), DIM), DIM, 1000, 100, 100)
    verdict = UntilError(0.1, 1000).judge(flat)
    assert isinstance(verdict, GoOn)
    assert (verdict.look, verdict.dropped) == (250, 100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedDraws(0, 100), "num_draws is 0; expected an integer >= 1"),
        (lambda: FixedDraws(10, 0), "max_grad_evals is 0; expected an integer >= 1"),
        (lambda: UntilError(0.0, 100), "rel_tol is 0.0; expected a positive number"),
        (lambda: UntilError(0.1, 2.5), "max_grad_evals is 2.5; expected an integer >= 1"),
    ],
)
def test_wrong_rules_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
