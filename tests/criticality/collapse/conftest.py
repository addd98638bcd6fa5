"""Measurements without any meaning, for tests that compare two ways of computing."""

import numpy as np
import pytest


@pytest.fixture
def measurements():
    """Size, control, value and standard error of 18 measurements at three sizes."""

    def make(seed):
        random = np.random.default_rng(seed)
        size = np.repeat([10.0, 30.0, 100.0], [6, 7, 5])
        control = np.concatenate([np.sort([-1, 1, *random.uniform(-1, 1, n)]) for n in (4, 5, 3)])
        return size, control, random.standard_normal(18), random.uniform(0.1, 0.5, 18)

    return make
