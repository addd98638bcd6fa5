"""Linear nets from lazy to rich: the exponent of their hidden updates, one task at all widths, and λ."""

import itertools

import numpy as np
import pytest
import torch

import llckit as lk
from llckit.errors import InputError
from llckit.store import CheckpointStore
from llckit.toys import hidden_updates, richness_run, train

WIDTHS, SEEDS = (128, 256, 512, 1024), 8


def final_loss(run, model, batch):
    with torch.no_grad():
        return float(run.task.loss_fn(model, batch).mean())


@pytest.mark.slow
@pytest.mark.parametrize("richness", [0, 0.25, 0.5])
def test_hidden_updates_go_as_n_to_the_r(trained, richness):
    """16 outputs average over the initial net, which at r = 0 is of the size of the target."""
    logs = np.empty((len(WIDTHS), SEEDS, 2))
    for (i, width), seed in itertools.product(enumerate(WIDTHS), range(SEEDS)):
        before, after, batch = trained(richness_run(width, richness, outputs=16, seed=seed), 40)
        logs[i, seed] = np.log(hidden_updates(before, after, batch[0]))
    slopes = np.polyfit(np.log(WIDTHS), logs.mean(1), 1)[0]
    assert np.abs(slopes - richness).max() < 0.05


@pytest.mark.slow
def test_all_widths_learn_the_same_task_to_the_end(trained):
    tasks = [richness_run(n, r, seed=s).task.samples.first(99) for n, r, s in ((8, 0, 0), (32, 0.5, 3))]
    for first, second in zip(*tasks, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    for width, richness in itertools.product((16, 64), (0, 0.5)):
        run = richness_run(width, richness, outputs=2)
        _, model, batch = trained(run, run.last_step)
        assert final_loss(run, model, batch) < 1e-6


def test_a_run_is_recorded_with_its_updates(tmp_path):
    run = richness_run(16, 0.5, outputs=2)
    store = CheckpointStore(tmp_path / "run.ckpts")
    train(run, lk.Recorder(store, [0, 10, run.last_step]))
    updates = [store.metadata(step)["hidden_update"] for step in store.steps]
    assert updates[0] == 0
    assert 0 < updates[1] < updates[2]


@pytest.mark.slow
def test_the_lambda_of_the_linear_net_does_not_know_r(trained):
    """Half the weights of the map it learns, 2 · outputs, by the bracket's lower end at a trained net."""
    for richness in (0, 0.5):
        run = richness_run(12, richness, outputs=3)
        _, model, (inputs, _) = trained(run, run.last_step)
        box = lk.bracket(model, (inputs, model(inputs).detach()), run.task.loss_fn)
        assert box.lower == box.upper == 6


@pytest.mark.parametrize(
    "call",
    [
        lambda: richness_run(3, 0.5),
        lambda: richness_run(8, 0.5, outputs=0),
        lambda: richness_run("8", 0.5),  # type: ignore[arg-type]
        lambda: richness_run(8.5, 0.5),  # type: ignore[arg-type]
        lambda: richness_run(8, 0.5, outputs=None),  # type: ignore[arg-type]
        lambda: richness_run(8, 0.5, seed="a"),  # type: ignore[arg-type]
        lambda: richness_run(8, 2),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
