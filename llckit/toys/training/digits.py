"""Handwritten digits, 8 x 8, as scikit-learn ships them."""

from __future__ import annotations

import torch
from torch import nn

from llckit.errors import InputError
from llckit.posterior import Task
from llckit.toys.training.training_run import TrainingRun, cross_entropy, initialise

__all__ = ["digits"]


def digits(seed: int = 0) -> TrainingRun:
    """Handwritten digits, 8 x 8 (the set that scikit-learn ships), a hidden layer of 32 ReLU units, AdamW.

    Args:
        seed: Seed of weights and split.

    Returns:
        The run: 2000 steps on 1000 images, with the test accuracy on the other 797 recorded as `test_accuracy`.

    Raises:
        InputError: Scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError(
            "scikit-learn is not installed; expected it, for its digits; pip install llckit[demo]"
        ) from error
    generator = torch.Generator().manual_seed(seed)
    images, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=generator)
    images, labels = images[order].float() / 16, labels[order]
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    initialise(model, generator)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"test_accuracy": float((model(images[1000:]).argmax(1) == labels[1000:]).float().mean())}

    return TrainingRun(
        task=Task(model, (images[:1000], labels[:1000]), cross_entropy),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.1),
        last_step=2000,
        evaluate=evaluate,
    )
