"""One estimate for every checkpoint, on one machine or many, by any `concurrent.futures.Executor`."""

from __future__ import annotations

import dataclasses
import math
import socket
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from typing import Any, NamedTuple

from llckit.errors import EstimationError, InputError
from llckit.llc.cache import fingerprint
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.gradients import Gradients
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.scale import Scale
from llckit.llc.settings import Settings
from llckit.posterior import Reference, Task, load_reference, steady_threads
from llckit.sampling import SAMPLERS, Sampler, Start, is_made_from_settings
from llckit.store import CheckpointStore

ATTEMPTS = 3  # rounds in which workers die and no checkpoint is finished
SAME_LOSS = 1e-3  # relative difference of L(w*) between here and a worker that rounding explains


class Job(NamedTuple):
    """One checkpoint to be estimated: names and numbers, never tensors or open files.

    Attributes:
        store: Path of the store.
        step: Which checkpoint.
        task: How the worker makes the task.
        loss: The user's L(w*), by which the worker knows that it has the same data and loss.
        scale: nβ and γ.
        gradients: Which samples a gradient takes.
        settings: What was asked for, with `sampler="auto"`.
        sampler: Name and arguments of the sampler; None for "auto".
        start: What the warm-up of the anchor found.
        seconds: What it may take; None sets no limit.
    """

    store: str
    step: int
    task: Reference
    loss: float
    scale: Scale
    gradients: Gradients
    settings: Settings
    sampler: tuple[str, Mapping[str, float | None]] | None
    start: Start | None
    seconds: float | None

    @classmethod
    def make(
        cls,
        store: CheckpointStore,
        task: Task,
        step: int,
        loss: float,
        scale: Scale,
        gradients: Gradients,
        settings: Settings,
        start: Start | None,
        seconds: float | None = None,
    ) -> Job:
        """A job from what the caller has at hand; see `check_sendable` for what cannot be one."""
        assert task.reference is not None
        sampler = None
        if isinstance(settings.sampler, Sampler):
            sampler = settings.sampler.name, settings.sampler.settings
            settings = dataclasses.replace(settings, sampler="auto")
        path = str(store.path.resolve())
        settings = dataclasses.replace(settings, budget=dataclasses.replace(settings.budget, deadline=math.inf))
        return cls(path, step, task.reference, loss, scale, gradients, settings, sampler, start, seconds)


def check_sendable(executor: Executor, task: Task, settings: Settings) -> None:
    """Refuse what workers cannot make by themselves.

    Args:
        executor: What the user gave as executor.
        task: The user's task.
        settings: What the user asked for.

    Raises:
        InputError: No executor, a task that was not loaded from a file, or a sampler of the user's own.
    """
    if not isinstance(executor, Executor):
        raise InputError(
            f"executor is a {type(executor).__name__}; expected a concurrent.futures.Executor, such as "
            "ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn'))"
        )
    if task.reference is None:
        raise InputError(
            "the task was made here, and workers cannot make it again; expected one from llckit.load_task('file.py:"
            "NAME'), restricted by names if at all (masks belong into the file)"
        )
    given = settings.sampler
    if isinstance(given, Sampler) and not is_made_from_settings(given):
        raise InputError(
            f"sampler {given.name!r} is not one of llckit's as its arguments make it, and workers cannot make it; "
            "leave executor out"
        )


def finish(jobs: Sequence[Job], executor: Executor, keep: Callable[[int, LLCEstimate], None]) -> None:
    """Run all jobs. Those of workers that died are run again; if the executor dies with them, here.

    Args:
        jobs: In the order in which they should begin.
        executor: Does the work.
        keep: Called with step and estimate as soon as one is there.

    Raises:
        EstimationError: Workers die again and again before they have finished anything.
    """
    left, attempts = list(jobs), 0
    while left:
        lost, futures = [], dict[Future[dict[str, Any]], Job]()
        try:
            for job in left:
                futures[executor.submit(work, job)] = job
        except BrokenExecutor:
            if not futures:
                warnings.warn(
                    "the executor is broken, and what is left is estimated in this process. A script that starts "
                    'processes needs `if __name__ == "__main__":`; workers that ran out of memory should be fewer',
                    stacklevel=4,
                )
                for job in left:
                    keep(job.step, LLCEstimate.from_dict(work(job)))
                return
        try:
            for future in as_completed(futures):
                try:
                    keep(futures[future].step, LLCEstimate.from_dict(future.result()))
                except BrokenExecutor:
                    lost.append(futures[future])
        finally:
            for future in futures:
                future.cancel()
        lost = left[len(futures) :] + lost  # what may have killed its worker comes last
        attempts = attempts + 1 if len(lost) == len(left) else 0
        if attempts == ATTEMPTS:
            raise EstimationError(
                f"workers died {ATTEMPTS} times before any of the {len(left)} checkpoints left was finished; memory "
                "may be short: try fewer workers. What is finished is kept"
            )
        left = lost


_own = threading.local()  # tasks by reference: threads must not share a model
_loading = threading.Lock()


def work(job: Job) -> dict[str, Any]:
    """Estimate one checkpoint, in a worker.

    Args:
        job: One checkpoint.

    Returns:
        The estimate as a dictionary.

    Raises:
        InputError: The store or the task's file is not there, or not the same.
    """
    tasks = _own.__dict__.setdefault("tasks", {})
    if job.task not in tasks:
        with _loading:
            tasks[job.task] = load_reference(job.task)
    task: Task = tasks[job.task]
    with steady_threads(task):
        return _estimate(task, job).to_dict()


def _estimate(task: Task, job: Job) -> LLCEstimate:
    checkpoint = task.checkpoint(CheckpointStore(job.store, create=False).load(job.step))
    loss = float(fingerprint(checkpoint)[0])
    if abs(loss - job.loss) > SAME_LOSS * max(abs(loss), abs(job.loss)):
        raise InputError(
            f"step {job.step}: a worker on {socket.gethostname()} finds the loss {loss:.6g} where it is {job.loss:.6g} "
            f"here; expected {job.task.name} to give the same data at every start and everywhere (seed random ones; "
            "where a module that it imports was edited, start the workers of a cluster again)"
        )
    settings = job.settings.within(job.seconds)
    if job.sampler is not None:
        name, arguments = job.sampler
        settings = dataclasses.replace(settings, sampler=SAMPLERS[name](**arguments))
    return estimate_checkpoint(task, checkpoint, job.scale, job.gradients, settings, start=job.start)
