"""Recording in the background: what is queued, what is copied, what fails, and how a process ends."""

import copy
import gc
import pickle
import subprocess
import sys
import threading
import time

import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.store import CheckpointStore, Recorder
from llckit.store.manifest import DTYPES

from .states import filled


class SlowStore(CheckpointStore):
    """Saves as many checkpoints as have been released; steps from 1000 on fail."""

    def __init__(self, path):
        super().__init__(path)
        self.go = threading.Semaphore(0)

    def put(self, step, model, metadata, **options):
        assert self.go.acquire(timeout=20)
        if step >= 1000:
            raise InputError("the disk is full")
        super().put(step, model, metadata, **options)


def release(store, count):
    """Let the writing thread save so many checkpoints, and wait until it has ended."""
    store.go.release(count)
    for thread in threading.enumerate():
        if thread.name == "llckit-recorder":
            thread.join(20)
            assert not thread.is_alive()


def test_in_the_background_calls_go_on_until_two_wait(tmp_path):
    store = SlowStore(tmp_path / "run")
    model = nn.Linear(2, 1)
    with Recorder(store, background=True) as recorder:
        for step in range(2):
            nn.init.constant_(model.weight, step)
            assert recorder(step, model, loss=torch.tensor(step / 2))
        assert store.steps == []  # both calls are over, nothing is written

        third = threading.Thread(target=recorder, args=(2, model))
        third.start()
        third.join(0.2)
        assert third.is_alive(), "more than two checkpoints were queued"
        store.go.release(1)
        third.join(20)
        assert (third.is_alive(), store.steps) == (False, [0])
        nn.init.constant_(model.weight, -1)  # what was queued does not change with the model
        store.go.release(2)
    assert store.steps == [0, 1, 2]
    assert [store.load(step)["weight"][0, 0].item() for step in store.steps] == [0, 1, 1]
    assert store.metadata(1) == {"loss": 0.5}
    assert store.verify() == []


@pytest.mark.slow
def test_training_and_writing_overlap(tmp_path):
    class Sleepy(CheckpointStore):
        def put(self, *args, **options):
            time.sleep(0.1)
            super().put(*args, **options)

    start = time.monotonic()
    with Recorder(Sleepy(tmp_path / "run"), background=True) as recorder:
        for step in range(5):
            recorder(step, filled(step))
            time.sleep(0.1)  # the training step
    # 1.0 s one after the other; the allowance is for a busy machine.
    assert time.monotonic() - start < 0.9
    assert recorder.store.steps == [0, 1, 2, 3, 4]


def test_copies_keep_ties_bits_and_layouts(store, tmp_path):
    shared = torch.randn(4, 3)
    nan = torch.tensor([0x7FA00001], dtype=torch.int32).view(torch.float32)  # signalling
    state = {
        "a": shared,
        "b": shared,
        "transposed": shared.T,
        "row": shared[1],
        "empty": torch.zeros(0),
        "also empty": torch.zeros(0),
        "conj": torch.randn(2, dtype=torch.complex64).conj(),
        "scalar": torch.tensor(3),
        "half": torch.randn(5).bfloat16(),
        "expanded": torch.randn(1, 2).expand(3, 2),
        "nan": nan,
        **{name: torch.ones(16, dtype=torch.uint8).view(dtype) for name, dtype in DTYPES.items()},
    }
    now = CheckpointStore(tmp_path / "now")
    now.save(0, state)
    with Recorder(store, background=True) as recorder:
        recorder(0, state)
    assert store.manifest(0) == now.manifest(0)
    assert store.manifest(0).tensors[0].names == ("a", "b")


def test_a_failed_write_is_raised_once_and_loses_no_other(tmp_path):
    store = SlowStore(tmp_path / "run")
    recorder = Recorder(store, schedule=[0, 1, 2, 3, 1000, 1001], background=True)
    recorder(0, filled(0))
    recorder(1000, filled(0))
    release(store, 2)
    with pytest.raises(InputError, match="step 1000 was not saved: the disk is full"):
        recorder(999, filled(0))  # also where nothing is scheduled
    recorder(1, filled(1))
    recorder(1001, filled(1))
    release(store, 2)
    with pytest.raises(InputError, match="step 1001"):
        recorder.flush()
    recorder.flush()
    recorder(1000, filled(0))
    release(store, 1)
    with pytest.raises(InputError, match="step 1000"):
        recorder(2, filled(2))  # which is saved all the same

    def record_in_a_block():
        with recorder:
            recorder(1000, filled(0))
            release(store, 2)

    with pytest.raises(InputError, match="step 1000"):
        record_in_a_block()
    assert store.steps == [0, 1, 2]


@pytest.mark.slow
def test_an_exception_in_the_block_is_not_replaced(tmp_path, capfd):
    store = SlowStore(tmp_path / "run")
    store.go.release(100)

    def run():
        with Recorder(store, background=True) as recorder:
            recorder(0, filled(0))
            recorder(1000, filled(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert store.steps == [0]
    gc.collect()
    assert capfd.readouterr().err == "llckit: step 1000 was not saved: the disk is full\n"


@pytest.mark.slow
def test_a_recorder_may_be_dropped_while_it_writes(tmp_path):
    store = SlowStore(tmp_path / "run")
    Recorder(store, background=True)(0, filled(0))
    gc.collect()
    store.go.release(1)
    for thread in threading.enumerate():
        if thread.name == "llckit-recorder":
            thread.join(20)
    assert store.steps == [0]


def test_a_copy_of_a_recorder_starts_with_an_empty_queue(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    recorder = Recorder(store, [0, 1, 2], background=True)
    recorder(0, filled(0))
    for step, other in enumerate((copy.deepcopy(recorder), pickle.loads(pickle.dumps(recorder))), start=1):
        with other:
            assert other(step, filled(step))
    recorder.flush()
    assert store.steps == [0, 1, 2]


# What a process leaves when it ends in different ways with checkpoints still queued, the second of which fails.
ENDING = """
import os, signal, sys, threading, time
import torch
from llckit.store import CheckpointStore, Recorder

class Slow(CheckpointStore):
    def put(self, step, *args, **options):
        time.sleep(0.3)
        if step == 1:
            raise OSError("no space")
        super().put(step, *args, **options)

recorder = Recorder(Slow(sys.argv[1]), background=True)
recorder(0, {"w": torch.zeros(3)})
recorder(1, {"w": torch.zeros(3)})
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        recorder(3, {"w": torch.zeros(3)})
        recorder.flush()
        sys.exit(0)
if sys.argv[2] == "interrupt":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a process without a terminal may not have
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()  # while the next call waits for room
recorder(2, {"w": torch.zeros(3)})
if sys.argv[2] == "fork":
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "steps"), [("exit", [0, 2]), ("interrupt", [0]), ("fork", [0, 2, 3])], ids=["exit", "interrupt", "fork"]
)
def test_what_is_queued_is_written_before_the_interpreter_ends(tmp_path, ending, steps):
    finished = subprocess.run(
        [sys.executable, "-c", ENDING, str(tmp_path / "run"), ending], capture_output=True, text=True, timeout=60
    )
    assert ("KeyboardInterrupt" in finished.stderr) == (ending == "interrupt") == (finished.returncode != 0)
    failure = "step 1 was not saved: OSError('no space')"
    assert finished.stderr.count(failure) == 1, finished.stderr
    store = CheckpointStore(tmp_path / "run", create=False)
    assert (store.steps, store.verify()) == (steps, [])
