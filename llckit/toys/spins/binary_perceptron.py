"""A perceptron with binary weights that learns a teacher of its kind, exactly averaged over all students."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.toys.spins.control_grid import checked_sizes, control_grid
from llckit.toys.spins.scaling_data import Array, ScalingData, from_moments

__all__ = ["binary_perceptron"]

LARGEST_SIZE = 24  # all 2^N students are listed


def binary_perceptron(
    sizes: Sequence[int], ratios: ArrayLike | None = None, *, seeds: int = 100, seed: int = 0
) -> ScalingData:
    """A perceptron sign(w · x) with weights ±1 that learns a teacher of its kind, averaged over all that fit the data.

    A student survives if it gives all P = αN samples the teacher's sign; x is normal. The order parameter m is the
    overlap w · w*/N of a survivor drawn at random (Gibbs learning). As N → ∞ it jumps to 1 at α = 1.245, where the
    free energy of w = w* crosses that of students at a distance: a first-order transition (Györgyi, Phys. Rev. A 41,
    1990; Seung, Sompolinsky & Tishby, Phys. Rev. A 45, 1992). By the symmetry of x the teacher is (1, …, 1).

    Args:
        sizes: Numbers of weights N, up to 24; memory and time go as 2^N.
        ratios: Ratios α, shape (points,) for all sizes or (sizes, points); the nearest P/N is taken and returned. None:
            0.5 … 2.5.
        seeds: Number of independent sets of samples, at least 2. Each set serves all α, so points of one size are
            correlated.
        seed: Seed of the random numbers.

    Returns:
        The data; as α rises, disorder becomes order. The order parameter is <|m|>. The energy, here the survivors'
        training error, is zero; so energy and specific heat are NaN.

    Raises:
        InputError: N is too large, α is negative, or there are too few seeds.
    """
    checked_sizes(sizes)
    if max(sizes) > LARGEST_SIZE:
        raise InputError(f"sizes has the entry {max(sizes)}; expected integers <= {LARGEST_SIZE}")
    check_integer("seeds", seeds, 2)
    grid = control_grid(np.linspace(0.5, 2.5, 11) if ratios is None else ratios, len(sizes))
    if (grid < 0).any():
        raise InputError(f"ratios has the entry {grid.min():.4g}; expected numbers >= 0")
    counts = np.round(grid * checked_sizes(sizes)).astype(int)
    moments = []
    for size, row in zip(sizes, counts, strict=True):
        random = np.random.default_rng([seed, size])
        moments.append(np.stack([_version_space(size, row, random) for _ in range(seeds)], axis=1))
    size = np.repeat(sizes, counts.shape[1])
    return from_moments(size, counts.ravel() / size, np.concatenate(moments))


def _version_space(size: int, counts: NDArray[np.int_], random: np.random.Generator) -> Array:
    """Moments of m over the students that fit the first P samples, for each P, shape (points, 5)."""
    half = size // 2
    low = 1 - 2 * ((np.arange(2**half)[:, None] >> np.arange(half)) & 1)
    high = 1 - 2 * ((np.arange(2 ** (size - half))[:, None] >> np.arange(size - half)) & 1)
    first, second = (index.ravel() for index in np.indices((len(high), len(low)), dtype=np.int32))
    overlap = (high.sum(axis=1)[first] + low.sum(axis=1)[second]) / size
    found = np.full((len(counts), 5), np.nan)
    for used in range(counts.max() + 1):
        m = np.abs(overlap)
        found[counts == used, :3] = m.mean(), (m**2).mean(), (m**4).mean()
        x = random.standard_normal(size)
        field = (high @ x[half:])[first] + (low @ x[:half])[second]
        fits = field * x.sum() > 0
        first, second, overlap = first[fits], second[fits], overlap[fits]
    return found
