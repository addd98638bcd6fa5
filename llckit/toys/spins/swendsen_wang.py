"""The cluster moves of Swendsen and Wang, for many lattices at once."""

from __future__ import annotations

import numpy as np

from llckit.toys.spins.scaling_data import Array
from llckit.toys.spins.torus import Torus

__all__ = ["swendsen_wang"]


def swendsen_wang(
    length: int,
    states: int,
    coupling: Array,
    energy: tuple[float, float],
    sweeps: int,
    replicas: int,
    random: np.random.Generator,
) -> Array:
    """Moments of Potts models on L × L sites with periodic boundaries (see `potts`).

    Args:
        length: Length L.
        states: Number of states q.
        coupling: Gain of equal neighbours divided by the temperature, at each point, shape (points,).
        energy: Numbers (a, b) of the energy per site, a − b · (equal pairs)/N.
        sweeps: Number of measured sweeps.
        replicas: Number of independent runs at each point; half of them start ordered.
        random: Source of randomness.

    Returns:
        The moments that `from_moments` takes, shape (points, replicas, 5).
    """
    rows, sites = len(coupling) * replicas, length**2
    torus = Torus(length, rows)
    binding = np.repeat(-np.expm1(-coupling), replicas).astype(np.float32)[:, None, None, None]
    spins = random.integers(states, size=torus.shape, dtype=np.int8)
    spins[::2] = 0
    row = states * np.arange(rows, dtype=np.int32)[:, None, None]
    alike = torus.alike(spins)
    burn_in = 50 + sweeps // 10  # several autocorrelation times, which grow as L^{1/2} or slower for q = 2 and 3
    sums = np.zeros((rows, 5))
    for sweep in range(burn_in + sweeps):
        bonds = alike & (random.random(alike.shape, dtype=np.float32) < binding)
        number, cluster = torus.clusters(bonds)
        spins = random.integers(states, size=number, dtype=np.int8)[cluster]
        alike = torus.alike(spins)
        if sweep < burn_in:
            continue
        counts = np.bincount((spins + row).ravel(), minlength=states * rows).reshape(rows, states)
        m2 = (states * np.square(counts).sum(axis=1) - sites**2) / ((states - 1) * sites**2)
        pairs = np.count_nonzero(alike.reshape(rows, -1), axis=1)
        e = energy[0] - energy[1] * pairs / sites
        sums += np.stack([np.sqrt(m2), m2, m2**2, e, e**2], axis=1)
    return (sums / sweeps).reshape(len(coupling), replicas, 5)
