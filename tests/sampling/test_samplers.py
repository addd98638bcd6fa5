import functools
import math

import pytest
import torch

import llckit as lk
from llckit.errors import InputError
from llckit.sampling import Noise, baoab, hmc, mala, rmsprop_sgld, sample, sgld, sgnht

H = torch.tensor([10.0, 1.0, 0.0], dtype=torch.float64)
SAMPLERS = {
    "hmc": hmc,
    "mala": mala,
    "sgld": sgld,
    "rmsprop_sgld": rmsprop_sgld,
    "sgnht": sgnht,
    "baoab": baoab,
}
ADAPTIVE = {"hmc", "mala", "baoab"}
FULL_LOSS = {"hmc", "mala"}
STEP_SIZES = {"hmc": 0.2, "mala": 0.05, "sgld": 0.02, "rmsprop_sgld": 0.005, "sgnht": 0.05, "baoab": 0.1}
FIXED = {name: functools.partial(SAMPLERS[name], step_size=size) for name, size in STEP_SIZES.items()}
ARRAYS = ("excess", "distance2", "virial", "acceptance")


@pytest.fixture
def posterior(quadratic):
    return lambda rows=3: quadratic(H, n_beta=2.0, localization=0.5, rows=rows)


@pytest.mark.parametrize("name", SAMPLERS)
def test_shapes_of_state_and_info(posterior, name):
    target, sampler = posterior(), SAMPLERS[name]()
    noise = Noise(0, 3, target.checkpoint.weights)
    state = sampler.init(target.checkpoint.weights.repeat(3, 1), target, lambda: 20.5)
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


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [(name, None) for name in SAMPLERS] + [(name, 4) for name in SAMPLERS if name not in FULL_LOSS],
)
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


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_step_comes_from_the_curvature(posterior, name):
    # largest curvature of U: 2 · 10 + ½
    first = {
        "hmc": 20.5**-0.5,
        "mala": 1 / 20.5,
        "sgld": 0.2 / 20.5,
        "rmsprop_sgld": 0.2 / 20.5,
        "sgnht": (0.1 / 20.5) ** 0.5,
        "baoab": 0.5 * 20.5**-0.5,
    }
    trace = sample(posterior(), SAMPLERS[name](), num_draws=4, num_burnin=0, max_grad_evals=9_000)
    assert trace.step_size == pytest.approx(first[name])
    adapted = sample(posterior(), SAMPLERS[name](), num_draws=4, num_burnin=30, max_grad_evals=9_000).step_size
    assert (adapted != trace.step_size) == (name in ADAPTIVE)


def test_trajectories_have_every_length_up_to_the_longest(posterior):
    target, sampler = posterior(2), hmc(step_size=0.1, max_leapfrogs=5)
    noise = Noise(0, 2, target.checkpoint.weights)
    state, lengths = sampler.init(target.checkpoint.weights.repeat(2, 1), target, lambda: 1.0), set()
    for _ in range(100):
        state, info = sampler.step(state, target, noise)
        lengths.add(info.grad_evals)
    assert lengths == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    "sampler",
    [hmc(step_size=0.05, max_leapfrogs=1), mala(step_size=0.0025), baoab(step_size=1.0)],
    ids=lambda s: s.name,
)
def test_a_rejected_chain_stays_with_its_energy(quadratic, sampler):
    target = quadratic([1e6, 1e6], rows=6, localization=1.0)
    noise = Noise(0, 6, target.checkpoint.weights)
    before = sampler.init(target.checkpoint.weights.repeat(6, 1), target, lambda: 1.0)
    after, info = sampler.step(before, target, noise)
    assert (info.acceptance < 1e-6).all()
    assert torch.equal(after.weights, before.weights)
    assert torch.equal(info.energy.excess, before.energy.excess)


@pytest.mark.parametrize(
    "sampler", [hmc(step_size=1.5), mala(step_size=0.5), baoab(step_size=1.5, friction=1.0)], ids=lambda s: s.name
)
def test_a_proposal_that_is_not_finite_is_rejected(potential, sampler):
    # log(1 − w²) is NaN outside of the unit cube
    target = potential(lambda w: -(1 - w.square()).log().sum(), torch.zeros(2), n_beta=2.0, localization=0.1)
    trace = sample(target, sampler, num_draws=200, num_burnin=0, max_grad_evals=10_000)
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


def test_an_unstable_sgnht_step_diverges_and_one_of_rmsprop_sgld_is_only_too_warm(quadratic):
    settings = {"num_draws": 2_000, "num_burnin": 0, "max_grad_evals": 9_000}
    assert sample(quadratic([10.0]), sgnht(step_size=5.0), **settings).diverged
    held = sample(quadratic([10.0]), rmsprop_sgld(step_size=5.0), **settings)
    assert not held.diverged
    assert held.virial.mean() > 5


def test_baoab_stays_in_a_place_far_sharper_than_its_step_allows(potential):
    def loss(w):  # curvature 1 at the start, 10⁶ beyond a wall
        return 0.5 * w.square().sum() + 5e5 * (w[0] - 1).clamp(min=0).square()

    target = potential(loss, torch.zeros(2), n_beta=1.0, localization=0.0)
    trace = sample(target, baoab(step_size=0.5), num_draws=1_000, num_burnin=0, max_grad_evals=9_000)
    assert not trace.diverged
    assert (trace.acceptance == 0).any()
    assert trace.excess.max() < 30


def test_baoab_finds_a_smaller_step_where_the_loss_is_sharper_than_at_the_start(potential):
    flat_bottom = potential(lambda w: (w.square() + 100 * w.pow(4)).sum(), torch.zeros(4), localization=0.1)
    trace = sample(flat_bottom, baoab(), num_draws=500, num_burnin=500, max_grad_evals=9_000)
    assert trace.step_size < 0.5 * 0.5 / 2.1**0.5
    assert 0.8 < trace.acceptance.mean() < 0.97


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), float("inf"), "0.1", True])
def test_a_wrong_step_size_is_refused(name, bad):
    with pytest.raises(InputError, match=r"step_size is .*expected a positive number"):
        SAMPLERS[name](step_size=bad)


@pytest.mark.parametrize(
    ("make", "setting", "bad"),
    [
        (rmsprop_sgld, "decay", [1, -0.1, float("nan"), "0.9"]),
        (rmsprop_sgld, "eps", [0, -1, float("inf"), None]),
        (sgnht, "diffusion", [0, 1, -0.1, float("nan"), "0.1"]),
        (baoab, "friction", [0, -1.0, float("inf"), "1"]),
    ],
)
def test_other_wrong_settings_are_refused(make, setting, bad):
    for value in bad:
        with pytest.raises(InputError, match=rf"{setting} is .*expected a"):
            make(**{setting: value})


@pytest.mark.parametrize("name", SAMPLERS)
def test_settings_are_recorded(name):
    sampler = SAMPLERS[name](step_size=0.25)
    assert sampler.settings["step_size"] == 0.25
    assert sampler.needs_full_loss == (name in FULL_LOSS)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("batch_size", [None, 16])
def test_an_estimate_with_every_sampler(name, batch_size):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(64, 3, generator=generator)
    model = torch.nn.Linear(3, 2)
    with torch.no_grad():
        targets = model(inputs)

    def loss_fn(net, batch):
        return (net(batch[0]) - batch[1]).square().mean(1)

    def estimate():
        return lk.estimate_llc(
            model,
            (inputs, targets),
            loss_fn,
            sampler=SAMPLERS[name](),
            batch_size=batch_size,
            num_chains=4,
            num_draws=200,
            num_burnin=600 if name == "sgnht" else 100,  # its friction takes hundreds of steps to settle
            n_beta=100.0,
            localization=1.0,
        )

    if batch_size is not None and name in FULL_LOSS:
        with pytest.raises(InputError, match=rf"{name} compares energies"):
            estimate()
        return
    found = estimate()
    assert found.how_found.sampler == name
    # λ = 8/2, less what γ takes; minibatches and large steps warm
    assert found.llc == pytest.approx(3.9, rel=0.25 if batch_size is None else 0.5)


@pytest.mark.parametrize("bad", [0, -3, 2.5, "ten"])
def test_a_wrong_length_is_refused(bad):
    with pytest.raises(InputError, match=r"max_leapfrogs is .*expected an integer"):
        hmc(max_leapfrogs=bad)


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


@pytest.mark.parametrize(("size", "gamma"), [(0.02, 1.0), (0.1, 0.25), (0.1, 1.0), (0.05, 4.0)])
@pytest.mark.parametrize("curvatures", [[0.0] * 4, [10.0] + [0.0] * 6])
def test_the_warm_up_measures_where_trajectories_turn_back(quadratic, size, gamma, curvatures):
    posterior = quadratic(curvatures, localization=gamma, rows=16)
    state, _, _ = warm_up(posterior, hmc(step_size=size), 120)
    # a flat direction oscillates with frequency √γ: from w* a quarter of its period, from elsewhere about half
    assert math.pi / 2 < state.turn * size * math.sqrt(gamma) < 1.2 * math.pi


def test_searches_come_every_fifteen_steps_and_go_on_until_the_turn(quadratic):
    posterior = quadratic([0.0] * 4, localization=1.0, rows=16)
    _, history, _ = warm_up(posterior, hmc(step_size=0.1), 90)
    assert [i for i, (_, _, measured) in enumerate(history) if measured] == [40, 55, 70, 85]
    turn = 0.0
    for after, leapfrogs, measured in history:
        if measured:
            turn = math.sqrt((turn or leapfrogs) * leapfrogs)
            assert leapfrogs > 10
        assert after.turn == turn
    sampler = hmc(step_size=0.1)
    searching = warm_up(posterior, sampler, 40)[0]
    assert searching.searching
    assert not sampler.freeze(searching).searching, "a draw is no search"


def test_a_search_ends_at_the_longest(quadratic):
    state, history, _ = warm_up(quadratic([0.0] * 2, localization=0.0, rows=4), hmc(step_size=0.01), 41)
    assert history[40][1] == 512
    assert state.turn == 512


def test_without_a_given_length_short_and_long_trajectories_share_the_gradients(quadratic):
    posterior = quadratic([0.0] * 4, localization=1.0, rows=4)
    sampler = hmc(step_size=0.08)
    state, _, noise = warm_up(posterior, sampler, 60)
    state, turn, lengths = sampler.freeze(state), state.turn, []
    for _ in range(800):
        state, info = sampler.step(state, posterior, noise)
        lengths.append(info.grad_evals)
    assert state.turn == turn > 30, "only the warm-up measures"
    short = [n for n in lengths if n <= 10]
    long = [n for n in lengths if n > 10]
    assert set(short) == set(range(1, 11))
    assert min(long) >= math.floor(turn / 4)
    assert max(long) <= math.ceil(turn)
    assert min(long) < 0.35 * turn < 0.9 * turn < max(long)
    # about 150 of 800 are long, of lengths that vary by a third: the share is known to about 4 %
    assert sum(long) / sum(lengths) == pytest.approx(0.5, abs=0.12)


def test_where_chains_turn_at_once_all_trajectories_are_short(quadratic):
    posterior = quadratic([100.0] * 3, localization=0.0, rows=8)
    state, history, _ = warm_up(posterior, hmc(step_size=0.15), 60)
    assert 1 <= state.turn <= 10
    assert max(leapfrogs for _, leapfrogs, _ in history) <= 10


def test_a_given_length_is_not_searched_for(quadratic):
    posterior = quadratic([0.0] * 4, localization=1.0, rows=4)
    state, history, _ = warm_up(posterior, hmc(step_size=0.05, max_leapfrogs=7), 150)
    assert state.turn == 0
    assert not any(after.searching for after, _, _ in history)
    assert {leapfrogs for _, leapfrogs, _ in history} == set(range(1, 8))


def test_a_chain_that_left_the_finite_numbers_does_not_hold_a_search_up(potential):
    bowl = potential(lambda w: 1 - (1 - w.square()).sqrt().sum(), torch.zeros(1), rows=1, localization=0.0)
    state, history, _ = warm_up(bowl, hmc(step_size=0.2), 150)
    assert max(leapfrogs for _, leapfrogs, _ in history) < 50
    assert sum(measured for _, _, measured in history) == 8
    assert state.weights.abs().max() < 1
