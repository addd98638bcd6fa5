"""Ways to look at a toy's loss and to train a run that several tests of this room share."""

import copy

import pytest
import torch
from torch.func import functional_call, vmap


class FlatToy:
    """A toy's own loss in float64, as a function of one flat vector.

    Attributes:
        point: w*, shape (dim,).
    """

    def __init__(self, toy):
        self._module = _Loss(toy)
        self._parameters = dict(self._module.named_parameters())
        self.point = torch.cat([p.detach().flatten() for p in self._parameters.values()])

    def loss(self, w):
        sizes = [p.numel() for p in self._parameters.values()]
        pieces = zip(self._parameters.items(), w.split(sizes), strict=True)
        return functional_call(self._module, {name: piece.view_as(p) for (name, p), piece in pieces}, ())

    def losses(self, away):
        """The loss at w* + each row."""
        return torch.cat([vmap(self.loss)(self.point + part) for part in away.split(100_000)])


class _Loss(torch.nn.Module):
    def __init__(self, toy):
        super().__init__()
        self.model, self.loss_fn = copy.deepcopy(toy.model).double(), toy.loss_fn

    def forward(self):
        return self.loss_fn(self.model, None)


@pytest.fixture
def flat():
    """Makes a `FlatToy` of a toy."""
    return FlatToy


@pytest.fixture
def trained():
    """Trains a run for some steps on all of its samples; the model before and after, and the batch."""

    def train(run, steps):
        model, batch = run.task.model, run.task.samples.first(run.task.samples.n)
        before, optimizer = copy.deepcopy(model), run.optimizer(model.parameters())
        for _ in range(steps):
            optimizer.zero_grad()
            run.task.loss_fn(model, batch).mean().backward()
            optimizer.step()
        return before, model, batch

    return train
