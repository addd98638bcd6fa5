"""`judge`: where one verdict ends and the next begins, on made-up figures."""

import dataclasses
import math

import numpy as np
import pytest

from llckit import Outcome
from llckit.llc import LIMITS
from llckit.llc.bounds import Bounds
from llckit.llc.outcome import judge, judge_scale
from llckit.llc.statistics import Z95, Statistics
from llckit.sampling import Trace
from llckit.sampling.diagnostics import EXPLORED

GOOD = Statistics(
    llc=10.0,
    mcse=0.1,
    llc_per_chain=np.full(4, 10.0),
    llc_variance=10.0,
    sensitivity_n_beta=0.0,
    sensitivity_n_beta_mcse=0.1,
    sensitivity_localization=0.0,
    sensitivity_localization_mcse=0.1,
    observed={},
    virial=1.0,
    virial_mcse=0.01,
    rhat=1.0,
    drifts=False,
    ess=1000.0,
    heat=0.0,
)
NO_DRAWS = np.empty((0, 4))
TRACE = Trace(
    *6 * [NO_DRAWS],
    grad_evals=0,
    num_burnin=0,
    step_size=0.1,
    turning_length=0.0,
    scale_ratio=1.0,
    rel_tol=0.02,
    diverged=False,
)
BOUNDS = Bounds(lower=8.0, upper=12.0, lower_finite=8.0, below=0.0, above=0.0)


def verdict(
    *, diverged=False, is_exact=True, rel_tol=0.02, bounds=BOUNDS, dim=100, steps=0, turning_length=0.0, **changes
):
    statistics = dataclasses.replace(GOOD, **changes)
    trace = dataclasses.replace(
        TRACE, diverged=diverged, rel_tol=rel_tol, num_burnin=steps, turning_length=turning_length
    )
    return judge(statistics, trace, dim=dim, is_exact=is_exact, bounds=bounds)


def test_what_is_good_has_converged():
    assert verdict() is Outcome.CONVERGED
    assert verdict(rel_tol=None, mcse=5.0, bounds=None) is Outcome.CONVERGED


@pytest.mark.parametrize(
    ("inside", "outside", "outcome"),
    [
        ({"llc": -Z95 * 0.1 + 1e-9}, {"llc": -Z95 * 0.1 - 1e-9}, Outcome.NOT_A_MINIMUM),
        ({"rhat": LIMITS.rhat}, {"rhat": LIMITS.rhat + 1e-9}, Outcome.NOT_MIXED),
        ({"drifts": False}, {"drifts": True}, Outcome.NOT_MIXED),
        ({"virial": 0.87 + 1e-9}, {"virial": 0.87 - 1e-9}, Outcome.NOT_SPREAD),
        ({"virial": 1.13 - 1e-9}, {"virial": 1.13 + 1e-9}, Outcome.OVERHEATED),
        ({"heat": 2.5}, {"heat": 2.5 + 1e-9}, Outcome.OVERHEATED),
        ({"mcse": 0.2}, {"mcse": 0.2 + 1e-9}, Outcome.BUDGET_EXHAUSTED),
    ],
)
def test_each_limit_is_where_it_says(inside, outside, outcome):
    assert verdict(bounds=None, **inside) is not outcome
    assert verdict(bounds=None, **outside) is outcome


@pytest.mark.parametrize(("end", "sign"), [(8.0, -1), (12.0, 1)])
def test_the_bracket_is_left_by_two_intervals(end, sign):
    reach = LIMITS.bracket_mcse * 0.1
    assert verdict(llc=end + sign * (reach - 1e-9)) is Outcome.CONVERGED
    assert verdict(llc=end + sign * (reach + 1e-9)) is Outcome.OUTSIDE_BRACKET


def test_inexact_samplers_are_allowed_less_heat_where_the_llc_is_small():
    # 2 λ̂/dim of a tenth: all of the virial's surplus may be in the few directions that the LLC counts
    surplus = {"virial": 1 + 0.2 * LIMITS.virial + 0.03 + 1e-9}
    assert verdict(is_exact=True, **surplus) is Outcome.CONVERGED
    assert verdict(is_exact=False, **surplus) is Outcome.OVERHEATED
    assert verdict(is_exact=False, dim=10, **surplus) is Outcome.CONVERGED


def test_flat_directions_may_stay_unexplored_after_many_steps_with_long_trajectories():
    little = {"virial": 0.4, "steps": EXPLORED, "turning_length": 30.0}  # 4 λ̂ is 40, and so is the virial
    assert verdict(**little) is Outcome.CONVERGED
    for missing in ({"steps": EXPLORED - 1}, {"turning_length": 0.0}, {"virial": 0.39}, {"is_exact": False}):
        assert verdict(**little | missing) is Outcome.NOT_SPREAD


def test_the_first_that_holds_decides():
    bad = {"llc": -5.0, "rhat": 2.0, "virial": 0.5}
    assert verdict(diverged=True, **bad) is Outcome.DIVERGED
    assert verdict(**bad) is Outcome.NOT_A_MINIMUM
    assert verdict(**(bad | {"llc": 5.0})) is Outcome.NOT_MIXED
    assert verdict(llc=math.nan, mcse=math.nan, rhat=math.nan) is Outcome.NOT_MIXED


def test_advice_names_the_limits():
    assert f"{LIMITS.rhat:g}" in Outcome.NOT_MIXED.advice
    assert f"{1 - LIMITS.virial:g}" in Outcome.NOT_SPREAD.advice
    assert f"{LIMITS.heat:.0%}" in Outcome.OVERHEATED.advice


@pytest.mark.parametrize("name", ["sensitivity_n_beta", "sensitivity_localization"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_lean_of_a_tenth_per_e_fold_depends_on_the_scale(name, sign):
    for size, error, depends in ((1.001, 0.0, True), (0.999, 0.0, False), (1.001, 0.5, True), (1.001, 0.501, False)):
        found = dataclasses.replace(GOOD, **{name: sign * size, f"{name}_mcse": error})  # of 10
        expected = Outcome.SCALE_DEPENDENT if depends else Outcome.CONVERGED
        assert judge_scale(Outcome.CONVERGED, found.llc, found.leans) is expected, (size, error)


def test_what_the_curvature_knows_of_a_localization_that_is_too_large_depends_on_the_scale():
    for shrinkage, expected in ((0.021, Outcome.SCALE_DEPENDENT), (0.019, Outcome.CONVERGED)):
        assert judge_scale(Outcome.CONVERGED, GOOD.llc, GOOD.leans, shrinkage) is expected
    assert judge_scale(Outcome.NOT_MIXED, GOOD.llc, GOOD.leans, 0.5) is Outcome.NOT_MIXED


def test_only_trusted_values_are_asked_whether_they_depend_on_their_scale():
    leaning = dataclasses.replace(GOOD, sensitivity_n_beta=5.0)
    for outcome in Outcome:
        expected = Outcome.SCALE_DEPENDENT if outcome.trusted else outcome
        assert judge_scale(outcome, leaning.llc, leaning.leans) is expected
        assert judge_scale(outcome, GOOD.llc, GOOD.leans) is outcome
    assert Outcome.SCALE_DEPENDENT.trusted
    assert f"{LIMITS.lean:.0%}" in Outcome.SCALE_DEPENDENT.advice


def test_heat_that_pairs_have_measured_may_show_in_the_virial():
    hot = {"virial": 1.05, "virial_mcse": 0.001, "dim": 1000, "is_exact": False}
    assert verdict(**hot) is Outcome.OVERHEATED
    statistics = dataclasses.replace(GOOD, virial=1.05, virial_mcse=0.001, heat=0.02 * GOOD.llc)
    measured = dataclasses.replace(TRACE, heat=np.ones((4, 2)))
    found = judge(statistics, measured, dim=1000, is_exact=False, bounds=BOUNDS)
    assert found is Outcome.CONVERGED
    too_hot = dataclasses.replace(statistics, heat=0.3 * GOOD.llc)
    assert judge(too_hot, measured, dim=1000, is_exact=False, bounds=BOUNDS) is Outcome.OVERHEATED
