"""Training runs against what is known of them: rises, grokking, accuracy, and dependence on the seed alone."""

import numpy as np
import pytest
import torch

import llckit as lk
from llckit.toys import STAIRCASE_MODES, staircase_rise


def record(run, tmp_path, steps):
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    lk.toys.train(run, lk.Recorder(store, steps))
    return store


@pytest.mark.slow
def test_the_staircase_rises_when_it_should(tmp_path):
    run = lk.toys.staircase()
    steps = list(range(0, run.last_step + 1, 20))
    store = record(run, tmp_path, steps)
    for mode, strength in enumerate(STAIRCASE_MODES):
        u = np.array([store.metadata(step)[f"mode_{mode}"] for step in store.steps])
        half = np.interp(strength / 2, u, steps)
        # The closed form is gradient flow's; a step of size η errs by about a share 2ηs.
        assert half == pytest.approx(staircase_rise(mode), rel=4 * 2e-3 * strength + 0.01)
    assert store.metadata(run.last_step)["loss"] < 1e-6


@pytest.mark.slow
def test_modular_addition_groks(tmp_path):
    run = lk.toys.modular_addition()
    assert run.task.dim == 6920
    assert run.task.n == 924
    store = record(run._replace(last_step=1500), tmp_path, [0, 200, 1500])
    assert store.metadata(200)["loss"] < 0.2
    assert store.metadata(200)["test_accuracy"] < 0.2
    assert store.metadata(1500)["test_accuracy"] > 0.95


@pytest.mark.slow
def test_digits_are_learned_and_a_run_depends_on_its_seed_alone(tmp_path):
    run = lk.toys.digits(seed=1)._replace(last_step=200)
    torch.manual_seed(5)
    first = record(run, tmp_path / "a", [0, 200])
    torch.manual_seed(6)
    second = record(lk.toys.digits(seed=1)._replace(last_step=200), tmp_path / "b", [0, 200])
    assert first.metadata(200)["test_accuracy"] > 0.9
    assert first.manifest(0).weights_hash == second.manifest(0).weights_hash
    assert first.manifest(0).weights_hash != first.manifest(200).weights_hash
