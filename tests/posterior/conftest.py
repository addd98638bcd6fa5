import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from llckit.posterior import LocalPosterior, Task


class Potential(nn.Module):
    """A loss that is a function of the weights alone."""

    def __init__(self, function, center):
        super().__init__()
        self.w = nn.Parameter(center.clone())
        self.function = function

    def forward(self, batch):
        return self.function(self.w)


@pytest.fixture
def potential():
    """Makes the posterior of L(w) = function(w) around `center`."""

    def make(function, center, *, rows=1, n_beta=1.0, localization=0.0):
        task = Task(Potential(function, center), torch.zeros(10, 1), lambda model, batch: model(batch))
        return LocalPosterior(task, task.point(), n_beta=n_beta, localization=localization, rows=rows)

    return make


@pytest.fixture
def naive():
    """Loss and gradient at known rows of weights: a float64 copy of the model, one row after the other."""

    def compute(model, rows, loss):
        losses, grads = [], []
        model = copy.deepcopy(model).double().eval()
        sampled = [p for p in model.parameters() if p.requires_grad]
        assert sum(p.numel() for p in sampled) == rows.shape[1]
        for row in rows.double():
            vector_to_parameters(row, sampled)
            value = loss(model)
            losses.append(value.detach())
            grads.append(parameters_to_vector(torch.autograd.grad(value, sampled)))
        return torch.stack(losses), torch.stack(grads)

    return compute
