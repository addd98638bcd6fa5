import copy

import pytest
import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters


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
