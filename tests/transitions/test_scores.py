"""The scores themselves, and the detector's on curves with and without planted transitions."""

import dataclasses

import numpy as np
import pytest

from llckit.transitions import detect_transitions
from llckit.transitions.scores import match, scores
from llckit.transitions.synthetic import TRENDS, random_planted, random_trend


@pytest.fixture(scope="module")
def truth():
    return next(planted for seed in range(100) if len((planted := random_planted(seed)).location) == 3)


def findings(truth):
    """What a perfect detector would say."""
    template = detect_transitions(truth.curve)[0]
    centres = np.log1p(truth.location)
    middles = [0.0, *((centres[1:] + centres[:-1]) / 2), np.log1p(truth.curve.step[-1])]
    return [
        dataclasses.replace(
            template,
            start=np.expm1(middles[k]),
            end=np.expm1(middles[k + 1]),
            delta_llc=truth.delta_llc[k],
            kind=truth.kinds[k],
            location=truth.location[k],
            location_interval=(truth.location[k], truth.location[k]),
        )
        for k in range(3)
    ]


@pytest.mark.slow
def test_a_perfect_detector_is_perfect(truth):
    found = scores([(findings(truth), truth)])
    assert dataclasses.astuple(found) == (1, 1, 1, 1, 0, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "right"),
    [
        (lambda f, w: f[:2], 2),
        (lambda f, w: [f[0], dataclasses.replace(f[1], delta_llc=-f[1].delta_llc), f[2]], 2),
        (lambda f, w: [dataclasses.replace(f[0], end=f[1].end), f[2]], 1),
        (lambda f, w: [*f[:2], dataclasses.replace(f[2], start=np.expm1(np.log1p(f[2].location) - w))], 2),
        (lambda f, w: [*f[:2], dataclasses.replace(f[2], start=np.expm1(np.log1p(f[2].location) - 2 * w))], 3),
    ],
    ids=["one missed", "wrong direction", "two in one", "begins within the move", "begins on the flat"],
)
def test_what_is_wrong_does_not_count(truth, spoil, right):
    found = spoil(findings(truth), truth.width)
    assert len(match(found, truth).pairs) == right
    scored = scores([(found, truth)])
    assert scored.recall == right / 3
    assert scored.precision == right / len(found)


def test_nothing_found_has_no_precision(truth):
    scored = scores([([], truth)])
    assert (scored.recall, scored.f1) == (0, 0)
    assert np.isnan(scored.precision)


@pytest.mark.slow
def test_the_detector_finds_what_is_planted():
    """A few of the curves of benchmarks/detector/transitions.py, where it is 0.97 right."""
    planted = [random_planted(seed, signal_to_noise=10) for seed in range(8)]
    found = scores([(detect_transitions(truth.curve), truth) for truth in planted])
    count = sum(len(truth.location) for truth in planted)
    slack = 3 * np.sqrt(0.97 * 0.03 / count)
    assert min(found.precision, found.recall, found.f1) >= 0.97 - slack
    assert found.kind_accuracy == 1


@pytest.mark.slow
def test_the_detector_is_silent_where_nothing_happens():
    for seed in range(8):
        kind, curve = random_trend(seed)
        assert len(detect_transitions(curve)) <= (kind != "constant")


def test_trends_are_what_they_are_called():
    for seed, kind in enumerate(TRENDS):
        name, curve = random_trend(seed)
        assert name == kind
        slope = np.gradient(3 - curve.loss, np.log1p(curve.step))  # the loss has the trend without its noise
        assert {"constant": np.allclose(slope, 0), "linear": np.allclose(slope, slope[0])}.get(kind, slope.min() > 0)
