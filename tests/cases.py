"""What the tests of two rooms or more use."""

import pytest
import torch
from torch import nn

from llckit.sampling import mcse_mean


def squared_error(model, batch):
    """Of each sample, summed over outputs: shape (batch,)."""
    return (model(batch[0]) - batch[1]).square().sum(1)


def mean_squared_error(model, batch):
    """Of each sample, averaged over outputs: shape (batch,)."""
    return (model(batch[0]) - batch[1]).square().mean(1)


def cross_entropy(model, batch):
    """Averaged over samples."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


class OnceDifferentiable(torch.autograd.Function):
    """w² without a second derivative."""

    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        return w.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


def near(draws, expected):
    """Whether the mean of draws, shape (draws, chains), is as expected, to four of its standard errors."""
    return float(draws.mean()) == pytest.approx(expected, abs=4 * mcse_mean(draws))
