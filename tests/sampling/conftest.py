import pytest
import torch
from torch import nn

from llckit.posterior import LocalPosterior, Task


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
    """Makes the posterior of L(w) = function(w) around `center`, in float64."""

    def make(function, center, *, rows=8, n_beta=1.0, localization=0.0, spread=0.0):
        data = spread * torch.linspace(-1, 1, 11, dtype=torch.float64)[:, None]
        task = Task(Potential(function, center.double()), data, lambda model, batch: model(batch))
        return LocalPosterior(task, task.point(), n_beta=n_beta, localization=localization, rows=rows)

    return make


@pytest.fixture
def quadratic(potential):
    """Makes the posterior of L(w) = ½ Σ h w² around 0, in float64."""

    def make(h, **settings):
        h = torch.as_tensor(h, dtype=torch.float64)
        return potential(lambda w: 0.5 * (h * w.square()).sum(), torch.zeros(len(h)), **settings)

    return make
