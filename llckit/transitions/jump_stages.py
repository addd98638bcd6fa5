"""The stages of one smoothed curve that are jumps between checkpoints.

A jump is a stage from the checkpoint before it to the one after it, if it changes the curve enough. Jumps of one
direction with fewer than `LEAST_REST` checkpoints between them are one stage: a change over a few gaps looks like
several jumps.
"""

from dataclasses import replace

import numpy as np

from llckit.transitions.smooth import Jump, Smooth
from llckit.transitions.stage import CHANGE_SIGMAS, EDGE_SHARE, LEAST_CHANGE, Place, Stage

__all__ = ["jump_stages", "with_tails"]

LEAST_REST = 4  # checkpoints that show a rest between two rises or two falls


def jump_stages(smooth: Smooth, caution: float = 1.0) -> list[Stage]:
    """The stages that are jumps.

    Args:
        smooth: The smoothed curve.
        caution: Factor of the standard deviations that a jump has to show.

    Returns:
        The stages in order.
    """
    groups: list[list[Jump]] = []
    for jump in smooth.jumps:
        checkpoints = jump.before - groups[-1][-1].before if groups else LEAST_REST
        if checkpoints < LEAST_REST and jump.height * groups[-1][-1].height > 0:
            groups[-1].append(jump)
        else:
            groups.append([jump])
    least = LEAST_CHANGE * np.ptp(smooth.value)

    def is_supported(group: list[Jump]) -> bool:
        deviation = np.sum([jump.height_draws for jump in group], axis=0).std()
        return abs(sum(jump.height for jump in group)) >= max(least, caution * CHANGE_SIGMAS * deviation)

    return [_jump_stage(smooth, group) for group in groups if is_supported(group)]


def _jump_stage(smooth: Smooth, group: list[Jump]) -> Stage:
    """The stage of neighbouring jumps; where the curve goes on almost as steeply beside them, that belongs to it."""
    lengths = np.array([jump.high - jump.low for jump in group])
    rates = np.array([jump.height for jump in group]) / lengths
    steepest = group[int(np.abs(rates).argmax())]
    rate = steepest.height / (steepest.high - steepest.low)
    start, end = group[0].low, group[-1].high
    first = max(int(np.searchsorted(smooth.x, start, side="right")) - 1, 0)
    last = min(int(np.searchsorted(smooth.x, end)), len(smooth.x) - 1)
    rests = np.sign(rate) * smooth.slope <= EDGE_SHARE * abs(rate)
    if not rests[first]:
        first = int(np.flatnonzero(rests[:first])[-1]) if rests[:first].any() else 0
        start = float(smooth.x[first])
    if not rests[last]:
        last = last + int(rests[last:].argmax()) if rests[last:].any() else len(rests) - 1
        end = float(smooth.x[last])
    steepest_of = np.abs(np.stack([jump.height_draws for jump in group]) / lengths[:, None]).argmax(axis=0)
    lows, highs = (np.array(places)[steepest_of] for places in zip(*((j.low, j.high) for j in group), strict=True))
    return Stage(
        start=Place(start, start, group[0].high),
        end=Place(end, group[-1].low, end),
        steepest=Place(
            (steepest.low + steepest.high) / 2,
            min(steepest.low, float(np.quantile(lows, 0.05))),
            max(steepest.high, float(np.quantile(highs, 0.95))),
        ),
        steepest_draws=np.stack([jump.place_draws for jump in group])[steepest_of, np.arange(len(steepest_of))],
        first=first,
        last=last,
    )


def _at_steepest(smooth: Smooth, stage: Stage, rise: float) -> Stage:
    """The stage of a jump, located where it is steepest: that may be beside the jump."""
    rates = [
        abs(jump.height) / (jump.high - jump.low) for jump in smooth.jumps if stage.start.x <= jump.low < stage.end.x
    ]
    peak = stage.first + int((rise * smooth.slope[stage.first : stage.last + 1]).argmax())
    if rise * smooth.slope[peak] <= max(rates):
        return stage
    draws = smooth.peak_draws(peak, stage.first, stage.last)
    return replace(stage, steepest=Place.of(draws, known=smooth.x[peak]), steepest_draws=draws)


def with_tails(smooth: Smooth, jumps: list[Stage], others: list[Stage]) -> list[Stage]:
    """All stages in order, where the tails of jumps belong to them.

    A change that is a little slower than a gap is a jump with tails. A tail goes the same way as its jump, begins where
    that ends (or the other way round), and has half of its change within `LEAST_REST` gaps of it.

    Args:
        smooth: The smoothed curve.
        jumps: The stages that are jumps.
        others: The stages between them.

    Returns:
        The stages.
    """
    found, left = [], list(others)
    for jump in jumps:
        rise = np.sign(smooth.value[jump.last] - smooth.value[jump.first])
        reach_back, reach_on = (LEAST_REST * (place.high - place.low) for place in (jump.start, jump.end))
        stage = jump
        for other in others:
            change = rise * (smooth.value[other.last] - smooth.value[other.first])
            near = rise * (smooth.value - smooth.value[other.first])
            if other in left and other.start == jump.end:
                at = min(int(np.searchsorted(smooth.x, jump.end.x + reach_on)), other.last)
                if change > 0 and near[at] >= change / 2:
                    stage = replace(stage, end=other.end, last=other.last)
                    left.remove(other)
            elif other in left and other.end == jump.start:
                at = max(int(np.searchsorted(smooth.x, jump.start.x - reach_back)), other.first)
                if change > 0 and near[at] <= change / 2:
                    stage = replace(stage, start=other.start, first=other.first)
                    left.remove(other)
        found.append(_at_steepest(smooth, stage, rise))
    return sorted([*found, *left], key=lambda stage: stage.first)
