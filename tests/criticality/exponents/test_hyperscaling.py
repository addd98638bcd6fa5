"""The hyperscaling test: exact and planted laws that hold or fail, and all ways to be inconclusive."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import llckit as lk
from llckit.criticality import hyperscaling_test
from llckit.errors import InputError

NU_STAR, BETA_RATIO = 1.8, 0.1


def planted(violation=0.0, noise=0.03, seed=0, sizes=(64, 128, 256, 512, 1024)):
    """Curves that collapse with ν* 1.8, and a specific heat whose α breaks the law by the violation."""
    random = np.random.default_rng(seed)
    alpha = 2 - NU_STAR + violation
    size = np.repeat(np.array(sizes, dtype=float), 15)
    x = np.tile(np.linspace(-3, 3, 15), len(sizes))
    control = 1 + x * size ** (-1 / NU_STAR)
    exact = {
        "order_parameter": size**-BETA_RATIO / (1 + np.exp(x)),
        "susceptibility": size ** (1 - 2 * BETA_RATIO) / (1 + (x - 0.3) ** 2),
        "binder": (2 / 3) / (1 + np.exp(1.5 * x)),
        "specific_heat": size ** (alpha / NU_STAR) / (1 + 0.5 * (x + 0.2) ** 2),
    }
    se = {name: noise * np.array([v[size == n].max() for n in size]) for name, v in exact.items()}
    noisy = {name: v + se[name] * random.standard_normal(len(size)) for name, v in exact.items()}
    return {"size": size, "control": control, "observables": noisy, "se": se}


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes", [(64, 128, 256, 512, 1024, 2048, 4096), (256, 512, 1024, 2048, 4096), (64, 256, 1024, 4096)]
)
def test_curie_weiss_keeps_the_law(curie_weiss, sizes):
    test = hyperscaling_test(**curie_weiss(sizes))
    assert test.order == "continuous"
    assert test.verdict == "consistent"
    assert test.critical_point == pytest.approx(1, abs=1e-3)
    assert test.nu_star == pytest.approx(2, rel=0.02)
    assert test.beta_over_nu_star == pytest.approx(1 / 4, rel=0.02)
    assert test.gamma_over_nu_star == pytest.approx(1 / 2, rel=0.02)
    assert test.alpha == pytest.approx(0, abs=0.02)  # the specific heat jumps
    assert test.specific_heat_form in ("logarithm", "jump")
    assert test.correction_exponent == pytest.approx(0.5, abs=0.1)
    assert dict(test.sources) == {
        "nu_star": ("order_parameter", "susceptibility", "binder"),
        "alpha": ("specific_heat",),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("violation", "verdict"), [(0.0, "consistent"), (0.3, "violated"), (-0.3, "violated")])
def test_planted_law(violation, verdict):
    test = hyperscaling_test(**planted(violation, seed=3))
    assert test.order == "continuous"
    assert test.verdict == verdict
    # Four standard errors; an interval reaches 1.645 of them to each side.
    truths = {
        "critical_point": 1,
        "nu_star": NU_STAR,
        "alpha": 2 - NU_STAR + violation,
        "residual": violation,
        "alpha_over_nu_star": (2 - NU_STAR + violation) / NU_STAR,
        "beta_over_nu_star": BETA_RATIO,
        "gamma_over_nu_star": 1 - 2 * BETA_RATIO,
        "rushbrooke": violation,
    }
    for name, truth in truths.items():
        low, high = getattr(test, f"{name}_interval")
        assert low < getattr(test, name) < high
        assert abs(getattr(test, name) - truth) < 4 / 1.645 * (high - low) / 2
    assert np.ptp(test.residual_interval) < 0.3
    assert (test.p_value < 0.01) == (verdict == "violated")
    assert test.residual == pytest.approx(test.nu_star - 2 + test.alpha)
    assert test.specific_heat_form == ("cusp" if violation < 0 else "power")
    assert 0.6 < test.quality < 1.4
    assert test.correction_exponent is None


@pytest.mark.slow
def test_missing_values_and_units_do_not_matter():
    data = planted(0.3, seed=4)
    plain = hyperscaling_test(**data)
    many = {"size": np.tile(data["size"], 2), "control": 300 - 7 * np.tile(data["control"], 2)}
    missing = np.full(len(data["size"]), np.nan)
    for key in ("observables", "se"):
        many[key] = {
            name: 1e5 * np.concatenate([value, missing] if name == "specific_heat" else [missing, value])
            if name != "binder"
            else np.concatenate([missing, value])
            for name, value in data[key].items()
        }
    changed = hyperscaling_test(**many)
    assert changed.verdict == plain.verdict == "violated"
    assert changed.critical_point == pytest.approx(300 - 7 * plain.critical_point, abs=1e-3)
    for name in ("nu_star", "alpha", "residual"):
        assert getattr(changed, name) == pytest.approx(getattr(plain, name), rel=2e-2)


@pytest.mark.slow
def test_without_a_specific_heat_nu_star_is_measured_and_nothing_tested(only):
    test = hyperscaling_test(**only(planted(seed=5), "order_parameter", "binder"))
    assert test.verdict == "inconclusive"
    assert "No specific heat" in test.reason
    assert test.order == "continuous"
    assert test.nu_star_interval[0] < test.nu_star < test.nu_star_interval[1]
    assert test.alpha is None
    assert test.p_value is None
    assert test.gamma_over_nu_star is None


def test_a_specific_heat_alone_would_make_the_law_an_identity(only):
    test = hyperscaling_test(**only(planted(seed=5), "specific_heat"))
    assert test.verdict == "inconclusive"
    assert "identity" in test.reason
    assert test.nu_star is None


def test_two_sizes_are_too_few():
    test = hyperscaling_test(**planted(sizes=(64, 128)))
    assert test.verdict == "inconclusive"
    assert "too short" in test.reason


@pytest.mark.slow
def test_wide_intervals_are_inconclusive():
    test = hyperscaling_test(**planted(0.3, noise=0.15, sizes=(64, 96, 128), seed=6))
    assert test.verdict == "inconclusive"


@pytest.mark.slow
def test_a_collapse_better_than_its_errors_is_inconclusive():
    data = planted(seed=7)
    data["se"] = {name: 3 * value for name, value in data["se"].items()}
    test = hyperscaling_test(**data)
    assert test.quality < 0.5
    assert test.verdict == "inconclusive"
    assert "better than their standard errors allow" in test.reason


@pytest.mark.slow
def test_a_collapse_that_fails_is_inconclusive():
    data = planted(seed=8)
    data["observables"]["binder"] = data["observables"]["binder"] + 0.2 * np.isin(data["size"], (128, 512))
    test = hyperscaling_test(**data)
    assert test.verdict == "inconclusive"
    assert "do not collapse" in test.reason
    assert test.nu_star is None


@pytest.mark.slow
def test_sizes_that_are_no_part_of_the_collapse_are_left_out():
    data = planted(sizes=(32, 64, 128, 256, 512, 1024), seed=9)
    smallest = data["size"] == 32
    data["observables"]["order_parameter"][smallest] *= 1.5
    data["observables"]["binder"][smallest] *= 0.6
    test = hyperscaling_test(**data)
    assert test.smallest_size == pytest.approx(64)
    assert test.verdict == "consistent"


def test_no_dependence_on_the_size_is_a_crossover():
    data = planted(noise=0.03, seed=10)
    control, random = np.tile(np.linspace(-3, 3, 15), 5), np.random.default_rng(0)
    shapes = {"order_parameter": 1 / (1 + np.exp(control)), "specific_heat": 1 / (1 + control**2)}
    se = {name: np.full(75, 0.02) for name in shapes}
    noisy = {name: value + 0.02 * random.standard_normal(75) for name, value in shapes.items()}
    test = hyperscaling_test(size=data["size"], control=control, observables=noisy, se=se)
    assert (test.order, test.verdict, test.nu_star) == ("crossover", "inconclusive", None)


@pytest.mark.slow
def test_two_phases_keep_the_law_trivially(two_phases, only):
    test = hyperscaling_test(**only(two_phases(), "order_parameter", "binder", "specific_heat"))
    assert test.order == "first-order"
    assert test.verdict == "consistent"
    assert "trivially" in test.reason


@pytest.mark.slow
def test_same_seed_same_result_as_plain_values():
    data = planted(seed=11)
    one, again, other = (lk.hyperscaling_test(**data, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert isinstance(one, lk.HyperscalingTest)
    assert other.residual == one.residual
    assert np.ptp(other.residual_interval) == pytest.approx(np.ptp(one.residual_interval), rel=0.4)
    plain = json.loads(json.dumps(one.to_dict()))
    assert plain["residual_interval"] == list(one.residual_interval)
    assert plain["sources"]["alpha"] == ["specific_heat"]
    with pytest.raises(FrozenInstanceError):
        one.verdict = "consistent"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"observables": {"loss": np.ones(75)}}, "expected a mapping with any of"),
        ({"se": {"order_parameter": np.zeros(75)}}, "value_se has the entry 0"),
        ({"size": -np.ones(75)}, "size has the entry -1"),
        ({"control": np.full(75, np.nan)}, r"control\[0\] is nan"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        hyperscaling_test(**(planted() | change))
