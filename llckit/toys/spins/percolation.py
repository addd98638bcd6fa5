"""Site percolation on the square lattice: a geometric transition, with neither energy nor temperature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.toys.spins.control_grid import checked_sizes, control_grid, scaling_window
from llckit.toys.spins.scaling_data import Array, ScalingData, from_moments
from llckit.toys.spins.torus import Torus

__all__ = ["SITE_CRITICAL", "percolation"]

SITE_CRITICAL = 0.59274605  # Newman & Ziff, Phys. Rev. Lett. 85, 2000; on the square lattice


def percolation(
    lengths: Sequence[int],
    occupations: ArrayLike | None = None,
    *,
    samples: int = 1000,
    replicas: int = 32,
    seed: int = 0,
) -> ScalingData:
    """Site percolation on L × L sites with periodic boundaries: each site is occupied with probability p.

    Let s be the sizes of all clusters of occupied neighbours, and S_k = Σ s^k. The order parameter is max s/N and the
    susceptibility S₂/N. If each cluster had a spin ±1, the magnetisation m would have <m²> = S₂/N² and
    <m⁴> = (3S₂² − 2S₄)/N⁴. So S₂/N is N<m²>, and Binder's cumulant is 1 − <3S₂² − 2S₄>/(3<S₂>²): 0 without large
    clusters and 2/3 with only one. The mean size without the largest cluster would correspond to the variance.

    p_c = 0.592746, β = 5/36, γ = 43/18, ν = 4/3, hence ν* = 8/3 (den Nijs, J. Phys. A 12, 1979; Nienhuis, J. Phys. A
    15, 1982). Samples are independent; there is no dynamics.

    Args:
        lengths: Lengths L.
        occupations: Probabilities p, shape (points,) for all lengths or (lengths, points); None: |t| L^{3/4} ≤ 1 with
            t = p/p_c − 1.
        samples: Number of samples in each replica.
        replicas: Number of groups of samples at each point, at least 2; the errors come from them.
        seed: Seed of the random numbers.

    Returns:
        The data; as p rises, disorder becomes order. Specific heat and energy are NaN.

    Raises:
        InputError: A probability is not between 0 and 1, or there are too few samples or replicas.
    """
    check_integer("samples", samples, 1)
    check_integer("replicas", replicas, 2)
    default = SITE_CRITICAL * (1 + scaling_window(lengths, 1.0) / checked_sizes(lengths, 3) ** 0.75)
    grid = control_grid(default if occupations is None else occupations, len(lengths))
    if not ((grid > 0) & (grid <= 1)).all():
        raise InputError(f"occupations goes from {grid.min():.4g} to {grid.max():.4g}; expected 0 < p <= 1")
    moments = [
        _sampled(length, row, samples, replicas, np.random.default_rng([seed, length]))
        for length, row in zip(lengths, grid, strict=True)
    ]
    return from_moments(np.repeat(np.square(lengths), grid.shape[1]), grid.ravel(), np.concatenate(moments))


def _sampled(length: int, occupation: Array, samples: int, replicas: int, random: np.random.Generator) -> Array:
    """The moments that `from_moments` takes, shape (points, replicas, 5); those of the energy are NaN."""
    rows, sites = len(occupation) * replicas, length**2
    torus = Torus(length, rows)
    chance = np.repeat(occupation, replicas).astype(np.float32)[:, None, None]
    sums = np.zeros((rows, 5))
    sums[:, 3:] = np.nan
    for _ in range(samples):
        occupied = random.random(torus.shape, dtype=np.float32) < chance
        bonds = torus.alike(occupied) & occupied[..., None]  # bonds of empty sites would only cost time
        number, cluster = torus.clusters(bonds)
        size = np.bincount(cluster.ravel(), minlength=number).astype(np.float64)
        # The sum of s^k over sites is the sum of s^{k+1} over clusters.
        own = (size[cluster] * occupied).reshape(rows, sites)
        s2, s4 = own.sum(axis=1), (own**3).sum(axis=1)
        sums[:, :3] += np.stack([own.max(axis=1) / sites, s2 / sites**2, (3 * s2**2 - 2 * s4) / sites**4], axis=1)
    return (sums / samples).reshape(len(occupation), replicas, 5)
