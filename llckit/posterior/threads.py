"""`steady_threads`: as many threads as the size of the task asks for, so that sums are always rounded alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from llckit.posterior.task import Task

THREADED_BYTES = 2**22  # that a row touches, from which one row is worth several threads


@contextmanager
def steady_threads(task: Task) -> Iterator[None]:
    """One thread while rows are small, so that numbers depend neither on their number nor on who else is at work.

    Sums are rounded in another order by other numbers of threads. Small rows hardly gain from them; a curve gains more
    from workers. Large rows get as many threads as torch has.

    Args:
        task: Its data and model decide what a pass touches.
    """
    threads = torch.get_num_threads()
    own = task.original
    large = own.samples.n * own.checkpoint().bytes_per_sample + 4 * own.dim >= THREADED_BYTES
    if large or own.device.type != "cpu" or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
