"""Decisions are values: their words are rendered from them, and they survive being stored."""

import json

import pytest

import llckit as lk
from llckit.llc.gradients import (
    AllSamples,
    Cause,
    FixedSubset,
    Gradients,
    GradientsReason,
    Guided,
    Minibatches,
    read_gradients,
)
from llckit.llc.scale_reason import LadderEnd, LocalizationRule, NBetaRule, NotCommon, ScaleReason

WEIGHTS = LocalizationRule.WEIGHTS
SCALES = {
    "n_beta given; localization given": ScaleReason(NBetaRule.GIVEN, LocalizationRule.GIVEN),
    "n_beta = n/ln(n); localization 1, as all weights are 0": ScaleReason(
        NBetaRule.DEFAULT, LocalizationRule.ZERO_WEIGHTS
    ),
    "n_beta one of a ladder; localization from the size of the weights": ScaleReason(NBetaRule.LADDER, WEIGHTS),
    "n_beta = n/ln(n), from which on the LLC is flat; localization given; at the last checkpoint": ScaleReason(
        NBetaRule.PLATEAU, LocalizationRule.GIVEN, at_last_checkpoint=True
    ),
    "n_beta = 100 n/ln(n), from which on the LLC is flat within two errors; localization given": ScaleReason(
        NBetaRule.PLATEAU, LocalizationRule.GIVEN, decade=2, within_two_errors=True
    ),
    "n_beta = n/ln(n), with the LLC flat in localization; localization shrinks regular directions by 0.1 %, a 10th of "
    "it": ScaleReason(NBetaRule.PLATEAU_IN_LOCALIZATION, LocalizationRule.SHRINKAGE, lowered=1),
    "n_beta = n/ln(n), as no plateau was found (1 decade on: chains not mixed); localization given": ScaleReason(
        NBetaRule.NO_PLATEAU, LocalizationRule.GIVEN, ended=LadderEnd(1, lk.Outcome.NOT_MIXED)
    ),
    "n_beta = n/ln(n), as no plateau was found (2 decades on: its error is above 2 %); localization given": ScaleReason(
        NBetaRule.NO_PLATEAU, LocalizationRule.GIVEN, ended=LadderEnd(2)
    ),
    "n_beta = n/ln(n), as no plateau was found (this estimate cannot tell: it is not above 0); localization given": (
        ScaleReason(NBetaRule.NO_PLATEAU, LocalizationRule.GIVEN, ended=LadderEnd(0, is_positive=False))
    ),
    "n_beta = n/ln(n), as no plateau was found (3 decades on it still changes); localization from the size of the "
    "weights, a 100th of it": ScaleReason(
        NBetaRule.NO_PLATEAU, WEIGHTS, lowered=2, ended=LadderEnd(3, still_changes=True)
    ),
    "n_beta = n/ln(n), as looking for a plateau would cost too much; localization from the size of the weights, as the "
    "smaller one from the curvature would cost too much, and an e times larger one takes 9% of regular "
    "directions": (ScaleReason(NBetaRule.NOT_SEARCHED, LocalizationRule.AFFORDABLE, shrinkage=0.094)),
    "n_beta = n/ln(n), as no plateau was found (here w* lies too far above a minimum near by); localization given": (
        ScaleReason(NBetaRule.NO_PLATEAU, LocalizationRule.GIVEN, ended=LadderEnd(0, is_minimum=False))
    ),
    "n_beta = n/ln(n), as no plateau was found (after the first estimate the budget is spent); localization given": (
        ScaleReason(NBetaRule.NO_PLATEAU, LocalizationRule.GIVEN, ended=LadderEnd(0, is_out_of_time=True))
    ),
    "n_beta = n/ln(n), as looking for a plateau would cost too much; localization given": ScaleReason(
        NBetaRule.NOT_SEARCHED, LocalizationRule.GIVEN
    ),
    "n_beta = n/ln(n), since 3 of 5 checkpoints cannot be measured at 1448, where the last one is flat; localization "
    "given": ScaleReason(NBetaRule.NOT_COMMON, LocalizationRule.GIVEN, not_common=NotCommon(1447.6, 3, 5)),
    "as it was kept; in words": ScaleReason.earlier("as it was kept; in words"),
}
GRADIENTS = {
    "all samples": AllSamples(GradientsReason(Cause.SAMPLER_GIVEN)),
    "all samples, which is affordable": AllSamples(GradientsReason(Cause.AFFORDABLE)),
    "all samples, since the minimum of a fixed subset lies 6.12 below w*": AllSamples(
        GradientsReason(Cause.OTHER_MINIMUM, 6.1234), warm_up=90
    ),
    "fixed subset, given": FixedSubset(GradientsReason(Cause.GIVEN), 700),
    "fixed subset: it has its minimum at w*": FixedSubset(GradientsReason(Cause.SAME_MINIMUM), 512),
    "minibatches": Minibatches(GradientsReason(Cause.SAMPLER_GIVEN), 64),
    "minibatches, given": Minibatches(GradientsReason(Cause.GIVEN), 64, has_control=False, warm_up=90),
    "minibatches guide and all samples decide, given": Guided(GradientsReason(Cause.GIVEN), 64),
    "minibatches guide and all samples decide, since what is exact would cost more": Guided(
        GradientsReason(Cause.TOO_LARGE), 750
    ),
    "as it was kept": Guided(GradientsReason(Cause.EARLIER, text="as it was kept"), 750),
}


@pytest.mark.parametrize("words", SCALES)
def test_why_a_scale_was_taken(words):
    assert str(SCALES[words]) == words
    assert ScaleReason.from_dict(json.loads(json.dumps(SCALES[words].to_dict(), allow_nan=False))) == SCALES[words]


@pytest.mark.parametrize("words", GRADIENTS)
def test_why_gradients_are_of_their_kind(words):
    assert str(GRADIENTS[words]) == words
    assert read_gradients(json.loads(json.dumps(GRADIENTS[words].to_dict(), allow_nan=False))) == GRADIENTS[words]


@pytest.mark.parametrize(("change", "taken"), [({}, 0.094), ({"lowered": 1}, 0.0), ({"decade": 1}, 0.0)])
def test_what_localization_takes_is_known_where_the_search_began(change, taken):
    reason = ScaleReason(NBetaRule.NO_PLATEAU, LocalizationRule.AFFORDABLE, shrinkage=0.094, **change)
    assert reason.taken == taken
    assert ("9%" in str(reason)) == (taken > 0)


def test_every_reason_is_among_these():
    assert {reason.n_beta for reason in SCALES.values()} == {*NBetaRule}
    assert {reason.localization for reason in SCALES.values()} == {*LocalizationRule}
    assert {kind.reason.cause for kind in GRADIENTS.values()} == {*Cause}
    assert {type(kind) for kind in GRADIENTS.values()} == {*Gradients.__subclasses__()}


def test_a_kind_of_gradients_that_nobody_knows_is_refused():
    with pytest.raises(ValueError, match="'sideways' is no kind of gradients"):
        read_gradients(AllSamples(GradientsReason(Cause.AFFORDABLE)).to_dict() | {"kind": "sideways"})
