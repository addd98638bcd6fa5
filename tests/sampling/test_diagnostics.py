import warnings

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.sampling import ess_bulk, ess_mean, mcse_mean, rhat

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
