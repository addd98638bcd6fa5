"""A training run: what a training script would hold, and the loop that trains and records it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from llckit.posterior import Task
from llckit.store import Recorder

__all__ = ["TrainingRun", "cross_entropy", "initialise", "squared_error", "train"]


class TrainingRun(NamedTuple):
    """A run to be trained: what a training script would hold.

    Attributes:
        task: Model at its initial weights, training data and loss.
        optimizer: Function of a model's parameters that makes their optimizer.
        last_step: Number of steps.
        evaluate: Function of the model that gives metadata beside the training loss, such as test accuracy.
    """

    task: Task
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer]
    last_step: int
    evaluate: Callable[[nn.Module], dict[str, float]]


def train(run: TrainingRun, recorder: Recorder, *, progress: bool = False) -> None:
    """Train on all samples at every step, and show each step to the recorder.

    Args:
        run: The run.
        recorder: Recorder that decides which steps are saved.
        progress: Whether a bar is shown (on a terminal).
    """
    model = run.task.model
    optimizer = run.optimizer(model.parameters())
    batch = run.task.samples.first(run.task.samples.n)
    for step in trange(run.last_step + 1, desc="training", disable=None if progress else True):
        loss = run.task.loss_fn(model, batch).mean()
        if recorder.schedule is None or step in recorder.schedule:
            with torch.no_grad():
                recorder(step, model, loss=loss.item(), **run.evaluate(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of each sample, in nats, shape (batch,)."""
    inputs, labels = batch
    return functional.cross_entropy(model(inputs), labels, reduction="none")


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Squared error of each sample, summed over outputs, shape (batch,)."""
    inputs, targets = batch
    return (model(inputs) - targets).square().sum(1)


def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights of PyTorch's usual scales from a given generator, so that a run depends only on its seed.

    Args:
        model: Model whose embeddings and linear layers are drawn, in place.
        generator: Source of randomness.
    """
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
