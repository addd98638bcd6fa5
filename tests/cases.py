"""Losses, models, curves and stores that the tests of two rooms or more use.

Random weights follow the seed that `conftest.py` sets before each test. What only one room uses stands in that room.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from llckit import CheckpointStore, LLCCurve, Outcome

NO_DATA = (torch.zeros(1000, 1),)  # for losses that are functions of the weights alone: they need a number of samples


def squared_error(model, batch):
    """Of each sample, summed over outputs: shape (batch,)."""
    return (model(batch[0]) - batch[1]).square().sum(1)


def mean_squared_error(model, batch):
    """Of each sample, averaged over outputs: shape (batch,)."""
    return (model(batch[0]) - batch[1]).square().mean(1)


def mse(model, batch):
    """Averaged over samples and outputs."""
    return (model(batch[0]) - batch[1]).square().mean()


def cross_entropy(model, batch):
    """Averaged over samples."""
    return nn.functional.cross_entropy(model(batch[0]), batch[1])


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.Tanh, bias: bool = True) -> nn.Sequential:
    """Linear layers of these widths, from inputs to outputs, with activations between them."""
    modules: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        modules += [nn.Linear(inputs, outputs, bias=bias), activation()]
    return nn.Sequential(*modules[:-1])


class Potential(nn.Module):
    """Any function of some weights, for `llckit.toys.potential_loss`."""

    def __init__(self, function: Callable[[Tensor], Tensor], weights: Tensor | Sequence[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(weights).clone())
        self.function = function

    def forward(self) -> Tensor:
        return self.function(self.w)


def bowl(curvatures: Sequence[float], weights: Sequence[float] | None = None, center: float = 0.0) -> Potential:
    """½ Σ h (w − c)² at the given weights, or at 0."""
    h = torch.tensor(curvatures)
    return Potential(lambda w: 0.5 * (h.to(w) * (w - center).square()).sum(), weights or [0.0] * len(curvatures))


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


def geometric_steps(count: int, first: int, last: int) -> np.ndarray:
    """0 and then steps in a geometric progression."""
    return np.append(0, np.geomspace(first, last, count - 1).round()).astype(np.int64)


def make_curve(
    step: np.ndarray,
    loss: np.ndarray,
    llc: np.ndarray,
    *,
    mcse: float = 0.1,
    chains: Sequence[float] = (-1.0, 1.0),
    **details: np.ndarray,
) -> LLCCurve:
    """A curve of trusted estimates, whose chains differ from the mean by the given numbers."""
    trusted = (Outcome.CONVERGED,) * len(step)
    return LLCCurve(step, loss, llc, np.full(len(step), mcse), llc[:, None] + np.array(chains), details, trusted)


def bare_curve(step: np.ndarray, loss: np.ndarray, llc: np.ndarray) -> LLCCurve:
    """A curve of values alone, as a foreign CSV gives it."""
    return LLCCurve(step, loss, llc, None, None, {})


def make_store(
    path: Path | str, steps: Iterable[int], make: Callable[[], nn.Module] = lambda: nn.Linear(3, 2), **metadata: float
) -> CheckpointStore:
    """A store with another model of random weights at each step."""
    store = CheckpointStore(path)
    for step in steps:
        store.save(step, make(), **metadata)
    return store
