"""Learning systems over the amount of data: a teacher–student perceptron, exact, and grokking in batches of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from llckit.errors import InputError
from llckit.toys.lattice import Array, ScalingData, checked_sizes, control_grid, from_moments
from llckit.toys.training import modular_addition

LARGEST_PERCEPTRON = 24  # all 2^N students are listed
CHECKED_EVERY = 20  # steps between looks at the test accuracy
GROKKED = 0.9
AT_ONCE = 16  # runs whose activations still fit into the cache
WEIGHTS = ("embedding.weight", "hidden.weight", "hidden.bias", "readout.weight")


def binary_perceptron(
    sizes: Sequence[int], ratios: ArrayLike | None = None, *, seeds: int = 100, seed: int = 0
) -> ScalingData:
    """A perceptron sign(w · x) with weights ±1 that learns a teacher of its kind, averaged over all that fit the data.

    Of the 2^N students those survive that give all P = αN samples, x normal, the teacher's sign; m is the
    overlap w · w*/N of a survivor drawn at random (Gibbs learning). As N → ∞ it jumps to 1 at α = 1.245, where the
    free energy of w = w* crosses that of students at a distance: first-order (Györgyi, Phys. Rev. A 41, 1990;
    Seung, Sompolinsky & Tishby, Phys. Rev. A 45, 1992). By the symmetry of x the teacher may be (1, …, 1).

    Args:
        sizes: N, up to 24; memory and time go as 2^N.
        ratios: α, shape (points,) for all sizes or (sizes, points), of which the nearest P/N is taken and returned;
            None means 0.5 … 2.5.
        seeds: Independent sets of samples, each seen at all α: points of one size are correlated. At least 2.
        seed: Of the random numbers.

    Returns:
        The data, α rising from disorder to order; the order parameter is <|m|>; energy, here the survivors' training
        error, is zero, and so it and the specific heat are NaN.

    Raises:
        InputError: N is too large, α negative, or there are too few seeds.
    """
    checked_sizes(sizes)
    if max(sizes) > LARGEST_PERCEPTRON or seeds < 2:
        raise InputError(
            f"N = {max(sizes)} and {seeds} seeds were given; expected N <= {LARGEST_PERCEPTRON} and seeds >= 2"
        )
    grid = control_grid(np.linspace(0.5, 2.5, 11) if ratios is None else ratios, len(sizes))
    if (grid < 0).any():
        raise InputError(f"a ratio of samples to weights of {grid.min():.4g} was given; expected none below 0")
    counts = np.round(grid * checked_sizes(sizes)).astype(int)
    moments = []
    for size, row in zip(sizes, counts, strict=True):
        random = np.random.default_rng([seed, size])
        moments.append(np.stack([_version_space(size, row, random) for _ in range(seeds)], axis=1))
    size = np.repeat(sizes, counts.shape[1])
    return from_moments(size, counts.ravel() / size, np.concatenate(moments))


def _version_space(size: int, counts: NDArray[np.int_], random: np.random.Generator) -> Array:
    """Moments of m over the students that fit the first P samples, for each P: shape (points, 5)."""
    half = size // 2
    low = 1 - 2 * ((np.arange(2**half)[:, None] >> np.arange(half)) & 1)
    high = 1 - 2 * ((np.arange(2 ** (size - half))[:, None] >> np.arange(size - half)) & 1)
    first, second = (index.ravel() for index in np.indices((len(high), len(low)), dtype=np.int32))
    overlap = (high.sum(axis=1)[first] + low.sum(axis=1)[second]) / size
    found = np.full((len(counts), 5), np.nan)
    for seen in range(counts.max() + 1):
        m = np.abs(overlap)
        found[counts == seen, :3] = m.mean(), (m**2).mean(), (m**4).mean()
        x = random.standard_normal(size)
        field = (high @ x[half:])[first] + (low @ x[:half])[second]
        fits = field * x.sum() > 0
        first, second, overlap = first[fits], second[fits], overlap[fits]
    return found


class GrokkingRuns(NamedTuple):
    """Runs of `grokking_runs` at the end of training: arrays of equal length, a row a run.

    Attributes:
        modulus: p.
        fraction: Share of the p² pairs that was trained on.
        seed: Of weights and split.
        train_loss: Mean cross-entropy of the training pairs, in nats.
        test_loss: The same of the other pairs.
        train_accuracy: Share of training pairs answered rightly.
        test_accuracy: The same of the other pairs.
        grok_step: First step, of every 20th and the last, with a test accuracy above 90 %; NaN where there was none.
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

    The weights of the runs are stacked, 16 at a time, and each run's gradient is that of its own loss, so a run is what
    it would be alone; fraction ½ is `modular_addition` itself. One step of AdamW (Loshchilov & Hutter, arXiv
    1711.05101) is, weight by weight, with g the gradient at w of the mean cross-entropy over the run's training pairs,

        m ← β₁m + (1 − β₁)g,  v ← β₂v + (1 − β₂)g²,
        w ← (1 − ηκ)w − η m̂/(√v̂ + 1e-8),  m̂ = m/(1 − β₁^t), v̂ = v/(1 − β₂^t),

    at step t = 1, 2, …, η = 0.01, β = (0.9, 0.98), κ = 1. A seed's splits are nested: a larger fraction adds pairs.
    A run and step costs about 0.4, 0.6, 1.1 ms on one core at p = 23, 31, 41: 160 runs of 4000 steps 5 to 12 minutes.

    Args:
        modulus: p.
        fractions: Of the pairs to train on, each leaving at least one pair on either side.
        seeds: Of weights and splits; all combinations with `fractions` are run.
        steps: Number of steps.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The runs, seeds varying fastest.

    Raises:
        InputError: p is below 2, no seeds or fractions, or a fraction without training or test pairs.
    """
    trained = [int(fraction * modulus**2) for fraction in fractions]
    divided = len(fractions) > 0 and all(0 < count < modulus**2 for count in trained)
    if modulus < 2 or steps < 0 or not len(seeds) or not divided:
        raise InputError(
            f"modulus {modulus}, fractions {list(fractions)}, {len(seeds)} seeds and {steps} steps were given; "
            "expected p >= 2, no negative number of steps, some seeds and fractions that leave a pair on either side"
        )
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
    """Losses and accuracies on the training and test pairs and the step of grokking, shape (runs, 5)."""
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
    flat = logits.flatten(0, 1)  # classes last are twice as fast as classes in the middle
    return logits, functional.cross_entropy(flat, labels.flatten(), reduction="none").view(labels.shape)


def _passed(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    return _mean_where((logits.argmax(2) == labels).float(), mask) > GROKKED


def _all_pairs(embedding: Tensor, hidden: Tensor, bias: Tensor, readout: Tensor) -> Tensor:
    """Logits of all p² pairs, shape (runs, p², p): what is linear in a and in b is computed for p inputs, not p²."""
    left, right = hidden.chunk(2, dim=2)
    a = embedding @ left.mT + bias[:, None]
    b = embedding @ right.mT
    return torch.relu(a[:, :, None] + b[:, None]).flatten(1, 2) @ readout.mT


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    return (values * mask).sum(1) / mask.sum(1)
