"""Runs of both trainers that are killed, resumed, repeated, or that fail."""

import copy
import pickle
import subprocess
import sys

import pytest
import torch
from torch import distributed

from llckit.errors import InputError
from llckit.store import CheckpointStore, Recorder, import_checkpoints

from . import trainer_runs
from .trainer_runs import (
    KILLS,
    QUIET,
    SCHEDULE,
    TRAINERS,
    SlowStore,
    TransformersTask,
    both,
    lightning,
    lightning_task,
    same,
    train_with_lightning,
    transformers,
)

pytestmark = QUIET


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    lightning(), transformers()
    folder = tmp_path_factory.mktemp("killed")
    finished = subprocess.run(
        [sys.executable, trainer_runs.__file__, str(folder)], capture_output=True, text=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint need to be provided")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("always:step .* is already in")
@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("name", TRAINERS)
def test_a_killed_run_that_is_resumed_is_recorded_without_duplicates_and_gaps(killed, name, kill, recwarn):
    runs = killed / f"{name} {kill}"
    store = CheckpointStore(runs / "store")
    before = {step: store.load(step) for step in store.steps}
    assert [step for step in before if step <= 10] == [0, 1, 4, 5, 9, 10]
    torch.manual_seed(2)
    module = TRAINERS[name](runs / "trainer", Recorder(store, SCHEDULE), 20, resume=True, save_every=5)
    messages = [str(warning.message) for warning in recwarn if "is already in" in str(warning.message)]
    if 11 in before:
        (message,) = messages
        assert message.startswith("step 11 ")
        assert "resumed from step 10, does not repeat exactly" in message
    else:
        assert messages == []
    assert ((11 in before), kill) in [(False, 11), (True, 15)]
    assert (store.steps, store.verify()) == (SCHEDULE, [])
    for step in SCHEDULE:
        if step in before:
            assert same(store.load(step), before[step])
            assert "resumed_from" not in store.metadata(step)
        else:
            assert same(store.load(step), module.states[step - 10])
            assert store.metadata(step)["resumed_from"] == 10
    # The trainer's own checkpoints, brought in twice.
    imported = CheckpointStore(runs / "imported")
    for _ in range(2):
        assert import_checkpoints(runs / "trainer", imported) == [5, 10, 15, 20] == imported.steps
    assert imported.verify() == []
    for step in (5, 10, 20):
        assert same(imported.load(step), store.load(step))


@pytest.mark.slow
@both
def test_a_run_that_repeats_the_record_exactly_is_silent(tmp_path, store, train):
    for steps in (3, 5):
        torch.manual_seed(0)
        train(tmp_path, Recorder(store), steps)
    assert store.steps == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@both
def test_a_run_from_scratch_into_the_record_of_another_is_refused(tmp_path, store, train):
    task = lightning_task() if train is train_with_lightning else TransformersTask
    train(tmp_path, Recorder(store), 2)
    other = task()
    with pytest.raises(InputError, match=r"step 0 is already in .* another folder"):
        train(tmp_path, Recorder(store), 3, module=other)
    assert len(other.states) == 1, "it trained before it complained"

    torch.manual_seed(0)
    with pytest.raises(InputError, match=r"step 1 is already in .* with other weights"):
        train(tmp_path, Recorder(store), 3, module=task(learning_rate=0.2))
    assert store.steps == [0, 1, 2]


@pytest.mark.slow
@both
def test_a_failing_run_leaves_what_was_queued(tmp_path, train):
    store = SlowStore(tmp_path / "run")
    module = lightning_task()() if train is train_with_lightning else TransformersTask()
    module.fail_after = 3
    with pytest.raises(ZeroDivisionError), Recorder(store, background=True) as recorder:
        train(tmp_path, recorder, 5, module=module)
    assert store.steps == [0, 1, 2]


@pytest.mark.slow
@both
def test_a_failed_write_stops_the_run(tmp_path, monkeypatch, store, train):
    def full(*_, **__):
        raise InputError("the disk is full")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(InputError, match="step 0 was not saved: the disk is full"):
        train(tmp_path, Recorder(store, [0], background=True), 3)


@pytest.mark.slow
@both
def test_only_the_global_rank_zero_records(tmp_path, monkeypatch, store, train):
    if train is train_with_lightning:
        monkeypatch.setattr(lightning().Trainer, "is_global_zero", False)
    else:
        monkeypatch.setattr(transformers().Trainer, "is_world_process_zero", lambda self: False)
    train(tmp_path, Recorder(store), 3)
    assert store.steps == []


@pytest.mark.slow
@both
def test_sharded_models_are_refused_before_training(tmp_path, store, train):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    module = lightning_task()() if train is train_with_lightning else TransformersTask()
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        fully_shard(module.fc, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(InputError, match=r"sharded \(fc\.weight is a DTensor\)"):
            train(tmp_path, Recorder(store), 3, module=module)
    finally:
        distributed.destroy_process_group()
    assert (len(module.states), store.steps) == (1, [])


@pytest.mark.parametrize("extra", TRAINERS)
def test_callbacks_can_be_copied_and_pickled(store, extra):
    lightning(), transformers()
    callback = getattr(Recorder(store, [3]), extra)()
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert other.follower.saver.schedule == {3}


@pytest.mark.parametrize(
    ("extra", "modules"),
    [("lightning", ["lightning.pytorch", "pytorch_lightning"]), ("transformers", ["transformers"])],
)
def test_a_missing_package_says_what_to_install(monkeypatch, store, extra, modules):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"pip install llckit\[{extra}\]"):
        getattr(Recorder(store), extra)()
