"""The task that `estimate_llc` and `scale_profile` measure: the one given, or one made from model, data and loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llckit.errors import InputError
from llckit.posterior import LossFunction, Selection, Task, behavioral_task, steady_threads


def make_task(
    model: nn.Module | Task,
    data: Any,
    loss_fn: LossFunction | None,
    *,
    n: int | None,
    device: torch.device | str | None,
    params: Selection,
    compile: bool,
    behavioral: bool,
) -> Task:
    """Make the task that is measured.

    Args:
        model: Model at w*, or a task that holds model, data and loss.
        data: Samples; None with a task.
        loss_fn: Loss; None with a task.
        n: Number of samples; None with a task.
        device: Where to compute; None with a task.
        params: What to sample; of a task, the part of its own parameters.
        compile: Whether to compile gradients; False with a task, which says so itself.
        behavioral: Whether to measure the distance from the model's own outputs.

    Returns:
        The task.

    Raises:
        InputError: Something is missing, or was given beside a task; or `Task` refuses it.
    """
    if isinstance(model, Task):
        given = {"data": data, "loss_fn": loss_fn, "n": n, "device": device, "compile": compile or None}
        beside = [name for name, value in given.items() if value is not None]
        if beside:
            raise InputError(f"{' and '.join(beside)} given beside a Task; expected the Task alone, which holds them")
        task = model if params is None else model.restricted(params)
        return behavioral_task(task) if behavioral or model.behavioral else task
    missing = [name for name, value in {"data": data, "loss_fn": loss_fn}.items() if value is None]
    if missing or loss_fn is None:
        raise InputError(f"{' and '.join(missing)} missing; expected a Task, or model, data and loss_fn")
    task = Task(model, data, loss_fn, n=n, device=device, params=params, compile=compile)
    if not behavioral:
        return task
    try:
        with steady_threads(task):
            return behavioral_task(task)
    except BaseException:  # or processes that read the data would stay
        task.samples.close()
        raise
