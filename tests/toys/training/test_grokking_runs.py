"""Batches of grokking runs against runs trained alone, and what more data change."""

import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.toys import cross_entropy, grokking_runs, modular_addition


def test_a_run_in_a_batch_is_the_run_alone(trained):
    modulus, seed, steps = 11, 3, 60
    run = modular_addition(modulus, seed)
    _, model, batch = trained(run, steps)
    runs = grokking_runs(modulus, [0.3, 0.5], [2, 3], steps=steps)
    row = np.flatnonzero((runs.fraction == 0.5) & (runs.seed == 3))[0]
    with torch.no_grad():
        assert runs.train_loss[row] == pytest.approx(float(cross_entropy(model, batch).mean()), rel=1e-3)
        assert runs.train_accuracy[row] == pytest.approx(float((model(batch[0]).argmax(1) == batch[1]).float().mean()))
        assert runs.test_accuracy[row] == pytest.approx(run.evaluate(model)["test_accuracy"], abs=0.02)


def test_runs_beyond_one_block_keep_their_order():
    runs = grokking_runs(5, [0.4, 0.6], range(12), steps=3)
    np.testing.assert_array_equal(runs.fraction, np.repeat([0.4, 0.6], 12))
    np.testing.assert_array_equal(runs.seed, np.tile(np.arange(12), 2))
    alone = grokking_runs(5, [0.6], [7], steps=3)
    for column, single in zip(runs, alone, strict=True):
        np.testing.assert_allclose(column[19:20], single, rtol=1e-5)


@pytest.mark.slow
def test_more_data_lead_from_memory_to_the_rule():
    runs = grokking_runs(23, [0.3, 0.85], [0, 1], steps=800)
    assert (runs.train_accuracy == 1).all()
    assert (runs.test_accuracy[:2] < 0.3).all()
    assert (runs.test_accuracy[2:] > 0.9).all()
    assert np.isnan(runs.grok_step[:2]).all()
    assert ((runs.grok_step[2:] > 0) & (runs.grok_step[2:] % 20 == 0)).all()
    assert (runs.test_loss[:2] > 10 * runs.test_loss[2:]).all()


def test_untrained_runs_are_near_chance():
    runs = grokking_runs(17, [0.5], [0, 1], steps=0)
    np.testing.assert_allclose(runs.train_loss, np.log(17), rtol=0.1)
    assert (runs.test_accuracy < 0.2).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda: grokking_runs(11, [], [0]),
        lambda: grokking_runs(11, [0.5], []),
        lambda: grokking_runs(11, [1.0], [0]),
        lambda: grokking_runs(11, [0.001], [0]),
        lambda: grokking_runs(1, [0.5], [0]),
        lambda: grokking_runs(11, [0.5], [0], steps=-1),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
