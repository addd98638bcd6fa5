"""Lengths of HMC's trajectories, and how the warm-up finds them."""

import math

import pytest
import torch

from llckit.sampling import Noise, hmc


@pytest.mark.slow
def test_trajectories_have_every_length_up_to_the_longest(quadratic):
    target = quadratic([10.0, 1.0, 0.0], n_beta=2.0, localization=0.5, rows=2)
    sampler = hmc(step_size=0.1, max_leapfrogs=5)
    noise = Noise(0, 2, target.checkpoint.weights)
    state, lengths = sampler.init(target.checkpoint.weights.repeat(2, 1), target, lambda: 1.0), set()
    for _ in range(100):
        state, info = sampler.step(state, target, noise)
        lengths.add(info.grad_evals)
    assert lengths == {1, 2, 3, 4, 5}


def warm_up(posterior, sampler, steps):
    """State after each step of a warm-up, with the gradients it took."""
    noise = Noise(0, posterior.rows, posterior.checkpoint.weights)
    start = posterior.checkpoint.weights.repeat(posterior.rows, 1)
    state, history = sampler.init(start, posterior, lambda: 1.0), []
    for _ in range(steps):
        measured = state.searching
        state, info = sampler.step(state, posterior, noise)
        state = sampler.adapt(state, info)
        history.append((state, info.grad_evals, measured))
    return state, history, noise


@pytest.mark.slow
@pytest.mark.parametrize(("size", "gamma"), [(0.02, 1.0), (0.1, 0.25), (0.1, 1.0), (0.05, 4.0)])
@pytest.mark.parametrize("curvatures", [[0.0] * 4, [10.0] + [0.0] * 6])
def test_the_warm_up_measures_where_trajectories_turn_back(quadratic, size, gamma, curvatures):
    posterior = quadratic(curvatures, localization=gamma, rows=16)
    state, _, _ = warm_up(posterior, hmc(step_size=size), 120)
    # a flat direction oscillates with frequency √γ: from w* a quarter of its period, from elsewhere about half
    assert math.pi / 2 < state.turning_length * size * math.sqrt(gamma) < 1.2 * math.pi


@pytest.mark.slow
def test_searches_come_every_fifteen_steps_and_go_on_until_the_turn(quadratic):
    posterior = quadratic([0.0] * 4, localization=1.0, rows=16)
    _, history, _ = warm_up(posterior, hmc(step_size=0.1), 90)
    assert [i for i, (_, _, measured) in enumerate(history) if measured] == [40, 55, 70, 85]
    turn = 0.0
    for after, leapfrogs, measured in history:
        if measured:
            turn = math.sqrt((turn or leapfrogs) * leapfrogs)
            assert leapfrogs > 10
        assert after.turning_length == turn
    sampler = hmc(step_size=0.1)
    searching = warm_up(posterior, sampler, 40)[0]
    assert searching.searching
    assert not sampler.freeze(searching).searching, "a draw is no search"


@pytest.mark.slow
def test_a_search_ends_at_the_longest(quadratic):
    state, history, _ = warm_up(quadratic([0.0] * 2, localization=0.0, rows=4), hmc(step_size=0.01), 41)
    assert history[40][1] == 512
    assert state.turning_length == 512


@pytest.mark.slow
def test_without_a_given_length_short_and_long_trajectories_share_the_gradients(quadratic):
    posterior = quadratic([0.0] * 4, localization=1.0, rows=4)
    sampler = hmc(step_size=0.08)
    state, _, noise = warm_up(posterior, sampler, 60)
    state, turn, lengths = sampler.freeze(state), state.turning_length, []
    for _ in range(800):
        state, info = sampler.step(state, posterior, noise)
        lengths.append(info.grad_evals)
    assert state.turning_length == turn > 30, "only the warm-up measures"
    short = [n for n in lengths if n <= 10]
    long = [n for n in lengths if n > 10]
    assert set(short) == set(range(1, 11))
    assert min(long) >= math.floor(turn / 4)
    assert max(long) <= math.ceil(turn)
    assert min(long) < 0.35 * turn < 0.9 * turn < max(long)
    # about 150 of 800 are long, of lengths that vary by a third: the share is known to about 4 %
    assert sum(long) / sum(lengths) == pytest.approx(0.5, abs=0.12)


@pytest.mark.slow
def test_where_chains_turn_at_once_all_trajectories_are_short(quadratic):
    posterior = quadratic([100.0] * 3, localization=0.0, rows=8)
    state, history, _ = warm_up(posterior, hmc(step_size=0.15), 60)
    assert 1 <= state.turning_length <= 10
    assert max(leapfrogs for _, leapfrogs, _ in history) <= 10


@pytest.mark.slow
def test_a_given_length_is_not_searched_for(quadratic):
    posterior = quadratic([0.0] * 4, localization=1.0, rows=4)
    state, history, _ = warm_up(posterior, hmc(step_size=0.05, max_leapfrogs=7), 150)
    assert state.turning_length == 0
    assert not any(after.searching for after, _, _ in history)
    assert {leapfrogs for _, leapfrogs, _ in history} == set(range(1, 8))


@pytest.mark.slow
def test_a_chain_that_left_the_finite_numbers_does_not_hold_a_search_up(potential):
    bowl = potential(lambda w: 1 - (1 - w.square()).sqrt().sum(), torch.zeros(1), rows=1, localization=0.0)
    state, history, _ = warm_up(bowl, hmc(step_size=0.2), 150)
    assert max(leapfrogs for _, leapfrogs, _ in history) < 50
    assert sum(measured for _, _, measured in history) == 8
    assert state.weights.abs().max() < 1
