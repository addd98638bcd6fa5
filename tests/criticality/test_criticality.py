"""Finite-size scaling on an exactly enumerated transition and on planted exponents; the scaling relations."""

import json

import numpy as np
import pytest
from scipy.special import gammaln

import llckit as lk

SIZES = (256, 512, 1024, 2048, 4096)


def curie_weiss(size, temperature):
    """<|m|> and N <m²> of N spins with energy −M²/2N, by summing over all magnetisations M."""
    magnetisation = np.arange(-size, size + 1, 2)
    up = (magnetisation + size) // 2
    log_weight = (
        gammaln(size + 1) - gammaln(up + 1) - gammaln(size - up + 1) + magnetisation**2 / (2 * size * temperature)
    )
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    m = magnetisation / size
    return weight @ np.abs(m), size * (weight @ m**2)


def enumerated(which):
    rows = [
        (size, 1 + x / np.sqrt(size), curie_weiss(size, 1 + x / np.sqrt(size))[which])
        for size in SIZES
        for x in np.linspace(-2, 2, 15)
    ]
    return dict(zip(("size", "control", "value"), np.array(rows).T, strict=True))


@pytest.mark.parametrize(("which", "ratio"), [(0, -1 / 4), (1, 1 / 2)])
def test_curie_weiss(which, ratio):
    found = lk.finite_size_scaling(**enumerated(which))
    # Corrections to scaling fall off as N^(-1/2), which is 6 % at the smallest size.
    assert found.nu_star == pytest.approx(2, rel=0.05)
    assert found.ratio == pytest.approx(ratio, abs=0.02)
    assert found.critical_point == pytest.approx(1, abs=0.002)
    json.dumps(found.to_dict())


def planted(rng, noise, nu_star=1.5, ratio=-0.3, critical=0.4):
    size, control = (a.ravel() for a in np.meshgrid([50, 100, 200, 400], np.linspace(0.3, 0.5, 21), indexing="ij"))
    x = (control - critical) * size ** (1 / nu_star)
    clean = size**ratio * (1 + np.tanh(x))
    se = noise * size**ratio
    return {"size": size, "control": control, "value": clean + se * rng.normal(size=len(size)), "value_se": se}


def test_planted_exponents_are_found_and_covered():
    exact = planted(np.random.default_rng(0), 1e-6)
    found = lk.finite_size_scaling(**exact)
    assert (found.nu_star, found.ratio, found.critical_point) == pytest.approx((1.5, -0.3, 0.4), abs=2e-3)
    hits = 0
    for seed in range(12):
        found = lk.finite_size_scaling(**planted(np.random.default_rng(seed), 0.02), seed=seed)
        hits += found.nu_star_interval[0] <= 1.5 <= found.nu_star_interval[1]
        assert found.nu_star_interval[0] < found.nu_star < found.nu_star_interval[1]
        assert 0.3 < found.quality < 3
    assert hits >= 9  # binomial(12, 0.95): fewer has probability 0.3 %


def test_a_wrong_family_does_not_collapse():
    data = planted(np.random.default_rng(1), 0.01)
    data["value"] = data["value"] + 0.2 * np.sin(data["size"])  # nothing scales with that
    assert lk.finite_size_scaling(**data).quality > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": np.full(84, 50.0)}, "size"),
        ({"size": -np.ones(84)}, "size"),
        ({"control": np.zeros(84)}, "control"),
        ({"value": np.full(84, np.nan)}, "value"),
        ({"value": np.ones(84)}, "value"),
        ({"value": np.ones(3)}, "Lengths differ"),
        ({"value_se": np.zeros(84)}, "value_se"),
    ],
)
def test_wrong_input(change, message):
    with pytest.raises(lk.InputError, match=message):
        lk.finite_size_scaling(**(planted(np.random.default_rng(0), 0.01) | change))


EXPONENTS = {
    "2D Ising": {"alpha": 0, "beta": 1 / 8, "gamma": 7 / 4, "delta": 15, "nu_star": 2},
    "mean field": {"alpha": 0, "beta": 1 / 2, "gamma": 1, "delta": 3, "nu_star": 2},
    "2D percolation": {"alpha": -2 / 3, "beta": 5 / 36, "gamma": 43 / 18, "delta": 91 / 5, "nu_star": 8 / 3},
    "2D 3-state Potts": {"alpha": 1 / 3, "beta": 1 / 9, "gamma": 13 / 9, "delta": 14, "nu_star": 5 / 3},
}


@pytest.mark.parametrize("exponents", EXPONENTS.values(), ids=EXPONENTS)
def test_known_exponents_keep_the_laws(exponents):
    found = {law.name: law.residual for law in lk.scaling_relations(**exponents)}
    assert set(found) == {"Rushbrooke", "Widom", "Josephson"}
    assert list(found.values()) == pytest.approx([0, 0, 0], abs=1e-12)


def test_a_violated_law_shows_by_how_much():
    (law,) = lk.scaling_relations(alpha=0.0, nu_star=2.3)
    assert law.name == "Josephson"
    assert law.residual == pytest.approx(0.3)
