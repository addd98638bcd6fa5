"""Power laws: planted exponents, forms and corrections, coverage of the intervals, bad input."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy.stats import binom

from llckit.criticality import fit_power_law
from llckit.errors import InputError

CRITICAL = 2.0
CONTROL = CRITICAL - np.geomspace(0.01, 0.6, 30)
T = CRITICAL - CONTROL


def with_noise(value, noise, seed):
    se = noise * np.ones_like(value)
    return value + se * np.random.default_rng(seed).standard_normal(len(value)), se


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantity", "exponent", "power"),
    [("order_parameter", 0.125, 0.125), ("order_parameter", 0.5, 0.5), ("susceptibility", 1.75, -1.75)],
)
@pytest.mark.parametrize("side", [-1, 1])
def test_exact_law_gives_exponent_critical_point_and_amplitude(quantity, exponent, power, side):
    law = fit_power_law(CRITICAL + side * T, 1.3 * T**power, quantity=quantity)
    assert law.exponent == pytest.approx(exponent, abs=1e-4)
    assert law.critical_point == pytest.approx(CRITICAL, abs=1e-4)
    assert law.amplitude == pytest.approx(1.3, rel=1e-3)
    assert law.form == "power"
    assert law.quality is None


@pytest.mark.parametrize("critical_point", [1.0, None])
def test_an_exact_logarithm_whose_correction_is_another_law_in_disguise(critical_point):
    control = np.linspace(1.05, 2, 20)
    law = fit_power_law(control, 5 - np.log(control - 1), quantity="specific_heat", critical_point=critical_point)
    assert law.form == "logarithm"
    assert law.exponent == pytest.approx(0, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("alpha", "form"), [(0.33, "power"), (0.0, "logarithm"), (-0.4, "cusp")])
def test_form_of_a_specific_heat(alpha, form):
    singular = -np.log(T) if alpha == 0 else (T**-alpha - 1) / alpha
    value, se = with_noise(3 + 0.5 * singular, 0.005, 1)
    law = fit_power_law(CONTROL, value, se, quantity="specific_heat", critical_point=CRITICAL)
    assert law.form == form
    assert law.exponent == pytest.approx(alpha, abs=0.05)
    assert law.critical_point_interval == (CRITICAL, CRITICAL)
    assert 0.4 < law.quality < 1.9  # 27 degrees of freedom


@pytest.mark.slow
def test_response_to_a_field():
    field = np.geomspace(1e-4, 0.1, 20)
    value, se = with_noise(np.ones(20), 0.01, 2)
    law = fit_power_law(field, value * field ** (1 / 15), se * field ** (1 / 15), quantity="field_response")
    low, high = law.exponent_interval
    assert low < 15 < high
    assert high - low < 2
    assert law.critical_point == 0


@pytest.mark.slow
def test_correction_is_found_where_there_is_one():
    bare = 1.3 * T**0.125
    noise, relative = with_noise(np.ones(30), 0.002, 3)
    law = fit_power_law(CONTROL, bare * noise, bare * relative, quantity="order_parameter", critical_point=CRITICAL)
    assert law.correction == 0
    assert law.correction_exponent is None
    bent = bare * (1 + 0.6 * T**0.5)
    law = fit_power_law(CONTROL, bent * noise, bent * relative, quantity="order_parameter", critical_point=CRITICAL)
    assert law.correction > 0.05
    low, high = law.exponent_interval
    assert low < 0.125 < high  # whichever of the two corrections fits better


@pytest.mark.slow
def test_intervals_cover_the_truth():
    runs, covered, widths, estimates = 15, np.zeros(2), [], []
    for seed in range(runs):
        noise, relative = with_noise(np.ones(20), 0.02, seed)
        t = np.geomspace(0.02, 0.6, 20)
        value = 2 * t**0.5
        law = fit_power_law(CRITICAL - t, value * noise, value * relative, quantity="order_parameter")
        covered += [
            law.exponent_interval[0] <= 0.5 <= law.exponent_interval[1],
            law.critical_point_interval[0] <= CRITICAL <= law.critical_point_interval[1],
        ]
        widths.append(np.ptp(law.exponent_interval))
        estimates.append(law.exponent)
    assert (covered >= binom.ppf(1e-3, runs, 0.9)).all()
    assert np.median(widths) / (2 * 1.645) < 1.6 * np.std(estimates)


@pytest.mark.slow
def test_what_the_data_do_not_fix_is_undetermined():
    control = np.linspace(1, 2, 12)  # an exponential: steeper and steeper powers from farther and farther away
    value, se = with_noise(np.exp(control), 0.05, 5)
    law = fit_power_law(control, value, se, quantity="order_parameter")
    assert law.undetermined


@pytest.mark.slow
def test_same_seed_same_result_as_plain_values():
    value, se = with_noise(1.3 * T**0.125, 0.01, 6)
    one, again = (fit_power_law(CONTROL, value, se, quantity="order_parameter", seed=4) for _ in range(2))
    assert one == again
    assert json.loads(json.dumps(one.to_dict()))["exponent_interval"] == list(one.exponent_interval)
    with pytest.raises(FrozenInstanceError):
        one.exponent = 1.0


BAD = {
    "quantity": ({"quantity": "beta"}, "quantity is 'beta'"),
    "lengths": ({"value": T[:-1]}, "expected equal lengths"),
    "negative": ({"value": -T}, "value has the entry -0.6"),
    "zero error": ({"value_se": np.zeros(30)}, "value_se has the entry 0"),
    "nan": ({"value": np.append(T[:-1], np.nan)}, r"value\[29\] is nan"),
    "few": ({"control": CONTROL[:5], "value": T[:5]}, "control has 5 different entries; expected at least 6"),
    "both sides": ({"critical_point": 1.9}, "expected one side of the critical point 1.9"),
    "infinite": ({"critical_point": np.inf}, "critical_point is inf"),
    "seed": ({"seed": -1}, "seed is -1"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused(change, message):
    given = {"control": CONTROL, "value": T**0.5, "value_se": None, "quantity": "order_parameter"} | change
    with pytest.raises(InputError, match=message):
        fit_power_law(given.pop("control"), given.pop("value"), given.pop("value_se"), **given)
