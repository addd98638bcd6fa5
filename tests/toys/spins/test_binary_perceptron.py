"""The binary perceptron against brute force and its limits."""

import itertools

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.toys import binary_perceptron


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_perceptrons_overlap_rises_through_its_transition():
    """At α = 1.245 students at a distance and the teacher have the same weight; both sides are seen at N = 15."""
    data = binary_perceptron([15], [0.5, 0.9, 1.3, 1.7, 2.1], seeds=60)
    assert (np.diff(data.order_parameter) > 0).all()
    assert data.order_parameter[0] < 0.5
    assert data.order_parameter[-1] > 0.9


@pytest.mark.parametrize(
    "call",
    [
        lambda: binary_perceptron([25]),
        lambda: binary_perceptron([8], seeds=1),
        lambda: binary_perceptron([8], [-0.5]),
        lambda: binary_perceptron([]),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
