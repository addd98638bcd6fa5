"""What all tests share."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # also for processes they start: small matrices gain nothing from more threads

import pytest
import torch
from torch import nn

from llckit.posterior import LocalPosterior, Task

FIRST = ("test_notebooks.py", "test_benchmarks.py")  # the longest files: begun last, one worker would wait for them


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in FIRST)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)  # a test's random weights do not depend on which tests ran before it


class Potential(nn.Module):
    """A loss that is a function of the weights alone, plus one part that averages to zero over the samples."""

    def __init__(self, function, center):
        super().__init__()
        self.w = nn.Parameter(center.clone())
        self.function = function

    def forward(self, batch):
        return self.function(self.w) + batch[:, 0] * self.w.sum()


@pytest.fixture
def potential():
    """Makes the posterior of L(w) = function(w) around `center`, in its dtype."""

    def make(function, center, *, rows=1, n_beta=1.0, localization=0.0, spread=0.0):
        data = spread * torch.linspace(-1, 1, 11, dtype=center.dtype)[:, None]
        task = Task(Potential(function, center), data, lambda model, batch: model(batch))
        return LocalPosterior(task.checkpoint(), n_beta=n_beta, localization=localization, rows=rows)

    return make
