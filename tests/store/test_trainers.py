"""Real runs of both trainers, recorded; also a script: `test_trainers.py FOLDER` makes runs that are killed."""

import copy
import functools
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader

from llckit.errors import InputError
from llckit.store import CheckpointStore, Recorder, import_checkpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.* is deprecated"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

DATA = torch.linspace(-1, 1, 48).reshape(24, 2)


class Task(nn.Module):
    """What both trainers train; it keeps the weights after each optimizer step, and the loss of each batch."""

    def __init__(self, learning_rate=0.1):
        super().__init__()
        self.fc = nn.Linear(2, 1)
        self.learning_rate = learning_rate
        self.losses = []
        self.states = [copy.deepcopy(self.state_dict())]
        self.fail_after = self.kill_after = None

    def loss(self, x):
        loss = (self.fc(x) - x.prod(1, keepdim=True)).square().mean()
        self.losses.append(loss.item())
        return loss

    def optimizer(self):
        optimizer = torch.optim.SGD(self.parameters(), self.learning_rate)
        optimizer.register_step_post_hook(self.stepped)
        return optimizer, torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)

    def stepped(self, *_):
        self.states.append(copy.deepcopy(self.state_dict()))
        if len(self.states) - 1 == self.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if len(self.states) - 1 == self.fail_after:
            raise ZeroDivisionError


@functools.cache
def lightning():
    pytest.importorskip("lightning.pytorch")
    with warnings.catch_warnings(action="ignore"):
        import lightning.pytorch
    return lightning.pytorch


@functools.cache
def transformers():
    pytest.importorskip("accelerate")
    with warnings.catch_warnings(action="ignore"):
        return pytest.importorskip("transformers")


@functools.cache
def lightning_task():
    class LightningTask(Task, lightning().LightningModule):
        def training_step(self, batch, index):
            loss = self.loss(batch)
            self.log("train/double", 2 * loss)
            if index % 4 == 0:
                self.log("rare", loss)
            return loss

        def validation_step(self, batch, index):
            self.log("val_loss", self.loss(batch))

        def configure_optimizers(self):
            optimizer, scheduler = self.optimizer()
            return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    return LightningTask


class TransformersTask(Task):
    def forward(self, x):
        return {"loss": self.loss(x), "logits": x}


def train_with_lightning(folder, recorder, steps, *, module=None, resume=False, save_every=None, **options):
    checkpoints = lightning().callbacks.ModelCheckpoint(folder, every_n_train_steps=save_every, save_top_k=-1)
    trainer = lightning().Trainer(
        max_steps=steps,
        max_epochs=-1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=save_every is not None,
        default_root_dir=folder,
        num_sanity_val_steps=0,
        callbacks=[recorder.lightning(), *([checkpoints] if save_every else [])],
        **options,
    )
    module = module or lightning_task()()
    last = max(folder.glob("*.ckpt"), key=lambda path: int(path.stem.split("=")[-1])) if resume else None
    # As in a run whose order of data is not fixed, so that a resumed one goes another way.
    train = DataLoader(DATA, batch_size=4, shuffle=True)
    trainer.fit(module, train, DataLoader(DATA, batch_size=12), ckpt_path=last)
    return module


def train_with_transformers(
    folder, recorder, steps, *, module=None, resume=False, save_every=None, callbacks=(), **options
):
    module = module or TransformersTask()
    arguments = transformers().TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=4,
        save_strategy="steps" if save_every else "no",
        save_steps=save_every or 500,
        seed=torch.initial_seed() % 2**32,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    trainer = transformers().Trainer(
        module,
        arguments,
        train_dataset=[{"x": x} for x in DATA],
        optimizers=module.optimizer(),
        callbacks=[recorder.transformers(), *callbacks],
    )
    trainer.train(resume_from_checkpoint=resume)
    return module


TRAINERS = {"lightning": train_with_lightning, "transformers": train_with_transformers}
both = pytest.mark.parametrize("train", TRAINERS.values(), ids=TRAINERS)


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "run")


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def assert_recorded(store, steps, states):
    assert (store.steps, store.verify()) == (steps, [])
    for step in steps:
        assert same(store.load(step), states[step]), f"step {step} has other weights"


@pytest.mark.parametrize("background", [False, True])
def test_lightning_runs_are_recorded_by_optimizer_steps(tmp_path, store, background):
    recorder = Recorder(store, [0, 1, 2, 5, 8, 100], background=background)
    module = lightning_task()()
    train_with_lightning(tmp_path, recorder, 8, module=module, accumulate_grad_batches=2, limit_val_batches=0)
    assert_recorded(store, [0, 1, 2, 5, 8], module.states)
    assert store.metadata(0) == {}
    batches = module.losses
    for step in (1, 2, 5, 8):
        metadata = store.metadata(step)
        assert metadata.pop("loss") == pytest.approx((batches[2 * step - 2] + batches[2 * step - 1]) / 2)
        assert metadata.pop("train_double") == pytest.approx(2 * batches[2 * step - 1])
        assert metadata.pop("learning_rate") == pytest.approx(0.1 * 0.9 ** (step - 1))
        # Six batches an epoch. "rare" is of the batches 0 and 4 of an epoch, which end no step.
        assert metadata == {"epoch": (2 * step - 1) // 6}


def test_metadata_are_of_this_step_alone(tmp_path, store):
    train_with_lightning(tmp_path, Recorder(store), 9, val_check_interval=2)
    names = [set(store.metadata(step)) for step in range(1, 10)]
    always = {"loss", "train_double", "learning_rate", "epoch"}
    assert [step for step, found in enumerate(names, start=1) if found == always | {"rare"}] == [1, 5, 7]
    assert all(found <= always | {"rare"} for found in names), "a validation's loss is of earlier weights"


def test_steps_that_several_optimizers_pass_over_are_saved_at_the_next(tmp_path, store):
    class TwoOptimizers(lightning_task()):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, index):
            loss = self.loss(batch)
            loss.backward()
            for optimizer in self.optimizers():
                optimizer.step()
            return {"loss": loss}

        def configure_optimizers(self):
            return [torch.optim.SGD([parameter], 0.1) for parameter in self.fc.parameters()]

    train_with_lightning(tmp_path, Recorder(store, [0, 3, 4, 7]), 8, module=TwoOptimizers(), limit_val_batches=0)
    assert store.steps == [0, 4, 8]


@pytest.mark.parametrize("background", [False, True])
def test_transformers_runs_are_recorded_by_optimizer_steps(tmp_path, store, background):
    recorder = Recorder(store, [0, 1, 2, 5, 8, 100], background=background)
    module = TransformersTask()
    train_with_transformers(tmp_path, recorder, 8, module=module, gradient_accumulation_steps=2, logging_steps=2)
    assert_recorded(store, [0, 1, 2, 5, 8], module.states)
    assert store.metadata(0) == {}
    batches = module.losses
    for step in (1, 2, 5, 8):
        metadata = store.metadata(step)
        assert metadata.pop("learning_rate") == pytest.approx(0.1 * 0.9 ** (step - 1))
        assert metadata.pop("epoch") == pytest.approx(step / 3)
        if step % 2 == 0:  # it logs the mean since it logged last
            assert metadata.pop("loss") == pytest.approx(sum(batches[2 * step - 4 : 2 * step]) / 4)
            assert metadata.pop("grad_norm") > 0
        assert metadata == {}


def test_a_log_that_another_callback_cancels_loses_no_step(tmp_path, store):
    class Silent(transformers().TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_log = False

    module = TransformersTask()
    train_with_transformers(tmp_path, Recorder(store), 4, module=module, logging_steps=1, callbacks=[Silent()])
    assert_recorded(store, [0, 1, 2, 3, 4], module.states)


class SlowStore(CheckpointStore):
    def put(self, *args, **options):
        time.sleep(0.03)
        super().put(*args, **options)


SCHEDULE = [0, 1, 4, 5, 9, 10, 11, 12, 13, 14, 17, 20]

# After 11 steps the queue holds what the trainer's checkpoint of step 10 must not be ahead of; after 15, at most two of
# the steps 11 to 14 are lost, and all are passed again.
KILLS = [11, 15]


def killed_runs(folder):
    """Train with each trainer, which makes its checkpoints every 5 steps, until a kill."""
    lightning(), transformers()  # imported once, before the forks
    for name, train in TRAINERS.items():
        for kill in KILLS:
            runs = folder / f"{name} {kill}"
            writer = os.fork()
            if writer == 0:
                torch.manual_seed(1)
                module = lightning_task()() if name == "lightning" else TransformersTask()
                module.kill_after = kill
                recorder = Recorder(SlowStore(runs / "store"), SCHEDULE, background=True)
                train(runs / "trainer", recorder, 20, module=module, save_every=5)
            assert os.waitpid(writer, 0)[1] == signal.SIGKILL


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    lightning(), transformers()
    folder = tmp_path_factory.mktemp("killed")
    finished = subprocess.run([sys.executable, __file__, str(folder)], capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return folder


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
    told = [str(warning.message) for warning in recwarn if "is already in" in str(warning.message)]
    if 11 in before:
        (message,) = told
        assert message.startswith("step 11 ")
        assert "resumed from step 10, does not repeat exactly" in message
    else:
        assert told == []
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


@both
def test_a_run_that_repeats_the_record_exactly_is_silent(tmp_path, store, train):
    for steps in (3, 5):
        torch.manual_seed(0)
        train(tmp_path, Recorder(store), steps)
    assert store.steps == [0, 1, 2, 3, 4, 5]


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


@both
def test_a_failing_run_leaves_what_was_queued(tmp_path, train):
    store = SlowStore(tmp_path / "run")
    module = lightning_task()() if train is train_with_lightning else TransformersTask()
    module.fail_after = 3
    with pytest.raises(ZeroDivisionError), Recorder(store, background=True) as recorder:
        train(tmp_path, recorder, 5, module=module)
    assert store.steps == [0, 1, 2]


@both
def test_a_failed_write_stops_the_run(tmp_path, monkeypatch, store, train):
    def full(*_, **__):
        raise InputError("the disk is full")

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(InputError, match="step 0 was not saved: the disk is full"):
        train(tmp_path, Recorder(store, [0], background=True), 3)


@both
def test_only_the_global_rank_zero_records(tmp_path, monkeypatch, store, train):
    if train is train_with_lightning:
        monkeypatch.setattr(lightning().Trainer, "is_global_zero", False)
    else:
        monkeypatch.setattr(transformers().Trainer, "is_world_process_zero", lambda self: False)
    train(tmp_path, Recorder(store), 3)
    assert store.steps == []


def test_a_trial_run_of_lightning_is_not_recorded(tmp_path, store):
    train_with_lightning(tmp_path, Recorder(store), 3, fast_dev_run=True)
    assert store.steps == []


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
        assert other.recorder.schedule == {3}


@pytest.mark.parametrize(
    ("extra", "modules"),
    [("lightning", ["lightning.pytorch", "pytorch_lightning"]), ("transformers", ["transformers"])],
)
def test_a_missing_package_says_what_to_install(monkeypatch, store, extra, modules):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"pip install llckit\[{extra}\]"):
        getattr(Recorder(store), extra)()


if __name__ == "__main__":
    from pathlib import Path

    warnings.simplefilter("ignore")
    killed_runs(Path(sys.argv[1]))
