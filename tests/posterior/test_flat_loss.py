"""Rows together and rows one by one are the same."""

import copy

import pytest
import torch
from torch import nn

from llckit import Task
from llckit.posterior import flat_loss
from tests.cases import squared_error

N = 12


class Net(nn.Module):
    """Sampled, frozen and unused weights, and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.last = nn.Linear(4, 2)
        self.unused = nn.Parameter(torch.ones(2))
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x):
        return self.scale * self.last(torch.tanh(self.frozen(torch.tanh(self.first(x)))))


@pytest.fixture
def task():
    torch.manual_seed(0)
    data = torch.randn(N, 3, dtype=torch.float64), torch.randn(N, 2, dtype=torch.float64)
    mask = {"first.weight": torch.rand(4, 3) > 0.5, "last.weight": torch.ones(2, 4).bool(), "unused": torch.ones(2) > 0}
    return Task(Net().double(), data, squared_error, params=mask)


def other_point(task):
    state = {name: value + 0.1 for name, value in task.model.state_dict().items()}
    return task.checkpoint(state)


@pytest.mark.parametrize("own_batches", [False, True])
def test_both_ways_agree_and_leave_the_model_alone(task, own_batches):
    before = copy.deepcopy(task.model.state_dict())
    point = other_point(task)
    weights = point.weights + torch.randn(4, task.dim, dtype=torch.float64)
    batch = task.samples.gather(torch.arange(N).view(4, 3)) if own_batches else task.samples.first(N)
    found = [
        task.flat_loss.losses_and_grads(weights, point.fixed, batch, batched=batched, own_batches=own_batches)
        for batched in (True, False)
    ]
    for together, single in zip(*found, strict=True):
        assert torch.allclose(together, single, rtol=1e-10)
    if not own_batches:
        for batched in (True, False):
            losses = task.flat_loss.losses(weights, point.fixed, batch, batched=batched)
            assert torch.allclose(losses, found[0][0], rtol=1e-10)
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_loss_that_fails_leaves_the_model_alone(task):
    before = copy.deepcopy(task.model.state_dict())
    with pytest.raises(TypeError, match="must be Tensor"):
        task.flat_loss.losses_and_grads(
            torch.ones(2, task.dim).double(), task.checkpoint().fixed, (1, 2), batched=False
        )
    for name, value in task.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_small_rows_go_together_and_large_ones_one_by_one(task):
    assert task.flat_loss.is_batched(0)
    assert task.flat_loss.is_batched(flat_loss.BATCHED_BYTES - 4 * task.dim - 1)
    assert not task.flat_loss.is_batched(flat_loss.BATCHED_BYTES)
    task.flat_loss.vmaps = False
    assert not task.flat_loss.is_batched(0)
