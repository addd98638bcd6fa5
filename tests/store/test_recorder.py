"""`Recorder`: it saves the scheduled steps, and refuses wrong input at once."""

import numpy as np
import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.store import Recorder

from .states import filled


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
    with pytest.raises(InputError, match=r"store is 'run'; expected a CheckpointStore"):
        Recorder("run")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"step is 1\.0"):
        Recorder(store, [5])(1.0, {"w": torch.zeros(1)})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("background", [False, True])
def test_wrong_input_is_refused_by_the_call_itself(store, background):
    recorder = Recorder(store, background=background)
    with pytest.raises(InputError, match="metadata 'loss' is a list"):
        recorder(0, filled(0), loss=[1])
    with pytest.raises(InputError, match="'w' is a int, not a tensor"):
        recorder(0, {"w": 1})  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="the state dict is empty"):
        recorder(0, {})
    with pytest.raises(InputError, match=r"model is 1; expected an nn\.Module or a dict"):
        recorder(0, 1)  # pyright: ignore[reportArgumentType]
    recorder.flush()
    assert store.steps == []
