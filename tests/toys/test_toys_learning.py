"""The perceptron against brute force, batches of grokking runs against runs trained alone."""

import itertools

import numpy as np
import pytest
import torch

from llckit.errors import InputError
from llckit.toys.learning import binary_perceptron, grokking_runs
from llckit.toys.training import cross_entropy, modular_addition


def listed_perceptron(size, samples, seeds):
    """<m²> over the students that agree with a random teacher on random samples, in each seed."""
    random = np.random.default_rng(5)
    students = np.array(list(itertools.product((-1, 1), repeat=size)))
    found = []
    for _ in range(seeds):
        teacher = random.choice([-1, 1], size=size)
        x = random.standard_normal((samples, size))
        fits = (np.sign(students @ x.T) == np.sign(x @ teacher)).all(axis=1)
        found.append(np.mean((students[fits] @ teacher / size) ** 2))
    return np.mean(found), np.std(found, ddof=1) / np.sqrt(seeds)


@pytest.mark.parametrize(("size", "samples"), [(5, 4), (6, 9), (7, 3)])
def test_the_perceptron_agrees_with_a_list_of_students_and_random_teachers(size, samples):
    data = binary_perceptron([size], [samples / size], seeds=1500)
    mean, error = listed_perceptron(size, samples, 1500)
    assert abs(data.susceptibility[0] / size - mean) < 4 * np.hypot(error, data.susceptibility_se[0] / size)
    assert error < 0.02


def test_without_samples_all_students_are_left_and_with_many_only_the_teacher():
    data = binary_perceptron([7, 8], [0.0, 40.0], seeds=3)
    np.testing.assert_allclose(data.susceptibility, [1, 7, 1, 8])
    np.testing.assert_allclose(binary_perceptron([9], [0.7], seeds=2).control, 6 / 9)
    np.testing.assert_allclose(data.order_parameter[[1, 3]], 1)
    np.testing.assert_allclose(data.order_parameter_se, 0, atol=1e-12)
    np.testing.assert_allclose(data.binder[[1, 3]], 2 / 3)
    assert np.isnan(data.specific_heat).all()


def test_the_perceptrons_overlap_rises_through_its_transition():
    """At α = 1.245 students at a distance and the teacher have the same weight; both sides are seen at N = 15."""
    data = binary_perceptron([15], [0.5, 0.9, 1.3, 1.7, 2.1], seeds=60)
    assert (np.diff(data.order_parameter) > 0).all()
    assert data.order_parameter[0] < 0.5
    assert data.order_parameter[-1] > 0.9


def test_a_run_in_a_batch_is_the_run_alone():
    modulus, seed, steps = 11, 3, 60
    run = modular_addition(modulus, seed)
    model, batch = run.task.model, run.task.samples.first(run.task.samples.n)
    optimizer = run.optimizer(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model, batch).mean().backward()
        optimizer.step()
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
        lambda: binary_perceptron([25]),
        lambda: binary_perceptron([8], seeds=1),
        lambda: binary_perceptron([8], [-0.5]),
        lambda: binary_perceptron([]),
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
