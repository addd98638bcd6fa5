"""Runs of the transformers `Trainer`, recorded."""

import pytest

from llckit.store import Recorder

from .trainer_runs import QUIET, TransformersTask, assert_recorded, train_with_transformers, transformers

pytestmark = QUIET


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_log_that_another_callback_cancels_loses_no_step(tmp_path, store):
    class Silent(transformers().TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            control.should_log = False

    module = TransformersTask()
    train_with_transformers(tmp_path, Recorder(store), 4, module=module, logging_steps=1, callbacks=[Silent()])
    assert_recorded(store, [0, 1, 2, 3, 4], module.states)
