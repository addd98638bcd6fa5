"""The order of a transition: exact systems of each order, and what decides where observables are missing."""

import numpy as np
import pytest

from llckit.criticality import transition_order
from llckit.criticality.exponents.decisions import OrderReason
from llckit.criticality.exponents.observables import measured_curves
from llckit.criticality.exponents.order_rules import first_order
from llckit.errors import InputError

SIZES = (64, 128, 256, 512, 1024)
X = np.linspace(-3, 3, 15)


def ising_chain():
    """Exact values of an open chain at temperatures where the correlation length is far below its length."""
    rows = []
    for n in SIZES:
        temperature = np.linspace(0.8, 2.5, 15)
        t = np.tanh(1 / temperature)
        chi = (1 + t) / (1 - t) - 2 * t * (1 - t**n) / (n * (1 - t) ** 2)
        heat = (1 - t**2) / temperature**2
        rows.append([np.full(15, n), temperature, np.sqrt(chi / n), chi, np.full(15, np.nan), heat])
    return as_measurements(rows)


def as_measurements(rows):
    size, control, *values = np.concatenate(rows, axis=1)
    names = ("order_parameter", "susceptibility", "binder", "specific_heat")
    observables = {name: value for name, value in zip(names, values, strict=True) if np.isfinite(value).any()}
    return {"size": size, "control": control, "observables": observables}


def smooth(seed):
    """Curves that do not depend on the size, with noise."""
    size, control = np.repeat(SIZES, 15).astype(float), np.tile(X, 5)
    observables = {"order_parameter": 1 / (1 + np.exp(control)), "susceptibility": 1 / np.cosh(control / 2) ** 2}
    random = np.random.default_rng(seed)
    se = {name: np.full(75, 0.02) for name in observables}
    observables = {name: value + 0.02 * random.standard_normal(75) for name, value in observables.items()}
    return {"size": size, "control": control, "observables": observables, "se": se}


def without(data, *names):
    rest = {name: value for name, value in data["observables"].items() if name not in names}
    return data | {"observables": rest}


@pytest.mark.slow
def test_curie_weiss_is_continuous(curie_weiss):
    assert transition_order(**curie_weiss(SIZES, 15)).order == "continuous"


@pytest.mark.slow
def test_two_phases_are_first_order_with_and_without_a_binder_cumulant(two_phases):
    found = transition_order(**two_phases())
    assert found.order == "first-order"
    assert "Binder" in found.reason
    found = transition_order(**without(two_phases(), "binder"))
    assert found.order == "first-order"
    assert "specific_heat" in found.reason


@pytest.mark.slow
def test_the_bimodality_shows_two_phases_without_a_binder_cumulant(two_phases):
    data = without(two_phases(), "binder", "susceptibility", "specific_heat")
    assert transition_order(**data).order != "first-order"
    share, v = 1 / (1 + np.exp(data["size"] * data["control"] / 2)), 0.5 / data["size"]
    pq = share * (1 - share)  # of Gaussians of width² v, their distance 0.8
    two, three = 0.64 * pq + v, 0.512 * pq * (1 - 2 * share)
    four = 0.4096 * pq * (1 - 3 * pq) + 3.84 * pq * v + 3 * v**2
    bimodality = (three**2 / two**3 + 1) * two**2 / four
    found = transition_order(**(data | {"observables": data["observables"] | {"bimodality": bimodality}}))
    assert found.order == "first-order"
    assert "bimodality" in found.reason


def test_a_nu_star_that_is_hardly_known_is_no_sign_of_two_phases(two_phases):
    curves = measured_curves(**without(two_phases(), "binder") | {"se": None})
    decision = first_order(curves, kappa=1.0, kappa_se=0.05, bimodality=None)
    assert decision is not None
    assert decision.reason is OrderReason.PEAK_GROWS_AS_VOLUME
    assert "two phases" in decision.sentence()
    assert first_order(curves, kappa=1.0, kappa_se=0.2, bimodality=None) is None


@pytest.mark.slow
@pytest.mark.parametrize("data", [ising_chain(), smooth(0), smooth(1)], ids=["chain", "smooth", "smooth too"])
def test_no_transition_is_a_crossover(data):
    assert transition_order(**data).order == "crossover"


@pytest.mark.slow
def test_curves_that_do_not_collapse_are_undetermined(curie_weiss):
    data = curie_weiss(SIZES, 15)
    size, control = data["size"], data["control"]
    shift = np.where(np.isin(size, (128, 512)), 1, -1)
    value = size**-0.25 / (1 + np.exp(3 * (control - 1) * size**0.5 + shift))
    found = transition_order(
        size=size, control=control, observables={"order_parameter": value}, se={"order_parameter": 0.01 * value}
    )
    assert found.order == "undetermined"
    assert "do not collapse" in found.reason


def test_a_specific_heat_alone_says_nothing(curie_weiss, only):
    assert transition_order(**only(curie_weiss(SIZES, 15), "specific_heat")).order == "undetermined"


BAD = {
    "unknown name": ({"observables": {"magnetisation": np.ones(75)}}, "expected a mapping with any of order_parameter"),
    "no mapping": ({"observables": np.ones(75)}, "expected a mapping with any of"),
    "nothing": ({"observables": {}}, "expected a mapping with any of"),
    "unknown error": ({"se": {"binder": np.ones(75)}}, "expected standard errors under names of observables"),
    "lengths": (
        {"observables": {"order_parameter": np.ones(74)}, "se": None},
        "order_parameter has 74 entries; expected equal lengths",
    ),
    "infinite": ({"observables": {"order_parameter": np.full(75, np.inf)}, "se": None}, r"order_parameter\[0\] is inf"),
    "constant": ({"observables": {"order_parameter": np.ones(75)}, "se": None}, "value is constant at size 64"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        transition_order(**(smooth(0) | change))
