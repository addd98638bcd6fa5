"""Ising and Potts models on the square lattice, simulated by cluster moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.toys.spins.control_grid import (
    FIRST_ORDER_WINDOW,
    check_temperatures,
    checked_sizes,
    control_grid,
    scaling_window,
)
from llckit.toys.spins.scaling_data import Array, ScalingData, from_moments
from llckit.toys.spins.swendsen_wang import swendsen_wang

__all__ = ["ISING_CRITICAL", "ising", "potts", "potts_critical"]

ISING_CRITICAL = 2 / math.log(1 + math.sqrt(2))  # Onsager


def potts_critical(states: int) -> float:
    """T_c = 1/ln(1 + √q) of the q-state Potts model on the square lattice, by duality.

    Args:
        states: Number of states q.

    Returns:
        T_c, in units of the coupling.
    """
    return 1 / math.log(1 + math.sqrt(states))


def ising(
    lengths: Sequence[int],
    temperatures: ArrayLike | None = None,
    *,
    sweeps: int = 1000,
    replicas: int = 32,
    seed: int = 0,
) -> ScalingData:
    """The Ising model E = −Σ_<ij> s_i s_j on L × L sites with periodic boundaries, by Swendsen–Wang (see `potts`).

    T_c = 2/ln(1 + √2), and the exponents are α = 0 (a logarithm), β = 1/8, γ = 7/4, ν = 1, hence ν* = 2.

    Args:
        lengths: Lengths L.
        temperatures: Temperatures T, shape (points,) for all lengths or (lengths, points); None: |t| L ≤ 1.5 with
            t = T/T_c − 1.
        sweeps: Number of measured sweeps in each replica.
        replicas: Number of independent runs at each point, at least 2.
        seed: Seed of the random numbers.

    Returns:
        The data.
    """
    default = ISING_CRITICAL * (1 + scaling_window(lengths, 1.5) / checked_sizes(lengths, 3))
    grid = control_grid(default if temperatures is None else temperatures, len(lengths))
    return _simulated(2, lengths, grid, 2.0, (2.0, 2.0), sweeps, replicas, seed)


def potts(
    lengths: Sequence[int],
    states: int = 3,
    temperatures: ArrayLike | None = None,
    *,
    sweeps: int = 1000,
    replicas: int = 32,
    seed: int = 0,
) -> ScalingData:
    """The q-state Potts model E = −Σ_<ij> δ(s_i, s_j) on L × L sites with periodic boundaries, by Swendsen–Wang.

    One move (Phys. Rev. Lett. 58, 1987) binds equal neighbours with probability 1 − e^{−1/T} and gives each cluster a
    fresh random state. The order parameter is the length of a vector of q − 1 components, which points to a corner of
    the simplex if all spins are alike: m² = (q Σ_a f_a² − 1)/(q − 1), where f_a is the share of spins in state a.

    T_c = 1/ln(1 + √q). At q = 3 α = 1/3, β = 1/9, γ = 13/9, ν = 5/6, hence ν* = 5/3 (Wu, Rev. Mod. Phys. 54, 1982).
    From q = 5 on the transition is first-order; q = 10 has the latent heat 0.696 and the correlation length 10.6. Half
    of the replicas start ordered and half disordered. The time to pass between the phases grows exponentially in L; if
    the runs are too short for it, the halves disagree, and the standard errors show it.

    Args:
        lengths: Lengths L.
        states: Number of states q.
        temperatures: Temperatures T, shape (points,) for all lengths or (lengths, points). None: |t| L^{1/ν} ≤ 1.5 up
            to q = 4; |t L² − ln q| ≤ 6 beyond, since the q ordered phases together outweigh the disordered one at T_c.
        sweeps: Number of measured sweeps in each replica.
        replicas: Number of independent runs at each point, at least 2.
        seed: Seed of the random numbers.

    Returns:
        The data.

    Raises:
        InputError: q is below 2 or above 127.
    """
    if not 2 <= states <= 127:
        raise InputError(f"states is {states}; expected an integer from 2 to 127")
    inverse_nu = {2: 1.0, 3: 6 / 5, 4: 3 / 2}.get(states, 2.0)
    x = scaling_window(lengths, 1.5) if states <= 4 else scaling_window(lengths, FIRST_ORDER_WINDOW) + math.log(states)
    default = potts_critical(states) * (1 + x / checked_sizes(lengths, 3) ** inverse_nu)
    grid = control_grid(default if temperatures is None else temperatures, len(lengths))
    return _simulated(states, lengths, grid, 1.0, (0.0, 1.0), sweeps, replicas, seed)


def _simulated(
    states: int,
    lengths: Sequence[int],
    temperatures: Array,
    coupling: float,
    energy: tuple[float, float],
    sweeps: int,
    replicas: int,
    seed: int,
) -> ScalingData:
    """Equal neighbours gain `coupling`; the energy per site is energy[0] − energy[1] · (equal pairs)/N."""
    check_integer("sweeps", sweeps, 1)
    check_integer("replicas", replicas, 2)
    check_temperatures(temperatures)
    moments = [
        swendsen_wang(length, states, coupling / grid, energy, sweeps, replicas, np.random.default_rng([seed, length]))
        for length, grid in zip(lengths, temperatures, strict=True)
    ]
    size = np.repeat(np.square(lengths), temperatures.shape[1])
    control = temperatures.ravel()
    return from_moments(size, control, np.concatenate(moments), temperature=control, components=states - 1)
