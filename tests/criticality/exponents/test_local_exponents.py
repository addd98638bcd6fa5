"""Local exponents over training time: planted onsets are covered, smooth changes are smooth, no verdict is given."""

import json

import numpy as np
import pytest

from llckit.criticality import local_exponents
from llckit.errors import InputError

STEP = np.unique(np.geomspace(1, 20_000, 100).round())
X = np.log1p(STEP)
LOW, HIGH = np.log1p([200, 3000])
NOISE = 0.1


def read(shape, seed=0, noise=NOISE, **given):
    llc = 10 + 5 * shape + noise * np.random.default_rng(seed).standard_normal(len(STEP))
    return local_exponents(
        **{"step": STEP, "llc": llc, "start": 200, "end": 3000, "llc_se": np.full(len(STEP), noise)} | given
    )


def ramp(exponent):
    return np.clip((X - LOW) / (HIGH - LOW), 0, 1) ** exponent


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_a_planted_onset_is_found_and_covered(exponent):
    found = [read(ramp(exponent), seed) for seed in range(12)]
    assert all(one.form == "power law" for one in found)
    covered = [(one.exponent_interval[0] or 0) <= exponent <= (one.exponent_interval[1] or np.inf) for one in found]
    assert sum(covered) >= 8  # of 12 at 90 %: fewer in one of 200
    for one in found:
        assert one.critical_step == pytest.approx(200, rel=0.5)
        assert one.exponent == pytest.approx(exponent, rel=0.5)


@pytest.mark.slow
def test_a_logistic_is_smooth_and_its_width_is_found():
    found = read(1 / (1 + np.exp(-(X - (LOW + HIGH) / 2) / 0.3)))
    assert found.form == "smooth"
    assert found.evidence < -4
    assert found.width == pytest.approx(0.3, rel=0.1)
    assert found.verdict == "inconclusive"
    assert "one size" in found.reason


@pytest.mark.slow
def test_a_fall_is_read_like_a_rise():
    rise, fall = read(ramp(0.5)), read(-ramp(0.5))
    assert fall.form == rise.form == "power law"
    assert fall.effective_dimension_after - fall.effective_dimension_before == pytest.approx(-10, abs=8 * NOISE)


@pytest.mark.slow
def test_effective_dimensions_are_twice_the_levels_on_both_sides():
    found = read(ramp(1.0))
    for value, error, level in (
        (found.effective_dimension_before, found.effective_dimension_before_se, 20),
        (found.effective_dimension_after, found.effective_dimension_after_se, 30),
    ):
        assert 0 < error <= 2 * NOISE
        assert abs(value - level) < 4 * error


@pytest.mark.slow
def test_without_errors_the_scatter_serves():
    given, without = read(ramp(0.5)), read(ramp(0.5), llc_se=None)
    assert without.exponent == given.exponent
    assert without.form == given.form
    assert without.effective_dimension_before_se > 0


@pytest.mark.slow
def test_the_heat_capacity_shows_two_basins():
    rng = np.random.default_rng(0)
    ess, shape = np.full(len(STEP), 500.0), ramp(1.0)
    llc = 10 + 5 * shape
    one_basin = llc * (1 + np.sqrt((2 + 6 / llc) / ess) * rng.standard_normal(len(STEP)))
    quiet = read(shape, llc_variance=one_basin, ess=ess)
    assert quiet.heat_excess < 4 * quiet.heat_excess_se
    assert "basin" not in quiet.reason
    peaked = one_basin + 30 * np.exp(-((X - np.log1p(800)) ** 2) / 0.1)
    loud = read(shape, llc_variance=peaked, ess=ess)
    assert loud.heat_step == pytest.approx(800, rel=0.3)
    assert loud.heat_excess > 5 * loud.heat_excess_se
    assert "more than one basin" in loud.reason


@pytest.mark.slow
def test_few_checkpoints_have_no_form_but_advice():
    few = read(ramp(1.0), step=STEP, start=200, end=300)
    assert few.form is None
    assert few.exponent is None
    assert few.verdict == "inconclusive"
    assert any("12 checkpoints" in line for line in few.needed)
    assert not any("12 checkpoints" in line for line in read(ramp(1.0)).needed)
    assert any(" 200, " in line for line in few.needed)


@pytest.mark.slow
def test_what_rests_has_no_exponent():
    still = local_exponents(step=STEP, llc=np.full(len(STEP), 5.0), start=200, end=3000)
    assert still.form is still.exponent is still.critical_step is None
    assert "rests" in still.reason


@pytest.mark.slow
def test_gaps_are_left_out_and_the_result_is_plain():
    llc = 10 + 5 * ramp(1.0)
    llc[::7] = np.nan
    found = local_exponents(step=STEP, llc=llc, start=200, end=3000)
    assert found.exponent == 1.0
    assert json.loads(json.dumps(found.to_dict()))["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"llc": [1.0, 2.0]}, "llc has shape"),
        ({"step": STEP[::-1]}, "ascend"),
        ({"start": 3000, "end": 200}, "start before an end"),
        ({"end": 1e6}, "inside"),
        ({"llc_variance": X}, "ess is None; expected both"),
        ({"llc": np.full(len(STEP), np.nan)}, "no finite entry"),
        ({"step": ["a"]}, "step"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(InputError, match=message):
        read(ramp(1.0), **given)
