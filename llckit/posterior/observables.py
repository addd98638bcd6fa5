"""`observing`: functions of the model, evaluated at sampled weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import SupportsFloat

import numpy as np
import torch
from torch import Tensor, nn

from llckit.checks import shown
from llckit.errors import InputError
from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.copied import copied
from llckit.posterior.task import Task

Observable = Callable[[nn.Module], SupportsFloat]


def observing(
    task: Task, checkpoint: Checkpoint, functions: Mapping[str, Observable]
) -> Callable[[Tensor], dict[str, np.ndarray]]:
    """Turn functions of the model into one of rows of weights, and try them at w*.

    Args:
        task: The task whose model the functions get, as a copy.
        checkpoint: w* and what is not sampled.
        functions: Functions by name; each takes the model and gives a number.

    Returns:
        Maps weights (rows, dim) to values (rows,) by name.

    Raises:
        InputError: These are not functions by name, or one fails or gives no finite number at w*.
    """
    if not isinstance(functions, Mapping) or not all(callable(function) for function in functions.values()):
        raise InputError(
            f"observe is {shown(functions)}; expected functions of the model by name, such as {{'norm': norm}}"
        )
    model = copied(task.model)
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())

    def place(row: Tensor) -> None:
        for name, value in task.layout.named(row, checkpoint.fixed).items():
            tensors[name].copy_(value)

    @torch.no_grad()
    def evaluate(weights: Tensor) -> dict[str, np.ndarray]:
        values: dict[str, list[float]] = {name: [] for name in functions}
        for row in weights:
            place(row)
            for name, function in functions.items():
                values[name].append(float(function(model)))
        return {name: np.array(column) for name, column in values.items()}

    for name, function in functions.items():
        try:
            with torch.no_grad():
                place(checkpoint.weights)
                value = float(function(model))
        except Exception as error:
            raise InputError(
                f"observe: {name} failed at the checkpoint: {type(error).__name__}: {error}; expected a function of "
                "the model that gives a number"
            ) from error
        if not math.isfinite(value):
            raise InputError(f"observe: {name} is {value} at the checkpoint; expected a finite number")
    return evaluate
