"""Where a smooth moves and where it rests: the stages of one curve.

A stage runs between neighbouring boundaries. A boundary lies where the absolute slope is locally least: at an
extremum of the curve, or on a plateau between two rises or two falls. Every local maximum of the absolute slope
starts out as a stage of its own; the least supported one is then merged into its neighbours until

* every stage changes the curve by `CHANGE_SIGMAS` posterior standard deviations and by `LEAST_CHANGE` of its range;
* between two rises (or two falls) the slope dips below `PLATEAU_SHARE` of the lesser peak, by `DIP_SIGMAS`.

Both numbers of standard deviations are multiplied by a caution, which `caution_for` gives for the number of false
boundaries that is allowed.

A stage that leads into a flat stretch, at an end of the run or before the next stage, stops where its slope has
dropped to `EDGE_SHARE` of its steepest; the flat itself is no stage.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from llckit.transitions.smooth import Smooth

__all__ = ["Place", "Stage", "boundaries", "caution_for", "stages", "supported_peaks"]

Array = NDArray[np.float64]

CHANGE_SIGMAS = 4.0
LEAST_CHANGE = 0.01
DIP_SIGMAS = 1.5
PLATEAU_SHARE = 0.5
EDGE_SHARE = 0.15
# False boundaries in a curve without any, by caution: counted in 2000 of `synthetic.random_trend`, from 0.7 on in 3000.
FALSE_BOUNDARIES = {0.3: 0.16, 0.4: 0.08, 0.5: 0.04, 0.6: 0.02, 0.7: 0.0095, 0.8: 0.0065, 1.0: 0.0025}
MANY = 30  # checkpoints, the fewest that these had
REFIT_WIDENING = 1.15  # for the bias of the smooth, which refits share: covers 92 % in benchmarks/transitions.py
# A flat stretch: its change is within FLAT_SIGMAS, or a small share of the stage's; its slope is surely below
# FLAT_SLOPE of the stage's steepest; it fills FLAT_LENGTH of the curve and half the way from steepest point to edge.
FLAT_SIGMAS = 3.0
FLAT_AFTER = 0.08
FLAT_BEFORE = 0.05  # beyond its edge a logistic step in ln t has 3.9 %; a motion linear in t from the start has 5.7 %
FLAT_SLOPE = 0.2
FLAT_LENGTH = 0.05


@dataclass(frozen=True)
class Place:
    """A place on the x axis and its central 90 % interval."""

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
        steepest_draws: Where that is if the noise is drawn again, shape `(draws,)`.
        first: Index of the grid point next to `start`.
        last: Index of the grid point next to `end`.
    """

    start: Place
    end: Place
    steepest: Place
    steepest_draws: Array
    first: int
    last: int


def caution_for(false_boundaries: float, checkpoints: int) -> float:
    """How cautious to be for at most that many false boundaries in a curve that has none, on average.

    Args:
        false_boundaries: The bound, positive.
        checkpoints: How many the curve has. The noise of few is itself uncertain: from `MANY` down the normal
            distribution gives way to Student's, with as many degrees of freedom as a parabola and the noise leave.

    Returns:
        The factor of standard deviations, read off `FALSE_BOUNDARIES` on a logarithmic scale, and beyond its ends along
        the line through them.
    """
    caution = np.array(list(FALSE_BOUNDARIES))
    logs = np.log(list(FALSE_BOUNDARIES.values()))
    asked = float(np.log(false_boundaries))
    slope = (caution[-1] - caution[0]) / (logs[-1] - logs[0])
    beyond = min(asked - logs[-1], 0.0) + max(asked - logs[0], 0.0)
    many = float(np.interp(-asked, -logs, caution) + slope * beyond)
    chance = stats.norm.sf(many * CHANGE_SIGMAS)
    few = stats.t.isf(chance, min(checkpoints, MANY) - 4) / stats.t.isf(chance, MANY - 4)
    return many * float(few)


def supported_peaks(smooth: Smooth, caution: float = 1.0) -> list[int]:
    """Where the moves that the posterior supports are steepest.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a move has to show.

    Returns:
        Grid indices, ascending.
    """
    speed = np.abs(smooth.slope)
    padded = np.concatenate([[-1.0], speed, [-1.0]])
    is_peak = (speed > padded[:-2]) & (speed >= padded[2:]) & (speed > 0)
    peaks = [int(index) for index in np.flatnonzero(is_peak)]
    while peaks:
        support, weakest = _least_supported(smooth, peaks, caution)
        if support >= 1:
            break
        peaks.remove(weakest)
    return peaks


def boundaries(smooth: Smooth, caution: float = 1.0, peaks: list[int] | None = None) -> list[Place]:
    """The places between neighbouring moves of a curve.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a move has to show.
        peaks: Its `supported_peaks` where they are known already.

    Returns:
        One place per pair of neighbouring moves, in order; none where the curve moves once or not at all.
    """
    return _boundaries(smooth, supported_peaks(smooth, caution) if peaks is None else peaks)


def stages(smooth: Smooth, caution: float = 1.0, peaks: list[int] | None = None) -> list[Stage]:
    """The stretches in which a curve moves.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a move has to show.
        peaks: Its `supported_peaks` where they are known already.

    Returns:
        The stages in order; a flat curve has none.
    """
    peaks = supported_peaks(smooth, caution) if peaks is None else peaks
    if not peaks:
        return []
    cuts = _cuts(smooth, peaks)
    run_start, run_end = (Place(x, x, x) for x in (float(smooth.x[0]), float(smooth.x[-1])))
    shared = _boundaries(smooth, peaks)
    starts, ends = [run_start, *shared], [*shared, run_end]
    moved = np.abs(np.diff(smooth.value[cuts]))
    for cut in range(len(cuts)):
        before = [(peaks[cut - 1], moved[cut - 1])] if cut > 0 else []
        after = [(peaks[cut], moved[cut])] if cut < len(peaks) else []
        flat_from = _edge(smooth, before[0][0], cuts[cut]) if before else 0
        flat_to = _edge(smooth, after[0][0], cuts[cut]) if after else len(smooth.x) - 1
        share = FLAT_AFTER if before else FLAT_BEFORE
        if all(_is_flat(smooth, flat_from, flat_to, peak, share * change) for peak, change in before + after):
            if before:
                ends[cut - 1] = _edge_place(smooth, before[0][0], cuts[cut])
            if after:
                starts[cut] = _edge_place(smooth, after[0][0], cuts[cut])
    return [_stage(smooth, peak, start, end) for peak, start, end in zip(peaks, starts, ends, strict=True)]


def _stage(smooth: Smooth, peak: int, start: Place, end: Place) -> Stage:
    first, last = (int(np.abs(smooth.x - place.x).argmin()) for place in (start, end))
    # What the noise does to the place where the smooth is steepest. The posterior's own curves are rougher than runs
    # are: their steepest points scatter twice as far as those of planted transitions are from the truth.
    inside = np.sign(smooth.slope[peak]) * smooth.slope_refits[:, first : last + 1]
    draws = smooth.x[peak] + REFIT_WIDENING * (smooth.x[first + inside.argmax(axis=1)] - smooth.x[peak])
    return Stage(start, end, _place(draws, known=smooth.x[peak]), draws, first, last)


def _least_supported(smooth: Smooth, peaks: list[int], caution: float) -> tuple[float, int]:
    """The support of the weakest peak, as a multiple of what it needs, and that peak."""
    cuts = _cuts(smooth, peaks)
    least = LEAST_CHANGE * np.ptp(smooth.value)
    support = []
    for peak, first, last in zip(peaks, cuts, cuts[1:], strict=False):
        if first == last:  # on a straight line peaks and dips are rounding, and may coincide
            return 0.0, peak
        change, deviation = _change(smooth, first, last)
        support.append((min(change / (caution * CHANGE_SIGMAS * deviation), change / least), peak))
    for left, right, cut in zip(peaks, peaks[1:], cuts[1:], strict=False):
        sign = np.sign(smooth.slope[left])
        if sign == np.sign(smooth.slope[right]):
            lesser = min(left, right, key=lambda peak: abs(smooth.slope[peak]))
            dip = sign * (smooth.slope[lesser] - smooth.slope[cut])
            deviation = (smooth.slope_draws[:, lesser] - smooth.slope_draws[:, cut]).std()
            if not dip > 0:
                return 0.0, lesser
            depth = dip / abs(smooth.slope[lesser])
            support.append((min(dip / (caution * DIP_SIGMAS * deviation), depth / (1 - PLATEAU_SHARE)), lesser))
    return min(support)


def _change(smooth: Smooth, first: int, last: int) -> tuple[float, float]:
    """The absolute change of the curve between two grid points and its posterior standard deviation."""
    deviation = (smooth.value_draws[:, last] - smooth.value_draws[:, first]).std()
    return float(abs(smooth.value[last] - smooth.value[first])), float(deviation)


def _cuts(smooth: Smooth, peaks: list[int]) -> list[int]:
    """Grid indices of the run's start, of the boundaries between neighbouring peaks, and of the run's end."""
    inner = []
    for left, right in pairwise(peaks):
        rest = _restfulness(smooth, smooth.value[None], smooth.slope[None], left, right)
        inner.append(left + int(rest[0].argmax()))
    return [0, *inner, len(smooth.x) - 1]


def _boundaries(smooth: Smooth, peaks: list[int]) -> list[Place]:
    places = []
    for left, right in pairwise(peaks):
        rest = _restfulness(smooth, smooth.value_draws, smooth.slope_draws, left, right)
        places.append(_place(smooth.x[left + rest.argmax(axis=1)]))
    return places


def _restfulness(smooth: Smooth, values: Array, slopes: Array, left: int, right: int) -> Array:
    """A score of the grid points left..right that is largest at the boundary: the extremum or the least slope."""
    sign = np.sign(smooth.slope[left])
    if sign == np.sign(smooth.slope[right]):
        return -sign * slopes[:, left : right + 1]
    return sign * values[:, left : right + 1]


def _edge(smooth: Smooth, peak: int, cut: int) -> int:
    return int(_edges(smooth, smooth.slope[None], peak, cut)[0])


def _edge_place(smooth: Smooth, peak: int, cut: int) -> Place:
    return _place(smooth.x[_edges(smooth, smooth.slope_draws, peak, cut)])


def _edges(smooth: Smooth, slopes: Array, peak: int, cut: int) -> NDArray[np.intp]:
    """Per row of slopes, the first grid point from the peak to the cut where EDGE_SHARE of the slope is left."""
    path = np.arange(peak, cut + 1) if cut >= peak else np.arange(peak, cut - 1, -1)
    along = np.sign(smooth.slope[peak]) * slopes[:, path]
    low = along <= EDGE_SHARE * along[:, :1]
    return path[np.where(low.any(axis=1), low.argmax(axis=1), len(path) - 1)]


def _is_flat(smooth: Smooth, first: int, last: int, peak: int, little: float) -> bool:
    """Whether no more than `little` moves from `first` to `last`, seen from a stage with this peak."""
    length = smooth.x[last] - smooth.x[first]
    way = np.abs(smooth.x[[first, last]] - smooth.x[peak]).min()
    if length <= max(FLAT_LENGTH * (smooth.x[-1] - smooth.x[0]), way / 2):
        return False
    change, deviation = _change(smooth, first, last)
    still = change <= max(FLAT_SIGMAS * deviation, little)
    return still and change + 2 * deviation <= FLAT_SLOPE * abs(smooth.slope[peak]) * length


def _place(draws: Array, known: float | None = None) -> Place:
    """The median of the draws, unless the place is known, and their central 90 %."""
    low, middle, high = np.quantile(draws, [0.05, 0.5, 0.95])
    x = middle if known is None else known
    return Place(float(x), float(min(low, x)), float(max(high, x)))
