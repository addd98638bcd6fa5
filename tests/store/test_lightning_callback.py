"""Runs of Lightning, recorded."""

import pytest
import torch

from llckit.store import Recorder

from .trainer_runs import QUIET, assert_recorded, lightning_task, train_with_lightning

pytestmark = QUIET


@pytest.mark.slow
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


def test_a_trial_run_of_lightning_is_not_recorded(tmp_path, store):
    train_with_lightning(tmp_path, Recorder(store), 3, fast_dev_run=True)
    assert store.steps == []
