"""What benchmarks with inputs made at random share: a limit of time, and how outcomes are counted."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any


@contextlib.contextmanager
def patience(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in a block that takes longer; for main threads only."""

    def out_of_patience(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, out_of_patience)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def tally(found: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Count outcomes, and list the broken promises.

    Args:
        found: What was tried, and what came of it, which begins with "broken" if a promise was.

    Returns:
        The number of each outcome by its name, and "broken promises".
    """
    outcomes, broken = Counter[str](), []
    for tried, outcome in found:
        outcomes["broken" if outcome.startswith("broken") else outcome] += 1
        if outcome.startswith("broken"):
            broken.append(f"{tried}: {outcome}")
    return {**outcomes, "broken promises": broken}
