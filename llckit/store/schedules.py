"""Schedules: lists of the steps of a training run to record."""

import heapq
from itertools import pairwise

from llckit.checks import check_integer

__all__ = ["linear_schedule", "log_schedule", "mixed_schedule"]


def log_schedule(last_step: int, count: int) -> list[int]:
    """Steps evenly spaced in ln(step + 1), the axis on which learning curves are read.

    From each step s the next lies ahead by the ratio that the remaining steps need, ((last + 1)/(s + 1))^(1/remaining),
    but by one step at least. So early steps that would coincide are replaced by later ones.

    Args:
        last_step: Last step of the run, at least 0. It is included, and so is 0 if `count` is above 1.
        count: Number of steps, at least 1; anything else is an InputError.

    Returns:
        Exactly min(count, last_step + 1) ascending steps.
    """
    last_step, count = _checked(last_step, count)
    if count == 1:
        return [last_step]
    points = [1]
    for remaining in range(count - 1, 0, -1):
        ratio = ((last_step + 1) / points[-1]) ** (1 / remaining)
        points.append(max(points[-1] + 1, round(points[-1] * ratio)))
    return [point - 1 for point in points]


def linear_schedule(last_step: int, count: int) -> list[int]:
    """Steps evenly spaced from 0 to the last, rounded.

    Args:
        last_step: Last step of the run, at least 0. It is included, and so is 0 if `count` is above 1.
        count: Number of steps, at least 1; anything else is an InputError.

    Returns:
        Exactly min(count, last_step + 1) ascending steps.
    """
    last_step, count = _checked(last_step, count)
    if count == 1:
        return [last_step]
    return [(2 * index * last_step + count - 1) // (2 * (count - 1)) for index in range(count)]


def mixed_schedule(last_step: int, count: int) -> list[int]:
    """Half of the steps as in `log_schedule`, half as in `linear_schedule`.

    If steps of the halves coincide, the widest gaps are halved instead.

    Args:
        last_step: Last step of the run, at least 0. It is included, and so is 0 if `count` is above 1.
        count: Number of steps, at least 1; anything else is an InputError.

    Returns:
        Exactly min(count, last_step + 1) ascending steps.
    """
    last_step, count = _checked(last_step, count)
    if count <= 2:
        return linear_schedule(last_step, count)
    # Both halves include 0 and the last step, so together they have two steps more.
    half = count // 2 + 1
    steps = {*log_schedule(last_step, half), *linear_schedule(last_step, count + 2 - half)}
    gaps = [(start - end, start, end) for start, end in pairwise(sorted(steps))]
    heapq.heapify(gaps)
    while len(steps) < count:
        _, start, end = heapq.heappop(gaps)
        middle = (start + end) // 2
        steps.add(middle)
        heapq.heappush(gaps, (start - middle, start, middle))
        heapq.heappush(gaps, (middle - end, middle, end))
    return sorted(steps)


def _checked(last_step: int, count: int) -> tuple[int, int]:
    last_step = check_integer("last_step", last_step, 0)
    return last_step, min(check_integer("count", count, 1), last_step + 1)
