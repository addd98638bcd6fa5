"""Where checkpoints are estimated: processes on this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import ParamSpec, TypeVar

import torch

from llckit.checks import check_integer
from llckit.errors import EstimationError, InputError

SCHEDULER_SECONDS = 20  # to wait for an answer

_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


class WorkerPool(Executor):
    """Processes on this machine. One that dies takes no other with it, and is replaced; none outlives this process.

    Args:
        workers: How many.

    Raises:
        InputError: Fewer than one.
    """

    def __init__(self, workers: int) -> None:
        self._max_workers = check_integer("workers", workers, 1)  # as those of the standard library call it
        self._threads = max(1, torch.get_num_threads() // self._max_workers)
        self._running: _Running | None = None

    def submit(self, fn: Callable[_Given, _Result], /, *args: _Given.args, **kwargs: _Given.kwargs) -> Future[_Result]:
        """Run fn(*args, **kwargs) in a worker."""
        if self._running is None:
            self._running = _Running(self._max_workers, self._threads)
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
        self._context = _context()
        self._watched, self._alive = self._context.Pipe(duplex=False)
        self._threads, self._own = threads, threading.local()
        self._pools: list[ProcessPoolExecutor] = []
        self.dispatchers = ThreadPoolExecutor(workers)

    def in_worker(self, fn: Callable[..., _Result], args: tuple[object, ...], kwargs: dict[str, object]) -> _Result:
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


def _context() -> BaseContext:
    """How workers are made: forked from a process without threads that has imported what they need, if possible."""
    if sys.platform != "linux":  # elsewhere libraries that torch loads may not survive a fork
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["llckit"])
    return context


def _begin(watched: Connection, threads: int) -> None:
    """A worker's first act: end with its parent."""
    torch.set_num_threads(threads)

    def wait_for_end() -> None:
        try:
            watched.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()
