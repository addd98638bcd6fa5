"""One estimate for every checkpoint, on one machine or many, by any `concurrent.futures.Executor`."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from llckit import sampling
from llckit.errors import EstimationError, InputError
from llckit.llc.outcome import LLCEstimate
from llckit.llc.point import Settings, estimate_point, users_loss
from llckit.llc.settings import Scale
from llckit.posterior import Reference, Task, load_reference, steady_threads
from llckit.sampling import Sampler
from llckit.store import CheckpointStore

ATTEMPTS = 3  # rounds in which workers die and no checkpoint is finished
SAMPLERS = "baoab", "hmc", "mala", "rmsprop_sgld", "sgld", "sgnht"  # made from their arguments
PLAIN = "needs_full_loss", "guided", "num_burnin", "min_draws"  # what else can be compared
SCHEDULER_SECONDS = 20  # to wait for an answer
SAME_LOSS = 1e-3  # relative difference of L(w*) between here and a worker that rounding explains


class Job(NamedTuple):
    """One checkpoint to be estimated: names and numbers, never tensors or open files.

    Attributes:
        store: Path of the store.
        step: Which checkpoint.
        task: How the worker makes the task.
        loss: The user's L(w*), by which the worker knows that it has the same data and loss.
        scale: nβ and γ.
        settings: What finds the estimate, with `sampler="auto"`.
        sampler: Name and arguments of the sampler; None for "auto".
    """

    store: str
    step: int
    task: Reference
    loss: float
    scale: Scale
    settings: Settings
    sampler: tuple[str, dict[str, Any]] | None

    @classmethod
    def make(cls, store: CheckpointStore, task: Task, step: int, loss: float, scale: Scale, settings: Settings) -> Job:
        """A job from what the caller has at hand; see `check_sendable` for what cannot be one."""
        assert task.reference is not None
        sampler = None
        if isinstance(settings.sampler, Sampler):
            sampler = settings.sampler.name, settings.sampler.settings
            settings = dataclasses.replace(settings, sampler="auto")
        return cls(str(store.path.resolve()), step, task.reference, loss, scale, settings, sampler)


def check_sendable(executor: Executor, task: Task, settings: Settings) -> None:
    """Refuse what workers cannot make by themselves.

    Args:
        executor: As given by the user.
        task: Likewise.
        settings: Likewise.

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
    if isinstance(given, Sampler):
        anew = getattr(sampling, given.name)(**given.settings) if given.name in SAMPLERS else None
        if anew is None or any(getattr(anew, name) != getattr(given, name) for name in PLAIN):
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
    """What a worker does.

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
    point = task.point(CheckpointStore(job.store, create=False).load(job.step))
    loss = users_loss(task, point).loss
    if abs(loss - job.loss) > SAME_LOSS * max(abs(loss), abs(job.loss)):
        raise InputError(
            f"step {job.step}: a worker on {socket.gethostname()} finds the loss {loss:.6g} where it is {job.loss:.6g} "
            f"here; expected {job.task.name} to give the same data at every start and everywhere (seed random ones; "
            "where a module that it imports was edited, start the workers of a cluster again)"
        )
    settings = job.settings
    if job.sampler is not None:
        name, arguments = job.sampler
        settings = dataclasses.replace(settings, sampler=getattr(sampling, name)(**arguments))
    return estimate_point(task, point, job.scale, settings)


class WorkerPool(Executor):
    """Processes on this machine. One that dies takes no other with it, and is replaced; none outlives this process.

    Args:
        workers: How many.

    Raises:
        InputError: Fewer than one.
    """

    def __init__(self, workers: int) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise InputError(f"workers is {workers!r}; expected an integer >= 1")
        self._workers = workers
        self._threads = max(1, torch.get_num_threads() // workers)
        self._running: _Running | None = None

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run fn(*args, **kwargs) in a worker."""
        if self._running is None:
            self._running = _Running(self._workers, self._threads)
        return self._running.dispatchers.submit(self._running.in_worker, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End all workers, after what they are at if `wait`, else at once."""
        running, self._running = self._running, None
        if running is not None:
            running.end(wait=wait, cancel_futures=cancel_futures)

    def __exit__(self, kind: object, *error: object) -> None:
        """Wait for the workers, or end them where something went wrong here."""
        self.shutdown(wait=kind is None, cancel_futures=kind is not None)


class _Running:
    """A thread for every worker, which has it in a pool of its own: a pool whose worker dies ends all it has."""

    def __init__(self, workers: int, threads: int) -> None:
        resource_tracker.ensure_running()  # now, as its start lets interrupts through that a thread keeps out
        self._context = multiprocessing.get_context("spawn")  # forked children of a process with threads may hang
        self._watched, self._alive = self._context.Pipe(duplex=False)
        self._threads, self._own = threads, threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self.dispatchers = ThreadPoolExecutor(workers)

    def in_worker(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do that in this thread's worker, which begins with its first work and after one that died."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as in its worker: the main thread gets them
        if getattr(self._own, "pool", None) is None:
            self._own.pool = ProcessPoolExecutor(
                1, mp_context=self._context, initializer=_begin, initargs=(self._watched, self._threads)
            )
            self._pools.append(self._own.pool)
        try:
            return self._own.pool.submit(fn, *args, **kwargs).result()
        except BrokenExecutor:
            self._pools.remove(self._own.pool)
            self._own.pool = None
            raise

    def end(self, *, wait: bool, cancel_futures: bool) -> None:
        """End all workers; nothing can be submitted afterwards."""
        if not wait:
            self._alive.close()
        self.dispatchers.shutdown(wait=wait, cancel_futures=cancel_futures)
        for pool in list(self._pools):
            pool.shutdown(wait=wait)
        self._alive.close()


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster (extra `dask`); they need llckit, and the same paths.

    Args:
        address: Of the scheduler, such as tcp://host:8786.

    Yields:
        The executor.

    Raises:
        InputError: The extra is not installed, no address, or no scheduler answers.
        EstimationError: The cluster gives up while it is in use.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
        from distributed.scheduler import KilledWorker
    except ImportError as error:
        raise InputError(f"a Dask cluster needs distributed ({error}); pip install 'llckit[dask]'") from error
    try:
        get_address_host_port(address)
    except ValueError as error:
        raise InputError(f"scheduler is {address!r} ({error}); expected an address such as tcp://host:8786") from error
    try:
        client = Client(address, set_as_default=False, timeout=SCHEDULER_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {address} ({error}); start one with: dask scheduler, and workers with: dask "
            "worker ADDRESS"
        ) from error
    with client:
        if not client.scheduler_info()["workers"]:
            warnings.warn(f"no workers are at {address} yet; start some with: dask worker ADDRESS", stacklevel=3)
        try:
            yield client.get_executor(pure=False)
        except (CancelledError, KilledWorker) as error:
            raise EstimationError(
                f"the cluster at {address} gave up ({str(error) or type(error).__name__}): its scheduler has ended, or "
                "a checkpoint kills its workers (memory may be short). What is finished is kept"
            ) from error


def _begin(watched: Connection, threads: int) -> None:
    """A worker's first act: end with its parent."""
    torch.set_num_threads(threads)

    def wait_for_end() -> None:
        try:
            watched.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
