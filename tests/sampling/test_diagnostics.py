import math
import warnings

import numpy as np
import pytest
from scipy import stats

from llckit.errors import InputError
from llckit.sampling import ess_bulk, ess_mean, mcse_mean, rhat
from llckit.sampling.diagnostics import FEW, STRETCHES, Z95, controlled, error_of_mean, fallen, settled, spread

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import arviz

OURS = {
    "rhat": (rhat, lambda x: arviz.rhat(x, method="rank")),
    "ess_bulk": (ess_bulk, lambda x: arviz.ess(x, method="bulk")),
    "ess_mean": (ess_mean, lambda x: arviz.ess(x, method="mean")),
    "mcse_mean": (mcse_mean, lambda x: arviz.mcse(x, method="mean")),
}


def autoregressive(draws, chains, phi, seed=0, offset=0.0):
    generator = np.random.default_rng(seed)
    noise = generator.normal(size=(draws, chains))
    values = np.empty_like(noise)
    values[0] = noise[0] / np.sqrt(1 - phi**2)
    for t in range(1, draws):
        values[t] = phi * values[t - 1] + noise[t]
    return values + offset * np.arange(chains)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("phi", [-0.9, 0.0, 0.6, 0.99])
@pytest.mark.parametrize("chains", [2, 5])
@pytest.mark.parametrize("draws", [4, 5, 6, 7, 8, 11, 33, 500, 1001])
def test_agreement_with_arviz(name, draws, chains, phi):
    ours, theirs = OURS[name]
    for seed, offset in ((0, 0.0), (1, 3.0)):
        values = autoregressive(draws, chains, phi, seed, offset)
        assert ours(values) == pytest.approx(float(theirs(values.T)), rel=1e-9)


@pytest.mark.parametrize("name", OURS)
def test_agreement_with_arviz_where_draws_repeat_or_have_heavy_tails(name):
    ours, theirs = OURS[name]
    generator = np.random.default_rng(0)
    repeated = np.repeat(generator.normal(size=(50, 4)), 4, axis=0)
    for values in (repeated, generator.standard_cauchy((300, 4)), generator.gamma(0.5, size=(300, 4)) - 1e6):
        assert ours(values) == pytest.approx(float(theirs(values.T)), rel=1e-9)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_draw_that_is_not_finite_gives_nan(name, bad):
    values = autoregressive(100, 4, 0.5)
    values[50, 2] = bad
    assert np.isnan(OURS[name][0](values))


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("value", [0.0, 0.1, -3e7])
def test_draws_all_equal_give_nan(name, value):
    assert np.isnan(OURS[name][0](np.full((100, 4), value)))


def test_chains_that_stay_apart_are_seen():
    apart = autoregressive(200, 4, 0.0, offset=10.0)
    stuck = np.tile(np.arange(4.0), (100, 1))
    assert rhat(apart) > 2
    assert not rhat(stuck) <= 1.05
    wider = autoregressive(400, 4, 0.0) * np.array([1, 1, 1, 10])
    assert rhat(wider) > 1.05, "equal means but unequal spread: only the folded R-hat sees it"


def test_the_input_is_not_changed():
    values = autoregressive(20, 3, 0.5)
    before = values.copy()
    for ours, _ in OURS.values():
        ours(values)
    assert np.array_equal(values, before)


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (10,), (10, 2, 2)])
@pytest.mark.parametrize("name", OURS)
def test_a_wrong_shape_is_refused(name, shape):
    with pytest.raises(InputError, match=r"expected \(draws, chains\) with at least 4 draws"):
        OURS[name][0](np.zeros(shape))


DIM = 5


def clean(draws=400, chains=16, seed=0):
    """Independent draws: excess ~ Gamma(2), and a virial of mean DIM."""
    generator = np.random.default_rng(seed)
    shape = draws, chains
    return generator.gamma(2.0, size=shape), generator.gamma(DIM / 2, 2.0, size=shape)


@pytest.mark.parametrize("seed", range(10))
def test_clean_draws_have_settled(seed):
    assert settled(*clean(seed=seed), DIM)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_common_drift_is_noticed_before_rhat_notices(sign):
    excess, virial = clean()
    ramp = sign * np.linspace(0, 0.6, len(excess))[:, None]
    assert rhat(excess + ramp) < 1.05, "else drift is not what is tested"
    assert not settled(excess + ramp, virial, DIM)
    either_way = ramp * np.where(np.arange(16) % 2, 1, -1)  # what is up here and down there is no drift
    assert settled(excess + either_way, virial, DIM)


def test_a_drift_within_its_error_is_none():
    excess, virial = clean()
    half = len(excess) // 2

    def drifting(errors):
        """Draws whose halves differ by so many standard errors, taken over chains."""
        change = excess[half:].mean(0) - excess[:half].mean(0)
        wanted = errors * change.std(ddof=1) / math.sqrt(16) - change.mean()
        return excess + wanted * (np.arange(2 * half) >= half)[:, None]

    assert settled(drifting(3.9), virial, DIM)
    assert not settled(drifting(4.1), virial, DIM)
    assert not settled(drifting(-4.1), virial, DIM)


def test_one_chain_has_no_drift_to_show():
    excess, virial = clean(draws=2000, chains=1)
    assert settled(excess, virial, DIM)


def test_chains_in_different_places_have_not_settled():
    excess, virial = clean()
    for width, expected in ((1.0, True), (4.0, False)):  # means that scatter by less or more than single draws
        apart = excess + np.linspace(-width, width, 16)
        assert (apart.mean(axis=0).std() < excess.std()) == expected
        assert settled(apart, virial, DIM) == expected


@pytest.mark.parametrize(("share", "expected"), [(0.5, False), (0.93, False), (0.97, True), (1.0, True), (1.5, True)])
def test_a_virial_below_its_value_is_noticed(share, expected):
    excess, virial = clean()
    quiet = DIM * share + 0.01 * (virial - virial.mean())
    assert settled(excess, quiet, DIM) == expected
    assert spread(quiet, DIM) == pytest.approx(share, abs=1e-3)


def test_a_virial_has_three_standard_errors_of_doubt():
    excess, virial = clean()
    error = mcse_mean(virial)
    for errors, expected in ((2.9, True), (3.1, False)):
        low = virial - virial.mean() + 0.95 * DIM - errors * error
        assert spread(low, DIM) == pytest.approx(0.95 + (3 - errors) * error / DIM)
        assert settled(excess, low, DIM) == expected
    assert spread(np.full((10, 3), 2.0), 4) == 0.5  # no error is known where nothing moves


def test_chains_have_fallen_where_their_means_are_below_zero_for_sure():
    excess, _ = clean()
    means = excess.mean(0)
    error = means.std(ddof=1) / math.sqrt(16)
    assert fallen(excess - means.mean() - 5.1 * error)
    assert not fallen(excess - means.mean() - 4.9 * error)
    assert not fallen(excess[:, :1] - 100.0), "nobody knows the error of one chain"


def test_the_error_of_the_mean_is_that_of_the_autocorrelation_where_it_explains_what_is_seen():
    for phi in (0.0, 0.6, 0.9):
        values = autoregressive(200, 8, phi)
        assert error_of_mean(values) == mcse_mean(values)
    one = autoregressive(200, 1, 0.5)
    assert error_of_mean(one) == mcse_mean(one), "a single chain has no spread of means"
    assert math.isnan(error_of_mean(np.zeros((50, 4))))


def test_chains_that_disagree_widen_the_error_to_student_s_interval():
    values = autoregressive(1000, 64, 0.0, offset=0.002)  # 64 means between 0 and 4 of their own standard errors
    means = values.mean(axis=0)
    student = stats.t.interval(0.95, 63, means.mean(), means.std(ddof=1) / np.sqrt(64))
    assert error_of_mean(values) > 1.4 * mcse_mean(values)
    assert Z95 * error_of_mean(values) == pytest.approx((student[1] - student[0]) / 2)


def test_few_effective_draws_have_the_error_of_student_s_law():
    values = autoregressive(400, 4, 0.0, offset=1.0)
    ess = ess_mean(values)
    assert 2 < ess < FEW, "four chains in four places are worth little more than four draws"
    assert error_of_mean(values) == pytest.approx(mcse_mean(values) * stats.t.ppf(0.975, ess - 1) / Z95)


def test_what_moves_all_chains_alike_widens_the_error():
    common = np.repeat(np.arange(STRETCHES), 40)[:, None]
    values = autoregressive(200, 64, 0.0) + common
    means = values.reshape(STRETCHES, 40 * 64).mean(axis=1)
    expected = means.std(ddof=1) / np.sqrt(STRETCHES) * stats.t.ppf(0.975, STRETCHES - 1) / Z95
    assert error_of_mean(values) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "chains", "common"), [(40, 8, 0.0), (40, 8, 0.3), (60, 64, 0.0), (100, 2, 0.0)])
def test_the_interval_of_short_runs_holds_the_mean(draws, chains, common):
    """95 % of 400 runs, of which 91 % is four standard errors away; 75 % where all chains are pushed alike."""
    held = 0
    for seed in range(400):
        pushed = autoregressive(draws, 1, 0.5, seed=10_000 + seed)
        values = np.sqrt(1 - common) * autoregressive(draws, chains, 0.5, seed) + np.sqrt(common) * pushed
        held += abs(values.mean()) <= Z95 * error_of_mean(values)
    assert held / 400 > (0.91 if not common else 0.75)


def normal_posterior(curvatures, spreads, draws=400, chains=8, seed=0):
    """Excess and virial of independent draws whose spread in each direction is that share of the posterior's; γ = 1."""
    k = np.array(curvatures)
    x = np.random.default_rng(seed).normal(size=(draws, chains, len(k))) * np.array(spreads) / np.sqrt(k + 1)
    return np.square(x) @ k / 2, np.square(x) @ (k + 1)


def test_the_virial_takes_the_variance_off_a_regular_posterior():
    k = [1000.0, 3000.0, 200.0, 500.0]
    excess, virial = normal_posterior(k, [1, 1, 1, 1])
    exact = sum(x / (x + 1) for x in k) / 2
    left = controlled(excess, virial, 4)
    assert error_of_mean(left) < error_of_mean(excess) / 100
    assert abs(left.mean() - exact) < 4 * error_of_mean(left)


def test_the_virial_removes_what_it_is_correlated_with():
    covered, errors = 0, []
    k = np.array([1000.0] * 6 + [15.0] * 6)  # γ holds the second half noticeably
    share = k / (k + 1) / 2
    for seed in range(200):
        excess, virial = normal_posterior(k, np.ones(12), seed=seed)
        left = controlled(excess, virial, 12)
        error = error_of_mean(left)
        covered += abs(left.mean() - share.sum()) <= Z95 * error
        errors.append(error / error_of_mean(excess))
    assert np.median(errors) == pytest.approx(share.std() / math.sqrt(np.square(share).mean()), rel=0.1)
    assert abs(covered / 200 - 0.95) < 3 * math.sqrt(0.95 * 0.05 / 200)


@pytest.mark.parametrize(
    ("curvatures", "spreads"),
    [
        ([1000.0] * 10, [1] * 9 + [0]),  # one direction has not been seen at all
        ([1000.0] * 10, [1.1] * 10),  # too hot
        ([1000.0] * 10 + [0.0], [1] * 11),  # one is flat, and held by γ alone
    ],
)
def test_the_virial_is_left_out_where_it_is_wrong_or_of_no_use(curvatures, spreads):
    excess, virial = normal_posterior(curvatures, spreads)
    assert controlled(excess, virial, len(curvatures)) is excess


@pytest.mark.parametrize("virial", [np.full((100, 4), 3.0), np.full((100, 4), np.nan)])
def test_a_virial_that_says_nothing_is_left_out(virial):
    excess = autoregressive(100, 4, 0.5)
    assert controlled(excess, virial, 3) is excess
