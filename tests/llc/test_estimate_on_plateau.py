"""Which scale `estimate_llc` settles on: every way the ladder can go, with made-up curves."""

import math

import pytest

import llckit as lk
from llckit.llc.outcome import judge_scale
from llckit.llc.rungs import steady
from tests.llc.ladders import GAMMA, at, by_gamma, flat, made_up, rule, stairs


def test_where_it_is_flat_the_default_stays(search):
    found, rungs = search(flat)
    assert at(found) == (0, 0)
    assert rungs == [(0, 0), (1, 0)]
    assert rule(found).startswith("n_beta = n/ln(n), from which on the LLC is flat; localization")
    assert found.how_found.sampler == "none", "other settings are kept"


@pytest.mark.parametrize(
    ("values", "decade", "times"), [((1, 2, 2), 1, "10 "), ((1, 2, 3, 3), 2, "100 "), ((3, 2, 1, 1.01), 2, "100 ")]
)
def test_it_climbs_until_a_further_decade_changes_nothing(search, values, decade, times):
    found, rungs = search(stairs(*values))
    assert at(found) == (decade, 0)
    assert found.llc == values[decade]
    assert rungs == [(k, 0) for k in range(len(values))]
    assert rule(found).startswith(f"n_beta = {times}n/ln(n), from which on the LLC is flat; localization")


def test_where_it_never_is_the_default_stays(search):
    found, rungs = search(stairs(1, 2, 3, 4))
    assert at(found) == (0, 0)
    assert rungs == [(k, 0) for k in range(4)]
    assert rule(found).startswith(
        "n_beta = n/ln(n), as no plateau was found (3 decades on it still changes); localization"
    )


@pytest.mark.parametrize(
    ("second", "kept"),
    [(2.035, True), (2.047, False), (1.965, True), (1.95, False)],  # 2 % less an error of 0.14 %: ln(2.035/2) = 0.0173
)
def test_two_percent_is_the_most_a_decade_may_change(search, second, kept):
    found, rungs = search(stairs(2.0, second, second))
    assert at(found) == ((0, 0) if kept else (1, 0))
    assert len(rungs) == (2 if kept else 3)


@pytest.mark.parametrize(
    "change",
    [
        {"outcome": lk.Outcome.NOT_A_MINIMUM, "llc": -3.0},
        {"outcome": lk.Outcome.NOT_MIXED},
        {"outcome": lk.Outcome.NOT_SPREAD},
        {"outcome": lk.Outcome.OVERHEATED},
        {"outcome": lk.Outcome.DIVERGED, "llc": math.nan, "mcse": math.nan},
    ],
)
@pytest.mark.parametrize("decade", [1, 2])
def test_a_rung_that_fails_ends_the_ladder(search, change, decade):
    found, rungs = search(stairs(1, 2, 3, 3), {(decade, 0): change})
    assert at(found) == (0, 0)
    assert rungs == [(k, 0) for k in range(decade + 1)]
    assert f"as no plateau was found ({decade} decade{'s' * (decade > 1)} on: {change['outcome'].value}); " in rule(
        found
    )
    assert found.outcome is lk.Outcome.CONVERGED


def test_a_rung_that_is_not_sharp_ends_the_ladder(search):
    blunt = {"mcse": 0.05, "outcome": lk.Outcome.BUDGET_EXHAUSTED}
    found, rungs = search(flat, {(1, 0): blunt})
    assert at(found) == (0, 0)
    assert rungs == [(0, 0), (1, 0)]
    assert "as no plateau was found (1 decade on: budget exhausted)" in rule(found)


def test_a_short_budget_is_no_failure_where_the_error_is_small(search):
    found, _ = search(flat, {(k, 0): {"outcome": lk.Outcome.BUDGET_EXHAUSTED} for k in (0, 1)})
    assert "from which on the LLC is flat" in rule(found)


@pytest.mark.parametrize(("rel_tol", "outcome"), [(0.05, "budget exhausted"), (0.2, "converged")])
def test_an_error_that_ends_the_ladder_may_be_as_small_as_asked(search, rel_tol, outcome):
    """Rungs are asked for 2 %; what that many gradients do not give may be what the user wanted."""
    blunt = {"mcse": 0.3, "outcome": lk.Outcome.BUDGET_EXHAUSTED}  # of 2
    found, _ = search(flat, {(0, 0): blunt}, rel_tol=rel_tol)
    assert found.outcome.value == outcome
    assert "this estimate cannot tell: budget exhausted" in rule(found)


@pytest.mark.parametrize(
    "change",
    [
        {"mcse": 0.05, "outcome": lk.Outcome.BUDGET_EXHAUSTED},
        {"outcome": lk.Outcome.NOT_A_MINIMUM, "llc": -3.0},
        {"outcome": lk.Outcome.DIVERGED, "llc": math.nan, "mcse": math.nan, "sensitivity_localization": math.nan},
        {"llc": 0.0, "mcse": 0.0},
        {"mcse": 0.05},
    ],
)
def test_a_first_estimate_that_says_little_is_given_as_it_is(search, change):
    found, rungs = search(flat, {(0, 0): change}, leaning=-1.0)
    assert {*rungs} == {(0, 0)}
    assert found.outcome is judge_scale(change.get("outcome", lk.Outcome.CONVERGED), found.llc, found.leans)
    assert "n_beta = n/ln(n), as no plateau was found (this estimate cannot tell: " in rule(found)


def test_nbeta_is_raised_where_no_smaller_localization_helps(search):
    found, rungs = search(lambda t, g: (1 - math.log10(g)) * min(t, 10), leaning=-0.5, rising=0.5)
    assert rungs == [(0, 0), (0, -2), (0, -3), (1, 0), (2, 0)]
    assert at(found) == (1, 0)
    assert rule(found).startswith("n_beta = 10 n/ln(n), from which on the LLC is flat; localization")


@pytest.mark.parametrize(
    ("values", "decade"),
    [
        ((1, 1.04, 1.06), 2),  # changes 3.9 %, 1.9 %: 3.7 % are still to come
        ((1, 1.04, 1.05), 1),  # 3.9 %, 0.96 %: 1.3 %
        ((1, 1.04, 1.02), 1),  # back again
        ((1.06, 1.02, 1.005), 2),  # the same downwards
        ((1, 0.95, 0.97), 1),
    ],
)
def test_a_drift_that_goes_on_makes_it_the_higher_of_two_that_agree(search, values, decade):
    found, rungs = search(stairs(*values))
    assert rungs == [(0, 0), (1, 0), (2, 0)]
    assert at(found) == (decade, 0)
    assert found.llc == values[decade]


@pytest.mark.parametrize(
    ("second", "third", "decade"),
    [(1.07, 0.98, 1), (1.09, 0.98, None), (1.07, 1.66, None)],  # 2 % and twice 2.55 %; the last goes on rising
)
def test_two_errors_are_allowed_where_one_finds_no_plateau(search, second, third, decade):
    error = 0.018
    blunt = {(1, 0): {"mcse": error * 1.2}, (2, 0): {"mcse": error * 1.2 * second}}
    found, rungs = search(stairs(1.5, 1.2, 1.2 * second, 1.2 * third), blunt)
    assert rungs[:4] == [(k, 0) for k in range(4)]
    assert at(found) == ((0, 0) if decade is None else (decade, 0))
    assert ("no plateau" in rule(found)) == (decade is None)
    assert ("10 n/ln(n), from which on the LLC is flat within two errors; " in rule(found)) == (decade == 1)


def test_a_drift_within_errors_is_no_plateau(search):
    found, rungs = search(stairs(1, 1.04, 1.082, 1.125), {(k, 0): {"mcse": 0.01} for k in range(4)})
    assert rungs == [(k, 0) for k in range(4)]
    assert at(found) == (0, 0)
    assert "no plateau was found (3 decades on it still changes)" in rule(found)


def test_no_smaller_localization_is_tried_where_nbeta_alone_gives_a_plateau(search):
    found, rungs = search(stairs(1, 2, 2), leaning=-0.5)
    assert at(found) == (1, 0)
    assert all(gamma == 0 for _, gamma in rungs)


def test_without_a_plateau_in_either_the_reason_is_that_of_nbeta(search):
    found, rungs = search(by_gamma(1, 2, 3, 4), {(2, 0): {"outcome": lk.Outcome.NOT_MIXED}}, leaning=-0.5)
    assert at(found) == (0, 0)
    assert rungs == [(0, 0), (1, 0), (2, 0), (0, -1), (0, -2), (0, -3)]
    assert "as no plateau was found (2 decades on: chains not mixed)" in rule(found)


@pytest.mark.parametrize(("ladder", "back"), [(1, True), (-1, False)])
def test_a_higher_nbeta_may_bring_a_value_back_into_its_bracket_a_lower_localization_may_not(search, ladder, back):
    outside = {(0, 0): {"outcome": lk.Outcome.OUTSIDE_BRACKET}}

    def curve(t, g):
        return 1.0 if (t, g) == (1, 1) else 2.0 if (t > 1) == (ladder > 0) else 2.0 * t

    found, rungs = search(curve, outside, leaning=-0.5)
    assert at(found) == ((1, 0) if back else (0, 0))
    assert found.outcome is (lk.Outcome.CONVERGED if back else lk.Outcome.OUTSIDE_BRACKET)
    assert rungs[-1] == ((2, 0) if back else (0, -1))


@pytest.mark.parametrize("name", ["leaning", "rising"])
@pytest.mark.parametrize(
    ("values", "depends"), [((1, 2, 3, 4), True), ((1, 1, 1, 1), False)], ids=["no plateau", "plateau"]
)
def test_only_a_plateau_in_nbeta_makes_a_value_that_leans_the_llc(search, values, depends, name):
    for lean in (0.09, 0.11):
        found, _ = search(stairs(*values), given=GAMMA, **{name: lean})
        assert (found.outcome is lk.Outcome.SCALE_DEPENDENT) == (depends and lean > 0.1)


def test_a_plateau_in_localization_does_not_excuse_a_lean_on_nbeta(search):
    found, _ = search(by_gamma(2, 2, 2, 2), {(0, 0): {"sensitivity_n_beta": 0.21}}, leaning=0.05)
    assert "flat in localization" in rule(found)
    assert found.outcome is lk.Outcome.SCALE_DEPENDENT


@pytest.mark.parametrize(
    ("leans", "rungs"),
    [
        ([0.5, 0.4], 2),  # 0.4 (4/5)² ln 10 is 59 % in the last decade
        ([0.5, 0.09], 4),  # 0.09 (0.18)² ln 10 = 0.7 %, and the next does not lean
        ([0.5, 0.09, 0.08], 3),  # 0.08 (8/9) ln 10 = 16 %
        ([0.1, -0.2], 2),  # a lean that grows
        ([0.0, 0.0, 0.0], 4),
    ],
)
def test_a_ladder_that_cannot_end_in_a_plateau_is_left_at_once(search, leans, rungs):
    curve = stairs(1.0, 2.0, 3.0, 4.0)
    said = {(k, 0): {"sensitivity_n_beta": lean * (1 + k)} for k, lean in enumerate(leans)}
    found, visited = search(curve, said)
    assert visited == [(k, 0) for k in range(rungs)]
    assert at(found) == (0, 0)
    assert f"no plateau was found ({rungs - 1} decade{'s' * (rungs > 2)} on it still changes)" in rule(found)


def test_noise_of_a_lean_ends_no_ladder(search):
    for error, rungs in ((0.1, 2), (0.21, 4)):
        said = {(1, 0): {"sensitivity_n_beta": 2 * 0.4, "sensitivity_n_beta_mcse": 2 * error}}
        _, visited = search(stairs(1, 2, 3, 4), said, rising=0.4)
        assert len(visited) == rungs


@pytest.mark.parametrize(("depth", "rungs"), [(0.022, 4), (0.0224, 1)])  # of 2: 9 times that is a tenth
def test_a_checkpoint_above_its_minimum_is_not_looked_at_more_finely(search, depth, rungs):
    found, visited = search(lambda t, g: 2 + math.log10(t), {(0, 0): {"depth": depth}}, leaning=-0.5)
    assert visited[:4] == [(k, 0) for k in range(rungs)]
    assert ((0, -1) in visited) == (rungs > 1), "a smaller localization would not make it a minimum either"
    assert ("(here w* lies too far above a minimum near by)" in rule(found)) == (rungs == 1)
    assert found.outcome is lk.Outcome.SCALE_DEPENDENT


@pytest.mark.parametrize(("values", "tried"), [((2, 1), False), ((1, 2), True)])
def test_the_localization_is_not_lowered_where_the_estimate_falls_with_nbeta(search, values, tried):
    leans = {(k, 0): {"sensitivity_n_beta": (values[1] - values[0]) * 0.4} for k in range(2)}
    _, visited = search(lambda t, g: stairs(*values)(t, g) - 0.5 * math.log10(g), leans, leaning=-0.06)
    assert visited[:2] == [(0, 0), (1, 0)]
    assert (visited[2:3] == [(0, -1)]) == tried


def test_either_side_of_a_hump_is_no_plateau(search):
    _, visited = search(by_gamma(2, 2, 2, 2), {(0, -1): {"sensitivity_localization": 0.25}}, leaning=0.25)
    assert visited[4:] == [(0, -1)]


@pytest.mark.parametrize(("error", "again"), [(0.019, True), (0.009, False)])
def test_only_the_rung_that_is_taken_is_as_precise_as_asked(search, error, again):
    blunt = {(k, 0): {"mcse": error * llc} for k, llc in enumerate((1, 2, 2))}
    found, visited = search(stairs(1, 2, 2), blunt)
    assert visited == [(0, 0), (1, 0), (2, 0), *[(1, 0)] * again]
    assert found.mcse == pytest.approx(2 * (0.01 if again else error))
    assert found.grad_evals_total == 1000 * len(visited)
    assert "n_beta = 10 n/ln(n), from which on the LLC is flat" in rule(found)


def test_a_lean_that_is_sure_makes_it_the_higher_of_two_that_agree(search):
    for rising, decade in ((0.039, 0), (0.041, 1)):  # of 2
        found, _ = search(flat, rising=rising)
        assert at(found) == (decade, 0)


def test_what_the_whole_search_took_is_counted(search):
    found, rungs = search(stairs(1, 2, 3, 3))
    assert found.grad_evals_total == 1000 * len(rungs) == 4000
    assert found.how_found.grad_evals == 1000


def test_steady_is_two_percent_and_one_standard_error():
    def pair(change, *errors):
        return [
            made_up(llc, mcse=error * llc) for llc, error in zip((3.0, 3.0 * math.exp(change)), errors, strict=True)
        ]

    for sign in (1, -1):
        assert steady(*pair(sign * 0.0199, 0, 0))
        assert not steady(*pair(sign * 0.0201, 0, 0))
        assert steady(*pair(sign * 0.0699, 0.03, 0.04))  # 2 % + √(3² + 4²) %
        assert not steady(*pair(sign * 0.0701, 0.03, 0.04))


def test_where_the_first_rung_leans_on_localization_the_next_is_taken(search):
    found, rungs = search(flat, leaning=-0.1)  # of 2: 5 % per e-fold
    assert rungs == [(0, 0), (1, 0)]
    assert at(found) == (1, 0)
    found, _ = search(flat, leaning=-0.03)
    assert at(found) == (0, 0)


def test_localization_is_lowered_no_further_where_it_holds_nothing_and_nbeta_still_decides(search):
    free = {(0, -2): {"sensitivity_n_beta": 0.5, "sensitivity_localization": -0.1}}  # of 3
    found, rungs = search(lambda t, g: (1 - math.log10(g)) * t, free, leaning=-0.5, rising=0.5)
    assert rungs[:3] == [(0, 0), (0, -2), (1, 0)]
    assert at(found) == (0, -2)
    assert found.outcome is lk.Outcome.SCALE_DEPENDENT


@pytest.mark.parametrize(("rising", "again"), [(0.5, 0), (0.0, 1)])
def test_a_value_that_depends_on_its_scale_stays_at_two_percent(search, rising, again):
    rough = {(0, 0): {"mcse": 0.03}}
    found, rungs = search(stairs(1, 2, 3, 4), rough, rising=rising)
    assert rungs.count((0, 0)) == 1 + again
    assert found.mcse == (0.01 if again else 0.03)
