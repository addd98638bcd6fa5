"""Scores of a detector on curves whose transitions are known."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llckit.transitions.synthetic import Planted
from llckit.transitions.transition import Transition

__all__ = ["Match", "Scores", "match", "scores"]

FLAT_FROM = 1.5  # widths from a logistic step's centre, where 82 % of it are done


@dataclass(frozen=True)
class Match:
    """What was found in one curve, beside what was planted.

    Attributes:
        found: Number of transitions found.
        planted: Number of transitions planted.
        pairs: Index of the planted transition and index of the finding, for each planted transition that was found.
    """

    found: int
    planted: int
    pairs: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Scores:
    """Scores of a detector over many curves.

    Attributes:
        precision: Share of the findings that are right.
        recall: Share of the planted transitions that were found.
        f1: Harmonic mean of precision and recall.
        kind_accuracy: Share of the right findings with the right type.
        location_error: Median of |location - truth| over the right findings, in widths of the transition.
        coverage: Share of the right findings whose interval of the location holds the truth.
    """

    precision: float
    recall: float
    f1: float
    kind_accuracy: float
    location_error: float
    coverage: float


def match(found: Sequence[Transition], truth: Planted) -> Match:
    """Pair findings with planted transitions.

    A finding is right if it moves the same way as a planted transition, contains its steepest point, and has both
    boundaries on the flat intervals around it. These begin `FLAT_FROM` widths from the centres of the transition and of
    its neighbours.

    Args:
        found: Transitions found, in order.
        truth: The curve in which they were found.

    Returns:
        The pairs.
    """
    centres, margin = np.log1p(truth.location), FLAT_FROM * truth.width
    after = np.append(centres[1:] - margin, np.inf)
    before = np.append(-np.inf, centres[:-1] + margin)
    pairs = []
    for k, centre in enumerate(centres):
        for j, transition in enumerate(found):
            start, end = np.log1p(transition.start), np.log1p(transition.end)
            on_flats = before[k] <= start <= centre - margin and centre + margin <= end <= after[k]
            if on_flats and transition.delta_llc * truth.delta_llc[k] > 0:
                pairs.append((k, j))
    return Match(len(found), len(centres), tuple(pairs))


def scores(results: Sequence[tuple[Sequence[Transition], Planted]]) -> Scores:
    """Score a detector.

    Args:
        results: What the detector found in each curve, and the curve.

    Returns:
        The scores; NaN if there is nothing to count.
    """
    matches = [match(found, truth) for found, truth in results]
    right, found, planted = (
        sum(counts) for counts in zip(*((len(m.pairs), m.found, m.planted) for m in matches), strict=True)
    )
    kinds, errors, covered = [], [], []
    for (transitions, truth), matched in zip(results, matches, strict=True):
        for k, j in matched.pairs:
            transition, location = transitions[j], truth.location[k]
            kinds.append(transition.kind == truth.kinds[k])
            errors.append(abs(np.log1p(transition.location) - np.log1p(location)) / truth.width)
            if np.isfinite(transition.location_interval).all():
                covered.append(transition.location_interval[0] <= location <= transition.location_interval[1])
    return Scores(
        precision=right / found if found else np.nan,
        recall=right / planted if planted else np.nan,
        f1=2 * right / (found + planted) if found + planted else np.nan,
        kind_accuracy=float(np.mean(kinds)) if kinds else np.nan,
        location_error=float(np.median(errors)) if errors else np.nan,
        coverage=float(np.mean(covered)) if covered else np.nan,
    )
