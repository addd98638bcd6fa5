"""Where a smooth moves and where it rests: the stages of one curve.

A stage runs between neighbouring boundaries. A boundary lies where the absolute slope is locally least: at an
extremum of the curve, or on a plateau between two rises or two falls. Every local maximum of the absolute slope
starts out as a stage of its own; the least supported one is then merged into its neighbours until

* every stage changes the curve by `CHANGE_SIGMAS` posterior standard deviations and by `LEAST_CHANGE` of its range;
* between two rises (or two falls) the slope dips below `PLATEAU_SHARE` of the lesser one, and by `DIP_SIGMAS`.

Where a stage meets a stretch in which nothing moves (the flat end of a run, or a rest longer than both of its
neighbours), it ends where its slope has dropped to `EDGE_SHARE` of its steepest, and the flat is no stage.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.smooth import Smooth

__all__ = ["Place", "Stage", "boundaries", "stages"]

Array = NDArray[np.float64]

CHANGE_SIGMAS = 4.0
LEAST_CHANGE = 0.01
DIP_SIGMAS = 2.0
PLATEAU_SHARE = 0.5
EDGE_SHARE = 0.1
FLAT_SIGMAS = 3.0  # a flat changes by less than this many standard deviations, or by less than
FLAT_SHARE = 0.03  # this share of what the stage before it changes,
FLAT_SLOPE = 0.2  # its slope is below this share of the stage's steepest,
FLAT_LENGTH = 0.05  # and it fills this share of the curve, at least


@dataclass(frozen=True)
class Place:
    """A place on the x axis and its central 95 % posterior interval."""

    x: float
    low: float
    high: float


@dataclass(frozen=True)
class Stage:
    """One move of a curve.

    Attributes:
        start: Where it begins.
        end: Where it ends.
        steepest: Where the absolute slope is largest.
        first: Index of the grid point next to `start`.
        last: Index of the grid point next to `end`.
    """

    start: Place
    end: Place
    steepest: Place
    first: int
    last: int


def boundaries(smooth: Smooth) -> list[Place]:
    """The places between neighbouring moves of a curve.

    Args:
        smooth: The smoothed curve.

    Returns:
        One place per pair of neighbouring moves, in order; empty where the curve moves once or not at all.
    """
    peaks = _supported_peaks(smooth)
    return [_between(smooth, left, right) for left, right in zip(peaks, peaks[1:], strict=False)]


def stages(smooth: Smooth) -> list[Stage]:
    """The stretches in which a curve moves.

    Args:
        smooth: The smoothed curve.

    Returns:
        The stages in order; a flat curve has none.
    """
    peaks = _supported_peaks(smooth)
    if not peaks:
        return []
    cuts = _cuts(smooth, peaks)
    ends = [Place(smooth.x[cut], smooth.x[cut], smooth.x[cut]) for cut in (cuts[0], cuts[-1])]
    places = [ends[0], *boundaries(smooth), ends[1]]
    starts, stops = places[:-1], places[1:]
    moved = np.abs(np.diff(smooth.value[cuts]))
    rest = 0
    if _is_flat(smooth, 0, _edge(smooth, peaks[0], cuts[0]), peaks[0], moved[0], rest):
        starts[0] = _edge_place(smooth, peaks[0], cuts[0])
    if _is_flat(smooth, _edge(smooth, peaks[-1], cuts[-1]), len(smooth.x) - 1, peaks[-1], moved[-1], rest):
        stops[-1] = _edge_place(smooth, peaks[-1], cuts[-1])
    for index, (left, right) in enumerate(zip(peaks, peaks[1:], strict=False)):
        first, last = _edge(smooth, left, cuts[index + 1]), _edge(smooth, right, cuts[index + 1])
        before, after = smooth.x[first] - starts[index].x, stops[index + 1].x - smooth.x[last]
        lesser = min(left, right, key=lambda peak: abs(smooth.slope[peak]))
        if _is_flat(smooth, first, last, lesser, moved[index : index + 2].min(), max(before, after)):
            stops[index] = _edge_place(smooth, left, cuts[index + 1])
            starts[index + 1] = _edge_place(smooth, right, cuts[index + 1])
    return [_stage(smooth, peak, start, stop) for peak, start, stop in zip(peaks, starts, stops, strict=True)]


def _stage(smooth: Smooth, peak: int, start: Place, end: Place) -> Stage:
    first, last = (int(np.abs(smooth.x - place.x).argmin()) for place in (start, end))
    inside = np.sign(smooth.slope[peak]) * smooth.slope_draws[:, first : last + 1]
    steepest = _place(smooth.x[first + inside.argmax(axis=1)], at=smooth.x[peak])
    return Stage(start, end, steepest, first, last)


def _supported_peaks(smooth: Smooth) -> list[int]:
    """Grid indices of the steepest points of the moves that the posterior supports."""
    speed = np.abs(smooth.slope)
    padded = np.concatenate([[-1.0], speed, [-1.0]])
    peaks = list(np.flatnonzero((padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:]) & (speed > 0)))
    while peaks:
        support, weakest = _weakest(smooth, peaks)
        if support >= 1:
            break
        peaks.remove(weakest)
    return peaks


def _weakest(smooth: Smooth, peaks: list[int]) -> tuple[float, int]:
    """The peak with the least support, in units of the support it needs."""
    cuts = _cuts(smooth, peaks)
    spread = np.ptp(smooth.value)
    scores = []
    for peak, first, last in zip(peaks, cuts, cuts[1:], strict=False):
        change = abs(smooth.value[last] - smooth.value[first])
        deviation = (smooth.value_draws[:, last] - smooth.value_draws[:, first]).std()
        scores.append((min(change / (CHANGE_SIGMAS * deviation), change / (LEAST_CHANGE * spread)), peak))
    for left, right, cut in zip(peaks, peaks[1:], cuts[1:], strict=False):
        sign = np.sign(smooth.slope[left])
        if sign == np.sign(smooth.slope[right]):
            lesser = min(left, right, key=lambda peak: abs(smooth.slope[peak]))
            dip = sign * (smooth.slope[lesser] - smooth.slope[cut])
            deviation = (smooth.slope_draws[:, lesser] - smooth.slope_draws[:, cut]).std()
            share = dip / abs(smooth.slope[lesser])
            scores.append((min(dip / (DIP_SIGMAS * deviation), share / (1 - PLATEAU_SHARE)), lesser))
    return min(scores)


def _cuts(smooth: Smooth, peaks: list[int]) -> list[int]:
    """Grid indices of the run's start, of the boundaries between neighbouring peaks, and of the run's end."""
    inner = []
    for left, right in zip(peaks, peaks[1:], strict=False):
        score = _restfulness(smooth.value[None], smooth.slope[None], smooth, left, right)
        inner.append(left + int(score[0].argmax()))
    return [0, *inner, len(smooth.x) - 1]


def _between(smooth: Smooth, left: int, right: int) -> Place:
    score = _restfulness(smooth.value_draws, smooth.slope_draws, smooth, left, right)
    return _place(smooth.x[left + score.argmax(axis=1)])


def _restfulness(values: Array, slopes: Array, smooth: Smooth, left: int, right: int) -> Array:
    """A score over left..right whose largest entry is the boundary: the extremum, or the least slope."""
    sign = np.sign(smooth.slope[left])
    if sign == np.sign(smooth.slope[right]):
        return -sign * slopes[:, left : right + 1]
    return sign * values[:, left : right + 1]


def _edge(smooth: Smooth, peak: int, cut: int) -> int:
    """The first grid index, going from a peak to a cut, where the slope is down to EDGE_SHARE of its steepest."""
    return int(_edges(smooth.slope[None], smooth, peak, cut)[0])


def _edge_place(smooth: Smooth, peak: int, cut: int) -> Place:
    return _place(smooth.x[_edges(smooth.slope_draws, smooth, peak, cut)])


def _edges(slopes: Array, smooth: Smooth, peak: int, cut: int) -> NDArray[np.intp]:
    path = np.arange(peak, cut + 1) if cut >= peak else np.arange(peak, cut - 1, -1)
    along = np.sign(smooth.slope[peak]) * slopes[:, path]
    low = along <= EDGE_SHARE * along[:, :1]
    return path[np.where(low.any(axis=1), low.argmax(axis=1), len(path) - 1)]


def _is_flat(smooth: Smooth, first: int, last: int, peak: int, moved: float, least_length: float) -> bool:
    """Whether nothing moves between two grid points, against a stage that peaks at `peak` and moves by `moved`."""
    length = smooth.x[last] - smooth.x[first]
    if least_length == 0:
        least_length = max(
            FLAT_LENGTH * (smooth.x[-1] - smooth.x[0]), 0.5 * min(abs(smooth.x[peak] - smooth.x[[first, last]]))
        )
    if last <= first or length <= least_length:
        return False
    change = abs(smooth.value[last] - smooth.value[first])
    deviation = (smooth.value_draws[:, last] - smooth.value_draws[:, first]).std()
    small = max(FLAT_SIGMAS * deviation, FLAT_SHARE * moved)
    return change <= small and (change + 2 * deviation) / length <= FLAT_SLOPE * abs(smooth.slope[peak])


def _place(draws: Array, at: float | None = None) -> Place:
    """A place from its draws: their median, unless the place is known, and their central 95 %."""
    low, middle, high = np.quantile(draws, [0.025, 0.5, 0.975])
    x = middle if at is None else at
    return Place(float(x), float(min(low, x)), float(max(high, x)))
