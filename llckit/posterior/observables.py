"""Functions of the model, evaluated at sampled weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior.checkpoint import Checkpoint
from llckit.posterior.task import Task

Observable = Callable[[nn.Module], Any]


def observing(
    task: Task, checkpoint: Checkpoint, functions: Mapping[str, Observable]
) -> Callable[[Tensor], dict[str, np.ndarray]]:
    """Turn functions of the model into one of rows of weights, and try them at w*.

    Args:
        task: Supplies the model; the functions get a copy of it.
        checkpoint: w* and what is not sampled.
        functions: Each takes the model and gives a number.

    Returns:
        Maps weights (rows, dim) to values (rows,) by name.

    Raises:
        InputError: No mapping of names to functions, or one fails or gives no finite number at w*.
    """
    if not isinstance(functions, Mapping) or not all(callable(function) for function in functions.values()):
        raise InputError(f"observe is {functions!r}; expected functions of the model by name, such as {{'norm': norm}}")
    model = copy.deepcopy(task.model)
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
