"""The modular-addition net of `llckit demo`, recorded while it groks: what the benchmarks of curves estimate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import llckit as lk
from llckit.toys import modular_addition, train

SKETCH = {"n_beta": 284.0, "localization": 10.0, "num_chains": 4, "num_draws": 60}


def grokking_task() -> lk.Task:
    """The run's task, for workers that load it from this file."""
    return modular_addition().task


@contextmanager
def recorded(steps: Sequence[int] | int, last_step: int | None = None) -> Iterator[tuple[lk.Task, lk.CheckpointStore]]:
    """Train, with checkpoints in a temporary folder.

    Args:
        steps: Training steps of the checkpoints, or how many are spread evenly over the run.
        last_step: Where training ends; None goes to the end of the run.

    Yields:
        The task and the store.
    """
    run = modular_addition()
    if last_step is not None:
        run = run._replace(last_step=last_step)
    schedule = np.linspace(0, run.last_step, steps).astype(int).tolist() if isinstance(steps, int) else steps
    with TemporaryDirectory() as folder:
        store = lk.CheckpointStore(Path(folder) / "run.ckpts")
        train(run, lk.Recorder(store, schedule), progress=True)
        yield run.task, store
