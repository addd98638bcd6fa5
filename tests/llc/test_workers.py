"""Workers as an executor, whatever they do."""

import os
import signal
import time
from concurrent.futures import BrokenExecutor

import pytest

from llckit.llc import WorkerPool


@pytest.mark.slow
def test_a_worker_that_dies_takes_no_other_with_it():
    with WorkerPool(2) as pool:
        other, dying = pool.submit(time.sleep, 1), pool.submit(signal.raise_signal, signal.SIGKILL)
        assert isinstance(dying.exception(), BrokenExecutor)
        assert other.exception() is None


@pytest.mark.slow
def test_a_worker_that_died_is_replaced():
    with WorkerPool(1) as pool:
        before = pool.submit(os.getpid).result()
        assert isinstance(pool.submit(signal.raise_signal, signal.SIGKILL).exception(), BrokenExecutor)
        assert pool.submit(os.getpid).result() not in (before, os.getpid())
