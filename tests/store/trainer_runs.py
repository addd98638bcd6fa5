"""Small runs of both trainers; also a script: `trainer_runs.py FOLDER` makes runs that are killed."""

import copy
import functools
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from llckit.store import CheckpointStore, Recorder

QUIET = [
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
    with warnings.catch_warnings(action="ignore"):
        import lightning.pytorch
    return lightning.pytorch


@functools.cache
def transformers():
    with warnings.catch_warnings(action="ignore"):
        import transformers
    return transformers


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


class SlowStore(CheckpointStore):
    def put(self, *args, **options):
        time.sleep(0.03)
        super().put(*args, **options)


SCHEDULE = [0, 1, 4, 5, 9, 10, 11, 12, 13, 14, 17, 20]
# After 11 steps the queue holds what the trainer's checkpoint of step 10 must not be ahead of; after 15, at most two of
# the steps 11 to 14 are lost, and all are passed again.
KILLS = [11, 15]


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def assert_recorded(store, steps, states):
    assert (store.steps, store.verify()) == (steps, [])
    for step in steps:
        assert same(store.load(step), states[step]), f"step {step} has other weights"


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


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    killed_runs(Path(sys.argv[1]))
