import copy
import gc
import math
import pickle
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import distributed, nn

from llckit.errors import InputError
from llckit.store import CheckpointStore, Recorder, linear_schedule, log_schedule, mixed_schedule
from llckit.store.manifest import DTYPES
from llckit.store.recorder import plain_state

SCHEDULES = [log_schedule, linear_schedule, mixed_schedule]


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


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "run")


def test_saves_exactly_the_scheduled_steps(store):
    model = nn.Linear(2, 1)
    recorder = Recorder(store, schedule=[0, 3, 7, 100])
    saved = []
    for step in range(10):
        with torch.no_grad():
            model.weight.fill_(step)
        saved.append(recorder(step, model, loss=step / 2))
    assert [step for step in range(10) if saved[step]] == [0, 3, 7] == store.steps
    assert store.metadata(7) == {"loss": 3.5}
    assert (store.load(3)["weight"] == 3).all()


def test_without_a_schedule_every_call_saves(store):
    recorder = Recorder(store)
    assert all(recorder(step, {"w": torch.zeros(1)}) for step in (5, 2))
    assert store.steps == [2, 5]


@pytest.mark.parametrize("schedule", [range(0, 10, 5), np.array([0, 5]), {5, 0}, iter((0, 5)), torch.tensor([0, 5])])
def test_any_collection_of_steps_is_a_schedule(store, schedule):
    recorder = Recorder(store, schedule)
    for step in range(7):
        recorder(step, {"w": torch.zeros(1)})
    assert store.steps == [0, 5]


@pytest.mark.parametrize("schedule", [5, "05", [1.5], [-1], [True], []], ids=repr)
def test_other_schedules_are_refused(store, schedule):
    with pytest.raises(InputError, match="schedule"):
        Recorder(store, schedule)


def test_wrong_store_and_step_are_refused(store):
    with pytest.raises(InputError, match="must be a CheckpointStore"):
        Recorder("run")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"step is 1\.0"):
        Recorder(store, [5])(1.0, {"w": torch.zeros(1)})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("last_step", [0, 1, 2, 7, 50, 999, 10_000, 1_234_567])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 99, 100, 1000])
def test_schedules_are_exact(schedule, last_step, count):
    steps = schedule(last_step, count)
    assert len(steps) == min(count, last_step + 1)
    assert steps == sorted(set(steps))
    assert all(type(step) is int for step in steps)
    assert steps[-1] == last_step
    assert steps[0] == (0 if len(steps) > 1 else last_step)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_count_of_a_short_run(schedule):
    for last_step in range(40):
        for count in range(1, last_step + 3):
            assert len(schedule(np.int64(last_step), count)) == min(count, last_step + 1)


def test_linear_spacing_is_the_rounded_grid():
    assert linear_schedule(10, 5) == [0, 3, 5, 8, 10]
    assert {b - a for a, b in pairwise(linear_schedule(10_000, 333))} == {30, 31}


def test_log_spacing_is_geometric_once_steps_are_far_apart():
    assert log_schedule(999, 4) == [0, 9, 99, 999]
    steps = log_schedule(10_000, 100)
    assert steps[:6] == [0, 1, 2, 3, 4, 5]
    wide = [step + 1 for step in steps if step > 300]
    ratios = [math.log(b / a) for a, b in pairwise(wide)]
    assert max(ratios) / min(ratios) < 1.05


def test_mixed_schedule_holds_both_halves():
    steps = set(mixed_schedule(10_000, 100))
    assert steps >= set(log_schedule(10_000, 51))
    assert steps >= set(linear_schedule(10_000, 51))
    assert max(b - a for a, b in pairwise(sorted(steps))) <= 200


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("last_step", "count"), [(-1, 5), (10, 0), (10.0, 5), (10, 2.5), (True, 5), ("10", 5)])
def test_schedules_refuse_what_is_no_count(schedule, last_step, count):
    with pytest.raises(InputError, match="expected an integer >="):
        schedule(last_step, count)


def weights(value):
    return {"w": torch.full((3,), float(value))}


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


def test_training_and_writing_overlap(tmp_path):
    class Sleepy(CheckpointStore):
        def put(self, *args, **options):
            time.sleep(0.1)
            super().put(*args, **options)

    start = time.monotonic()
    with Recorder(Sleepy(tmp_path / "run"), background=True) as recorder:
        for step in range(5):
            recorder(step, weights(step))
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
    store.go.release(100)
    recorder = Recorder(store, schedule=[0, 1, 2, 3, 1000, 1001], background=True)
    recorder(0, weights(0))
    recorder(1000, weights(0))
    recorder._settle()
    with pytest.raises(InputError, match="step 1000 was not saved: the disk is full"):
        recorder(999, weights(0))  # also where nothing is scheduled
    recorder(1, weights(1))
    recorder(1001, weights(1))
    with pytest.raises(InputError, match="step 1001"):
        recorder.flush()
    recorder.flush()
    recorder(1000, weights(0))
    recorder._settle()
    with pytest.raises(InputError, match="step 1000"):
        recorder(2, weights(2))  # which is saved all the same
    with pytest.raises(InputError, match="step 1000"), recorder:
        recorder(1000, weights(0))
    assert store.steps == [0, 1, 2]


def test_an_exception_in_the_block_is_not_replaced(tmp_path, capfd):
    store = SlowStore(tmp_path / "run")
    store.go.release(100)

    def run():
        with Recorder(store, background=True) as recorder:
            recorder(0, weights(0))
            recorder(1000, weights(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run()
    assert store.steps == [0]
    gc.collect()
    assert capfd.readouterr().err == "llckit: step 1000 was not saved: the disk is full\n"


def test_a_recorder_may_be_dropped_while_it_writes(tmp_path):
    store = SlowStore(tmp_path / "run")
    Recorder(store, background=True)(0, weights(0))
    gc.collect()
    store.go.release(1)
    for thread in threading.enumerate():
        if thread.name == "llckit-recorder":
            thread.join(20)
    assert store.steps == [0]


@pytest.mark.parametrize("background", [False, True])
def test_wrong_input_is_refused_by_the_call_itself(store, background):
    recorder = Recorder(store, background=background)
    with pytest.raises(InputError, match="metadata 'loss' is a list"):
        recorder(0, weights(0), loss=[1])
    with pytest.raises(InputError, match="'w' is a int, not a tensor"):
        recorder(0, {"w": 1})  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="the state dict is empty"):
        recorder(0, {})
    with pytest.raises(InputError, match="got a int"):
        recorder(0, 1)  # pyright: ignore[reportArgumentType]
    recorder.flush()
    assert store.steps == []


def test_a_copy_of_a_recorder_starts_with_an_empty_queue(tmp_path):
    store = CheckpointStore(tmp_path / "run")
    recorder = Recorder(store, [0, 1, 2], background=True)
    recorder(0, weights(0))
    for step, other in enumerate((copy.deepcopy(recorder), pickle.loads(pickle.dumps(recorder))), start=1):
        with other:
            assert other(step, weights(step))
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


@pytest.fixture
def process_group():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)  # the names that wrappers use are not theirs alone
        self.layers = nn.ModuleList([nn.Linear(2, 2), nn.BatchNorm1d(2)])


@pytest.mark.usefixtures("process_group")
def test_wrapped_modules_are_saved_under_their_own_names(store):
    net = Net()
    expected = net.state_dict()
    compiled_part = copy.deepcopy(net)
    compiled_part.layers[0] = torch.compile(compiled_part.layers[0], backend="eager")
    wrapped = [
        net,
        nn.DataParallel(net),
        nn.parallel.DistributedDataParallel(net),
        torch.compile(net, backend="eager"),
        torch.compile(nn.parallel.DistributedDataParallel(net), backend="eager"),
        nn.DataParallel(compiled_part),
    ]
    recorder = Recorder(store)
    for step, model in enumerate(wrapped):
        assert list(plain_state(model)) == list(expected)
        assert recorder(step, model)
        loaded = store.load(step)
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert len({store.manifest(step).weights_hash for step in store.steps}) == 1


@pytest.mark.parametrize("background", [False, True])
def test_only_rank_zero_saves(store, monkeypatch, process_group, background):
    recorder = Recorder(store, background=background)
    assert recorder(0, weights(0))
    monkeypatch.setattr(distributed, "get_rank", lambda: 1)
    assert not recorder(1, weights(1))
    recorder.flush()
    assert store.steps == [0]


@pytest.mark.usefixtures("process_group")
def test_sharded_models_are_refused_and_told_what_to_do(store):
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    class FullyShardedDataParallel(nn.Module):  # the real one wants an accelerator
        def __init__(self, module):
            super().__init__()
            self.module = module

    sharded = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    fully_shard(sharded[1], mesh=init_device_mesh("cpu", (1,)))
    zero = nn.Linear(2, 1)
    zero.bias.ds_id = 0  # pyright: ignore[reportAttributeAccessIssue]
    recorder = Recorder(store, background=True)
    for given, found in [
        (nn.Sequential(FullyShardedDataParallel(nn.Linear(2, 1))), "0 is a FullyShardedDataParallel"),
        (sharded, "1.weight is a DTensor"),
        (sharded.state_dict(), "1.weight is a DTensor"),
        (zero, "bias is a ZeRO-3 partition"),
    ]:
        with pytest.raises(
            InputError, match=rf"sharded \({found}\).*gather them on all ranks, by get_model_state_dict"
        ):
            recorder(0, given)
    with recorder:
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        assert recorder(0, get_model_state_dict(sharded, options=options))
    assert list(store.load(0)) == ["0.weight", "0.bias", "1.weight", "1.bias"]
