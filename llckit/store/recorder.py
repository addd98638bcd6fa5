"""Which steps of a training run to keep: schedules, and the `Recorder` that follows one."""

import heapq
from collections.abc import Iterable, Mapping
from itertools import pairwise

from torch import Tensor, nn

from llckit.errors import InputError
from llckit.store.checks import whole_number
from llckit.store.store import CheckpointStore

__all__ = ["Recorder", "linear_schedule", "log_schedule", "mixed_schedule"]


class Recorder:
    """Call it at every training step: it saves the scheduled ones.

    Args:
        store: Where to save.
        schedule: The steps to save, for instance `log_schedule(10_000, 100)`; None saves at every call.

    Raises:
        InputError: The schedule is empty or holds something other than steps.
    """

    def __init__(self, store: CheckpointStore, schedule: Iterable[int] | None = None):
        if not isinstance(store, CheckpointStore):
            raise InputError(f"store is a {type(store).__name__}, but it must be a CheckpointStore")
        self.store = store
        self.schedule = None if schedule is None else _as_steps(schedule)

    def __call__(self, step: int, model: nn.Module | Mapping[str, Tensor], /, **metadata: object) -> bool:
        """Save the model if this step is scheduled; errors are those of `CheckpointStore.save`.

        Args:
            step: Training step.
            model: A module or a state dict.
            **metadata: Scalars to keep beside the weights, such as `loss=0.31`.

        Returns:
            Whether it was saved.
        """
        step = whole_number("step", step)
        if self.schedule is not None and step not in self.schedule:
            return False
        self.store.save(step, model, **metadata)
        return True


def log_schedule(last_step: int, count: int) -> list[int]:
    """Steps evenly spaced in ln(step + 1), the axis on which learning curves are read.

    Each point continues with the ratio that the remaining points need, ((last + 1)/(s + 1))^(1/remaining),
    but at least one step on; so early points that would coincide are spent later.

    Args:
        last_step: The last step, at least 0; included as 0 is, a single point is the last step.
        count: How many steps, at least 1; anything else is an InputError.

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
        last_step: The last step, at least 0; included as 0 is, a single point is the last step.
        count: How many steps, at least 1; anything else is an InputError.

    Returns:
        Exactly min(count, last_step + 1) ascending steps.
    """
    last_step, count = _checked(last_step, count)
    if count == 1:
        return [last_step]
    return [(2 * index * last_step + count - 1) // (2 * (count - 1)) for index in range(count)]


def mixed_schedule(last_step: int, count: int) -> list[int]:
    """Half of the steps as `log_schedule`, half as `linear_schedule`.

    Where the halves coincide, the widest gaps are halved instead.

    Args:
        last_step: The last step, at least 0; included as 0 is, a single point is the last step.
        count: How many steps, at least 1; anything else is an InputError.

    Returns:
        Exactly min(count, last_step + 1) ascending steps.
    """
    last_step, count = _checked(last_step, count)
    if count <= 2:
        return linear_schedule(last_step, count)
    # Both halves hold 0 and the last step, hence the two more.
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
    last_step = whole_number("last_step", last_step)
    return last_step, min(whole_number("count", count, least=1), last_step + 1)


def _as_steps(schedule: Iterable[int]) -> frozenset[int]:
    if isinstance(schedule, str | bytes) or not isinstance(schedule, Iterable):
        raise InputError(f"schedule is a {type(schedule).__name__}, but it must be a collection of steps, or None")
    steps = frozenset(whole_number("a step of the schedule", step) for step in schedule)
    if not steps:
        raise InputError("the schedule is empty, so nothing would ever be saved: give steps, or None for every call")
    return steps
