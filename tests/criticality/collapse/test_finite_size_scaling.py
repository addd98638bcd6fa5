"""Finite-size scaling: planted exponents, coverage of the intervals, exact values of Curie and Weiss, bad input."""

import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from scipy.stats import binom

from llckit import toys
from llckit.criticality import finite_size_scaling
from llckit.errors import InputError

TRUTH = {"critical_point": 1.0, "nu_star": 2.0, "ratio": -0.25}
MASTER_CURVES = {
    "order parameter": lambda x: 1 / (1 + np.exp(x)),
    "susceptibility": lambda x: 1 / (1 + x**2),
    "cumulant": lambda x: np.tanh(x) + 0.3 * x,
}


def planted(
    master,
    sizes=(64, 128, 256, 512, 1024),
    controls=20,
    noise=0.0,
    seed=0,
    critical_point=1.0,
    nu_star=2.0,
    ratio=-0.25,
):
    """Measurements that collapse exactly, with Gaussian noise in units of the curve's height."""
    random = np.random.default_rng(seed)
    size = np.repeat(np.array(sizes, dtype=float), controls)
    x_most = 4 * np.linspace(-1, 1, controls)
    control = np.tile(critical_point + x_most * max(sizes) ** (-1 / nu_star), len(sizes))
    value = size**ratio * master((control - critical_point) * size ** (1 / nu_star))
    se = noise * np.ptp(master(x_most)) * size**ratio
    return {"size": size, "control": control, "value": value + se * random.standard_normal(len(size)), "value_se": se}


@pytest.mark.slow
@pytest.mark.parametrize("master", MASTER_CURVES.values(), ids=MASTER_CURVES.keys())
def test_exact_collapse_gives_the_planted_exponents(master):
    data = planted(master)
    fss = finite_size_scaling(size=data["size"], control=data["control"], value=data["value"])
    for name, truth in TRUTH.items():
        assert getattr(fss, name) == pytest.approx(truth, abs=1e-3)
        low, high = getattr(fss, f"{name}_interval")
        assert high - low < 5e-3
    assert fss.quality < 2e-5  # what the interpolation between 20 controls leaves
    assert fss.undetermined == ()


@pytest.mark.slow
@pytest.mark.parametrize("known_se", [True, False])
def test_intervals_cover_the_truth(known_se):
    runs = 12
    results = []
    for seed in range(runs):
        data = planted(MASTER_CURVES["order parameter"], (64, 128, 256, 512), controls=10, noise=0.02, seed=seed)
        if not known_se:
            del data["value_se"]
        results.append(finite_size_scaling(**data))
    fewest = binom.ppf(1e-3, runs, 0.95)
    for name, truth in TRUTH.items():
        estimate = np.array([getattr(one, name) for one in results])
        low, high = np.array([getattr(one, f"{name}_interval") for one in results]).T
        assert ((low <= truth) & (truth <= high)).sum() >= fewest
        # Nor wider than they need to be; a standard deviation of 12 estimates is known to a factor 1.6 at most.
        assert np.median(high - low) / (2 * 1.96) < 1.6 * estimate.std()
    if known_se:
        quality = np.array([one.quality for one in results])
        assert 0.7 < quality.mean() < 1.1
        assert np.mean([one.quality_interval[0] <= 1 <= one.quality_interval[1] for one in results]) > 0.8


@pytest.mark.slow
def test_weak_data_get_wide_intervals():
    covered = 0
    for seed in range(5):
        fss = finite_size_scaling(**planted(MASTER_CURVES["cumulant"], (64, 128, 256), 12, noise=0.02, seed=seed))
        low, high = fss.nu_star_interval
        assert high > 2 * low
        covered += low <= 2 <= high and fss.ratio_interval[0] <= -0.25 <= fss.ratio_interval[1]
    assert covered >= 4


@pytest.mark.slow
@pytest.mark.parametrize(("observable", "ratio"), [("order_parameter", -1 / 4), ("susceptibility", 1 / 2)])
@pytest.mark.parametrize("smallest", [64, 256])
def test_curie_weiss_exponents_with_the_correction_that_exact_data_prefer(observable, ratio, smallest):
    sizes = [size for size in (64, 128, 256, 512, 1024, 2048, 4096) if size >= smallest]
    data = toys.curie_weiss(sizes, 1 + np.linspace(-1, 1, 21) / np.sqrt(sizes)[:, None])
    fss = finite_size_scaling(size=data.size, control=data.control, value=getattr(data, observable))
    assert fss.critical_point == pytest.approx(1, abs=1e-3)
    assert fss.nu_star == pytest.approx(2, rel=0.02)
    assert fss.ratio == pytest.approx(ratio, rel=0.02)
    # The expansion of the free energy goes on in powers of 1/√N.
    assert fss.correction_exponent == pytest.approx(0.5, abs=0.1)
    assert fss.quality < 1e-4


@pytest.mark.slow
def test_noise_hides_the_correction_where_there_is_none():
    data = planted(MASTER_CURVES["order parameter"], noise=0.02)
    assert finite_size_scaling(**data).correction_exponent is None


@pytest.mark.slow
def test_correction_is_found_and_keeps_nu_star():
    data = planted(MASTER_CURVES["order parameter"], noise=0.003, seed=1)
    x = (data["control"] - 1) * data["size"] ** 0.5
    bent = data["value"] * (1 + 4 * data["size"] ** -0.7 * np.exp(-((x / 2) ** 2)))
    fss = finite_size_scaling(**(data | {"value": bent}))
    assert fss.correction_exponent == pytest.approx(0.7, abs=0.15)
    low, high = fss.nu_star_interval
    assert low <= 2 <= high
    assert high - low < 0.4
    assert 0.5 < fss.quality < 1.5


@pytest.mark.slow
def test_units_and_order_of_the_measurements_do_not_matter():
    data = planted(MASTER_CURVES["order parameter"], (64, 128, 256, 512), controls=10, noise=0.02)
    plain = finite_size_scaling(**data)
    order = np.random.default_rng(1).permutation(len(data["size"]))
    changed = finite_size_scaling(
        size=3 * data["size"][order] ** 2,
        control=5 - 100 * data["control"][order],
        value=1e6 * (data["size"] * data["value"])[order],
        value_se=1e6 * (data["size"] * data["value_se"])[order],
    )
    assert changed.critical_point == pytest.approx(5 - 100 * plain.critical_point, abs=0.01)
    assert changed.nu_star == pytest.approx(2 * plain.nu_star, rel=1e-3)
    assert changed.ratio == pytest.approx((plain.ratio + 1) / 2, abs=1e-3)
    assert changed.quality == pytest.approx(plain.quality, rel=1e-2)


@pytest.mark.slow
def test_repeats_are_averaged():
    data = planted(MASTER_CURVES["order parameter"], (64, 128, 256), controls=8, noise=0.02)
    plain = finite_size_scaling(**data)
    shift = 0.7 * data["value_se"]
    repeated = finite_size_scaling(
        size=np.tile(data["size"], 2),
        control=np.concatenate([data["control"], data["control"] * (1 + 1e-15)]),
        value=np.concatenate([data["value"] + shift, data["value"] - shift]),
        value_se=np.sqrt(2) * np.tile(data["value_se"], 2),
    )
    for name, value in plain.to_dict().items():
        if value is None:
            assert getattr(repeated, name) is None
            continue
        assert getattr(repeated, name) == pytest.approx(tuple(value) if isinstance(value, list) else value, rel=1e-3)


@pytest.mark.slow
def test_curves_that_do_not_collapse_have_a_high_quality_value_and_wider_intervals():
    data = planted(MASTER_CURVES["order parameter"], (64, 128, 256, 512), controls=10, noise=0.01)
    good = finite_size_scaling(**data)
    x = (data["control"] - 1) * data["size"] ** 0.5
    alternating = np.where(np.isin(data["size"], (64, 256)), 1, -1)
    distortion = 0.15 * data["size"] ** -0.25 * alternating * np.exp(-(x**2))
    bad = finite_size_scaling(**(data | {"value": data["value"] + distortion}))
    assert good.quality < 1.5
    assert bad.quality > 5
    assert bad.quality_interval[0] > 1.5
    for name in ("critical_point_interval", "ratio_interval"):
        assert np.ptp(getattr(bad, name)) > 2 * np.ptp(getattr(good, name))


@pytest.mark.slow
def test_a_size_that_changes_nothing_leaves_nu_star_undetermined():
    data = planted(MASTER_CURVES["order parameter"], (64, 128, 256), controls=8, noise=0.02)
    data["value"] = 1 / (1 + np.exp(40 * (data["control"] - 1)))
    data["value"] += 0.02 * np.random.default_rng(0).standard_normal(24)
    fss = finite_size_scaling(**(data | {"value_se": np.full(24, 0.02)}))
    assert "nu_star" in fss.undetermined
    assert fss.nu_star_interval[1] > 40
    assert fss.ratio_interval[0] <= 0 <= fss.ratio_interval[1]


@pytest.mark.slow
def test_same_seed_same_result_and_other_seed_same_estimate():
    data = planted(MASTER_CURVES["order parameter"], (64, 128, 256), controls=8, noise=0.02)
    one, again, other = (finite_size_scaling(**data, seed=seed) for seed in (3, 3, 4))
    assert one == again
    assert other != one
    assert other.nu_star == pytest.approx(one.nu_star, rel=1e-3)
    assert np.ptp(other.nu_star_interval) == pytest.approx(np.ptp(one.nu_star_interval), rel=0.3)
    assert json.loads(json.dumps(one.to_dict()))["nu_star_interval"] == list(one.nu_star_interval)
    with pytest.raises(FrozenInstanceError):
        one.nu_star = 1.0


SMALL = planted(MASTER_CURVES["order parameter"], (64, 128, 256), controls=8, noise=0.02)
ALMOST_THE_SAME = {name: array[:16] for name, array in SMALL.items()} | {
    "size": np.repeat([64, 65], 8),
    "control": np.concatenate([SMALL["control"][:8], SMALL["control"][:8] + 0.45]),
}
BAD_INPUT = {
    "unequal lengths": ({"value": SMALL["value"][:-1]}, "value has 23.* entries; expected equal lengths"),
    "one size": ({"size": np.full(24, 64.0)}, "size has 1 different entry"),
    "size of zero": (("size", 3, 0), "size has the entry 0"),
    "negative size": (("size", 3, -64), "size has the entry -64"),
    "too few controls": ({name: array[:19] for name, array in SMALL.items()}, "3 different value.* at size 256"),
    "the same control": ({"control": np.ones(24)}, "1 different value.* at size 64"),
    "nan": (("value", 5, np.nan), r"value\[5\] is nan"),
    "inf": (("control", 6, np.inf), r"control\[6\] is inf"),
    "zero error": (("value_se", 2, 0), "value_se has the entry 0"),
    "negative error": (("value_se", 2, -1), "value_se has the entry -1"),
    "no overlap": ({"control": SMALL["control"] + SMALL["size"]}, "for size 256 .*; expected ranges that overlap"),
    "hardly any overlap of sizes that are almost the same": (ALMOST_THE_SAME, "overlap more"),
    "constant": ({"value": np.ones(24)}, "value is constant at size 64"),
    "one constant size": (("value", slice(8, 16), 0.5), "value is constant at size 128"),
    "text": ({"value": ["a"] * 24}, "value has shape .* expected a list of numbers"),
    "table": ({"value": SMALL["value"][:, None]}, r"value has shape \(24, 1\)"),
    "nothing": ({"size": []}, r"size has shape \(0,\)"),
    "seed": ({"seed": -1}, "seed is -1"),
    "seed of another type": ({"seed": 0.5}, "seed is 0.5"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("change", "message"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_bad_input_is_refused(spoiled, change, message):
    with pytest.raises(InputError, match=message):
        finite_size_scaling(**spoiled(SMALL, change))


@pytest.mark.slow
def test_fewest_measurements_that_are_accepted():
    data = planted(MASTER_CURVES["order parameter"], (64, 128), controls=4, noise=0.01)
    fss = finite_size_scaling(**data)
    assert np.isfinite(fss.quality)
    assert fss.nu_star_interval[0] <= 2 <= fss.nu_star_interval[1]


@pytest.mark.slow
def test_extreme_units_are_survived():
    data = planted(MASTER_CURVES["order parameter"], (64, 128, 256), controls=8, noise=0.02)
    plain = finite_size_scaling(**data)
    for unit in (1e-150, 1e150):
        extreme = {name: unit * array for name, array in data.items()}
        fss = finite_size_scaling(**extreme)
        assert fss.nu_star == pytest.approx(plain.nu_star, rel=1e-3)
        assert fss.critical_point == pytest.approx(unit * plain.critical_point, rel=1e-3)
