"""Grokking over the share of training data: many runs of modular addition at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.toys.training.modular_addition import modular_addition

__all__ = ["GrokkingRuns", "grokking_runs"]

CHECKED_EVERY = 20  # steps between looks at the test accuracy
GROKKED = 0.9
AT_ONCE = 16  # runs whose activations still fit into the cache
WEIGHTS = ("embedding.weight", "hidden.weight", "hidden.bias", "readout.weight")

Array = NDArray[np.float64]


class GrokkingRuns(NamedTuple):
    """Runs of `grokking_runs` at the end of training: arrays of equal length, one row a run.

    Attributes:
        modulus: Modulus p.
        fraction: Share of the p² pairs in the training data.
        seed: Seed of weights and split.
        train_loss: Mean cross-entropy of the training pairs, in nats.
        test_loss: Mean cross-entropy of the other pairs, in nats.
        train_accuracy: Share of training pairs that are answered correctly.
        test_accuracy: Share of the other pairs that are answered correctly.
        grok_step: First step with a test accuracy above 90 %, among every 20th and the last; NaN if there is none.
    """

    modulus: NDArray[np.int_]
    fraction: Array
    seed: NDArray[np.int_]
    train_loss: Array
    test_loss: Array
    train_accuracy: Array
    test_accuracy: Array
    grok_step: Array


def grokking_runs(
    modulus: int, fractions: Sequence[float], seeds: Sequence[int], *, steps: int = 4000, progress: bool = False
) -> GrokkingRuns:
    """Train `modular_addition` on several fractions of the pairs with several seeds, all at once.

    The weights of 16 runs at a time are stacked. Each run's gradient is that of its own loss, so a run is what it would
    be alone; fraction ½ is `modular_addition` itself. With g the gradient of the mean cross-entropy over the run's
    training pairs, one step of AdamW (Loshchilov & Hutter, arXiv 1711.05101) is, weight by weight,

        m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,
        w ← (1 − ηκ)w − η m̂/(√v̂ + 1e-8),  m̂ = m/(1 − β₁^t), v̂ = v/(1 − β₂^t),

    at step t = 1, 2, … with η = 0.01, β = (0.9, 0.98), κ = 1. The splits of a seed are nested: a larger fraction adds
    pairs. One step of one run takes about 0.4, 0.6, 1.1 ms on one core at p = 23, 31, 41; 160 runs of 4000 steps take 5
    to 12 minutes.

    Args:
        modulus: Modulus p.
        fractions: Shares of the pairs to train on, each leaving at least one training and one test pair.
        seeds: Seeds of weights and splits; all combinations with `fractions` are run.
        steps: Number of steps.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The runs; seeds vary fastest.

    Raises:
        InputError: p is below 2, there are no seeds or fractions, or a fraction leaves no training or no test pairs.
    """
    check_integer("modulus", modulus, 2)
    check_integer("steps", steps, 0)
    trained = [int(fraction * modulus**2) for fraction in fractions]
    if not trained or not all(0 < count < modulus**2 for count in trained):
        raise InputError(f"fractions is {list(fractions)}; expected shares that leave a training and a test pair each")
    if not len(seeds):
        raise InputError("seeds is empty; expected one or more integers")
    runs = [(count, seed) for count in trained for seed in seeds]
    blocks = [runs[start : start + AT_ONCE] for start in range(0, len(runs), AT_ONCE)]
    bar = tqdm(total=len(blocks) * steps, desc=f"addition mod {modulus}", disable=None if progress else True)
    with bar:
        found = torch.cat([_trained(modulus, block, steps, bar) for block in blocks])
    return GrokkingRuns(
        np.full(len(runs), modulus),
        np.repeat(np.asarray(fractions, dtype=np.float64), len(seeds)),
        np.tile(np.asarray(seeds), len(fractions)),
        *found.double().numpy().T,
    )


def _trained(modulus: int, runs: Sequence[tuple[int, int]], steps: int, bar: tqdm) -> Tensor:
    """Losses and accuracies on training and test pairs, and the step of grokking, shape (runs, 5)."""
    alone = [modular_addition(modulus, seed) for _, seed in runs]
    named = [dict(run.task.model.named_parameters()) for run in alone]
    weights = [torch.stack([each[name].detach() for each in named]).requires_grad_() for name in WEIGHTS]
    is_trained = torch.zeros(len(runs), modulus**2, dtype=torch.bool)
    for row, (count, seed) in zip(is_trained, runs, strict=True):
        row[torch.randperm(modulus**2, generator=torch.Generator().manual_seed(seed))[:count]] = True
    grid = torch.arange(modulus)
    labels = ((grid[:, None] + grid) % modulus).flatten().repeat(len(runs), 1)
    optimizer = alone[0].optimizer(weights)
    grok_step = torch.full((len(runs),), torch.nan)
    for step in range(steps):
        logits, loss = _outcome(weights, labels)
        if step % CHECKED_EVERY == 0:
            grok_step[_passed(logits, labels, ~is_trained) & grok_step.isnan()] = step
        optimizer.zero_grad()
        _mean_where(loss, is_trained).sum().backward()
        optimizer.step()
        bar.update()
    with torch.no_grad():
        logits, loss = _outcome(weights, labels)
    grok_step[_passed(logits, labels, ~is_trained) & grok_step.isnan()] = steps
    right = (logits.argmax(2) == labels).float()
    final = [_mean_where(values, mask) for values in (loss, right) for mask in (is_trained, ~is_trained)]
    return torch.stack([*final, grok_step], dim=1)


def _outcome(weights: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (runs, p², p) and cross-entropies (runs, p²)."""
    logits = _all_pairs(*weights)
    flat = logits.flatten(0, 1)  # twice as fast with classes last as with classes in the middle
    return logits, functional.cross_entropy(flat, labels.flatten(), reduction="none").view(labels.shape)


def _passed(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    return _mean_where((logits.argmax(2) == labels).float(), mask) > GROKKED


def _all_pairs(embedding: Tensor, hidden: Tensor, bias: Tensor, readout: Tensor) -> Tensor:
    """Logits of all p² pairs, shape (runs, p², p); the part linear in a and in b is computed for p inputs, not p²."""
    left, right = hidden.chunk(2, dim=2)
    a = embedding @ left.mT + bias[:, None]
    b = embedding @ right.mT
    return torch.relu(a[:, :, None] + b[:, None]).flatten(1, 2) @ readout.mT


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(1) / mask.sum(1)
