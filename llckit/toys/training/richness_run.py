"""A linear net of any width and richness that learns the same task."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from llckit.checks import check_integer, check_seed
from llckit.posterior import Task
from llckit.toys.training.rescale import hidden_updates, rescale
from llckit.toys.training.training_run import TrainingRun, squared_error

__all__ = ["richness_run"]

INPUTS, SAMPLES = 4, 16
LEARNING_RATE = 0.1  # stable also for the rich net, whose kernel grows as it learns
LAST_STEP = 100
TARGET = 1.5  # singular values: above those of the first outputs


def richness_run(width: int, richness: float, *, outputs: int = 1, seed: int = 0) -> TrainingRun:
    """A three-layer linear net W₃W₂W₁ of width n at richness r, which learns a linear map from four inputs.

    Inputs are white with ‖x‖² = 4 on average, so that at r = 0 and n → ∞ the kernel is the same in all directions.
    Inputs and target depend only on `outputs`: the task is the same at all widths, r and seeds.

    After training W₂W₁ has rank 4. Such a solution is regular up to symmetry, since W₃ alone moves the map in all
    directions. So λ is half the number of the map's entries, 2 · `outputs`, whatever r is.

    Args:
        width: Width n >= 4.
        richness: Exponent r in 0 … ½.
        outputs: Number of outputs, at least 1.
        seed: Seed of the initial weights.

    Returns:
        The run: 100 steps of gradient descent on the mean squared error of 16 samples, to its minimum.
    """
    width, outputs = check_integer("width", width, INPUTS), check_integer("outputs", outputs, 1)
    seed = check_seed(seed)
    fixed = torch.Generator().manual_seed(0)
    inputs = math.sqrt(SAMPLES) * torch.linalg.qr(torch.randn(SAMPLES, INPUTS, generator=fixed, dtype=torch.float64))[0]
    target = torch.linalg.qr(torch.randn(max(outputs, INPUTS), INPUTS, generator=fixed, dtype=torch.float64))[0]
    targets = TARGET * inputs @ target[:outputs].T
    generator = torch.Generator().manual_seed(seed)
    widths = (INPUTS, width, width, outputs)
    model = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)))
    for layer in model:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features), generator=generator)
    model, rates = rescale(model, richness)
    initial = copy.deepcopy(model)

    def optimizer(parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
        groups = zip(parameters, rates.values(), strict=True)
        return torch.optim.SGD([{"params": [p], "lr": LEARNING_RATE * rate} for p, rate in groups], lr=LEARNING_RATE)

    return TrainingRun(
        task=Task(model, (inputs.float(), targets.float()), squared_error),
        optimizer=optimizer,
        last_step=LAST_STEP,
        evaluate=lambda model: {"hidden_update": hidden_updates(initial, model, inputs.float())[-1]},
    )
