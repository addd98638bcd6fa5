import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.store import CheckpointStore, Recorder, linear_schedule, log_schedule, mixed_schedule

SCHEDULES = [log_schedule, linear_schedule, mixed_schedule]


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
    with pytest.raises(InputError, match="must be an integer of at least"):
        schedule(last_step, count)
