"""The stages of one smoothed curve in which it moves.

A stage is an interval between neighbouring boundaries. A boundary lies where the absolute slope is locally least: at an
extremum of the curve, or on a plateau between two rises or two falls. Every peak of the absolute slope starts as a
stage of its own. The least supported one is then merged into its neighbours until

* every stage changes the curve by `CHANGE_SIGMAS` posterior standard deviations and by `LEAST_CHANGE` of its range, and
* between two rises (or two falls) the slope dips below `PLATEAU_SHARE` of the lesser peak, by `DIP_SIGMAS`.

Both numbers of standard deviations are multiplied by a caution (`caution_for`).

A jump between two checkpoints is a stage of its own (`jump_stages`). What lies between jumps is divided into stages as
if it were a run.

A curve may rest between two moves, or at an end of the run. The stage that moves then ends where its slope has dropped
to `EDGE_SHARE` of its steepest. The flat interval beyond is a stage of rest, which is not returned.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.jump_stages import jump_stages, with_tails
from llckit.transitions.smooth import Smooth
from llckit.transitions.stage import CHANGE_SIGMAS, EDGE_SHARE, LEAST_CHANGE, Place, Stage

__all__ = ["boundaries", "stages", "supported_peaks"]

Array = NDArray[np.float64]

DIP_SIGMAS = 1.5
PLATEAU_SHARE = 0.5
# A flat interval: its change is within FLAT_SIGMAS, or a small share of the stage's (FLAT_BEFORE or FLAT_AFTER it); its
# slope is surely below FLAT_SLOPE of the stage's steepest; it fills FLAT_LENGTH of the curve and half the way from the
# steepest point to the edge.
FLAT_SIGMAS = 3.0
FLAT_AFTER = 0.08
FLAT_BEFORE = 0.05  # beyond its edge a logistic step in ln t has 3.9 %; a motion linear in t from the start has 5.7 %
FLAT_SLOPE = 0.2
FLAT_LENGTH = 0.05
BESIDE_JUMPS = 1.3  # more caution beside jumps: their search makes what is left look more certain than it is


def supported_peaks(smooth: Smooth, caution: float = 1.0) -> list[int]:
    """Where the moves that the posterior supports are steepest.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a move has to show.

    Returns:
        Grid indices, ascending.
    """
    sections = _sections(smooth, jump_stages(smooth, caution))
    if smooth.jumps:
        caution *= BESIDE_JUMPS
    return [peak for section in sections for peak in _supported_within(smooth, section, caution)]


def boundaries(smooth: Smooth, caution: float = 1.0, peaks: list[int] | None = None) -> list[Place]:
    """The boundaries between neighbouring moves of a curve.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a move has to show.
        peaks: The curve's `supported_peaks`; None finds them.

    Returns:
        One place per pair of neighbouring moves, and both ends of each jump, in order; none if a curve without jumps
        moves once or not at all.
    """
    peaks = supported_peaks(smooth, caution) if peaks is None else peaks
    jumps = jump_stages(smooth, caution)
    inner = [place for section in _sections(smooth, jumps) for place in _boundaries(smooth, section.of(peaks))]
    return sorted([*inner, *(place for jump in jumps for place in (jump.start, jump.end))], key=lambda place: place.x)


def stages(smooth: Smooth, caution: float = 1.0, peaks: list[int] | None = None) -> list[Stage]:
    """The stages in which a curve moves.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a move has to show.
        peaks: The curve's `supported_peaks`; None finds them.

    Returns:
        The stages in order; none for a flat curve.
    """
    peaks = supported_peaks(smooth, caution) if peaks is None else peaks
    jumps = jump_stages(smooth, caution)
    others = [
        stage for section in _sections(smooth, jumps) for stage in _stages_within(smooth, section, section.of(peaks))
    ]
    return with_tails(smooth, jumps, others)


class _Section(NamedTuple):
    """A part of the curve that does not jump.

    Attributes:
        first: Its first grid point.
        last: Its last grid point.
        start: Where it begins.
        end: Where it ends.
    """

    first: int
    last: int
    start: Place
    end: Place

    def of(self, peaks: list[int]) -> list[int]:
        """Those of the peaks that lie in it."""
        return [peak for peak in peaks if self.first <= peak <= self.last]


def _sections(smooth: Smooth, jumps: list[Stage]) -> list[_Section]:
    """What lies between jumps; jumps that are nearer to each other than the grid's points have nothing between them."""
    run_start, run_end = (Place(x, x, x) for x in (float(smooth.x[0]), float(smooth.x[-1])))
    firsts, lasts = [0, *(jump.last for jump in jumps)], [*(jump.first for jump in jumps), len(smooth.x) - 1]
    starts, ends = [run_start, *(jump.end for jump in jumps)], [*(jump.start for jump in jumps), run_end]
    sections = map(_Section, firsts, lasts, starts, ends)
    return [section for section in sections if section.first < section.last]


def _supported_within(smooth: Smooth, section: _Section, caution: float) -> list[int]:
    """The supported peaks of a section."""
    speed = np.abs(smooth.slope[section.first : section.last + 1])
    padded = np.concatenate([[-1.0], speed, [-1.0]])
    is_peak = (speed > padded[:-2]) & (speed >= padded[2:]) & (speed > 0)
    peaks = [section.first + int(index) for index in np.flatnonzero(is_peak)]
    while peaks:
        support, weakest = _least_supported(smooth, section, peaks, caution)
        if support >= 1:
            break
        peaks.remove(weakest)
    return peaks


def _stages_within(smooth: Smooth, section: _Section, peaks: list[int]) -> list[Stage]:
    """The stages of a section."""
    if not peaks:
        return []
    cuts = _cuts(smooth, section, peaks)
    shared = _boundaries(smooth, peaks)
    starts, ends = [section.start, *shared], [*shared, section.end]
    # Beside a jump the curve may first end what the jump began: the next stage begins where it turns.
    if section.first > 0:
        cuts[0], starts[0] = _turn(smooth, peaks[0], section.first, section.start)
    if section.last < len(smooth.x) - 1:
        cuts[-1], ends[-1] = _turn(smooth, peaks[-1], section.last, section.end)
    moved = np.abs(np.diff(smooth.value[cuts]))
    for cut, (left, right) in enumerate(pairwise([None, *peaks, None])):
        rest_start = cuts[0] if left is None else _edge(smooth, left, cuts[cut])
        rest_end = cuts[-1] if right is None else _edge(smooth, right, cuts[cut])
        share = FLAT_BEFORE if left is None else FLAT_AFTER
        sides = [(peak, moved[stage]) for peak, stage in ((left, cut - 1), (right, cut)) if peak is not None]
        if all(_is_flat(smooth, rest_start, rest_end, peak, share * change) for peak, change in sides):
            if left is not None:
                ends[cut - 1] = _edge_place(smooth, left, cuts[cut])
            if right is not None:
                starts[cut] = _edge_place(smooth, right, cuts[cut])
    return [_stage(smooth, section, peak, start, end) for peak, start, end in zip(peaks, starts, ends, strict=True)]


def _stage(smooth: Smooth, section: _Section, peak: int, start: Place, end: Place) -> Stage:
    """The stage around a peak, with the scatter of its steepest point."""
    first, last = (
        int(np.clip(np.abs(smooth.x - place.x).argmin(), section.first, section.last)) for place in (start, end)
    )
    draws = smooth.peak_draws(peak, first, last)
    return Stage(start, end, Place.of(draws, known=smooth.x[peak]), draws, first, last)


def _least_supported(smooth: Smooth, section: _Section, peaks: list[int], caution: float) -> tuple[float, int]:
    """The support of the weakest peak, as a multiple of what it needs, and the peak."""
    cuts = _cuts(smooth, section, peaks)
    least = LEAST_CHANGE * np.ptp(smooth.value)
    support = []
    for peak, first, last in zip(peaks, cuts, cuts[1:], strict=False):  # does each stage change the curve enough?
        if first == last:  # on a straight line peaks and dips come from rounding, and may coincide
            return 0.0, peak
        change, deviation = _change(smooth, first, last)
        support.append((min(change / (caution * CHANGE_SIGMAS * deviation), change / least), peak))
    for left, right, cut in zip(peaks, peaks[1:], cuts[1:], strict=False):  # does the slope dip between two rises?
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


def _cuts(smooth: Smooth, section: _Section, peaks: list[int]) -> list[int]:
    """Grid indices of the section's start, of the boundaries between neighbouring peaks, and of the section's end."""
    inner = []
    for left, right in pairwise(peaks):
        rest = _restfulness(smooth, smooth.value[None], smooth.slope[None], left, right)
        inner.append(left + int(rest[0].argmax()))
    return [section.first, *inner, section.last]


def _boundaries(smooth: Smooth, peaks: list[int]) -> list[Place]:
    """The boundaries between neighbouring peaks, from the posterior draws."""
    places = []
    for left, right in pairwise(peaks):
        rest = _restfulness(smooth, smooth.value_draws, smooth.slope_draws, left, right)
        places.append(Place.of(smooth.x[left + rest.argmax(axis=1)]))
    return places


def _turn(smooth: Smooth, peak: int, bound: int, end: Place) -> tuple[int, Place]:
    """The extremum between a peak and the end of its section, as a grid index and a place."""
    path = np.arange(peak, bound + 1) if bound >= peak else np.arange(peak, bound - 1, -1)
    rising = np.sign(smooth.slope[peak]) * (1 if bound >= peak else -1)
    index = int(path[(rising * smooth.value[path]).argmax()])
    if index == bound:
        return bound, end
    return index, Place.of(smooth.x[path[(rising * smooth.value_draws[:, path]).argmax(axis=1)]])


def _restfulness(smooth: Smooth, values: Array, slopes: Array, left: int, right: int) -> Array:
    """A score of the grid points left … right that is largest at the boundary: the extremum, or the least slope."""
    sign = np.sign(smooth.slope[left])
    if sign == np.sign(smooth.slope[right]):
        return -sign * slopes[:, left : right + 1]
    return sign * values[:, left : right + 1]


def _edge(smooth: Smooth, peak: int, cut: int) -> int:
    """The grid point between a peak and a cut where the posterior mean comes to rest."""
    return int(_edges(smooth, smooth.slope[None], peak, cut)[0])


def _edge_place(smooth: Smooth, peak: int, cut: int) -> Place:
    """The place between a peak and a cut where the posterior draws come to rest."""
    return Place.of(smooth.x[_edges(smooth, smooth.slope_draws, peak, cut)])


def _edges(smooth: Smooth, slopes: Array, peak: int, cut: int) -> NDArray[np.intp]:
    """The first grid point from the peak to the cut where EDGE_SHARE of the slope is left, for each row of slopes."""
    path = np.arange(peak, cut + 1) if cut >= peak else np.arange(peak, cut - 1, -1)
    along = np.sign(smooth.slope[peak]) * slopes[:, path]
    low = along <= EDGE_SHARE * along[:, :1]
    return path[np.where(low.any(axis=1), low.argmax(axis=1), len(path) - 1)]


def _is_flat(smooth: Smooth, first: int, last: int, peak: int, little: float) -> bool:
    """Whether the curve changes by no more than `little` from `first` to `last`, seen from a stage with this peak."""
    length = smooth.x[last] - smooth.x[first]
    way = np.abs(smooth.x[[first, last]] - smooth.x[peak]).min()
    if length <= max(FLAT_LENGTH * (smooth.x[-1] - smooth.x[0]), way / 2):
        return False
    change, deviation = _change(smooth, first, last)
    still = change <= max(FLAT_SIGMAS * deviation, little)
    return still and change + 2 * deviation <= FLAT_SLOPE * abs(smooth.slope[peak]) * length
