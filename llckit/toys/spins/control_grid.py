"""Sizes and values of the control at which a system is looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.toys.spins.scaling_data import Array

__all__ = ["FIRST_ORDER_WINDOW", "check_temperatures", "checked_sizes", "control_grid", "scaling_window"]

FIRST_ORDER_WINDOW = 6.0  # half-width, as a difference of free energies in units of T


def scaling_window(sizes: Sequence[int], width: float, points: int = 11) -> Array:
    """Values of the scaling variable x = t N^{1/ν*} at which each size is looked at, evenly spaced in |x| ≤ width.

    The grid of each size is shifted by another fraction of the spacing. If the points of all sizes had the same x, a
    collapse with the true exponents would need no interpolation, and for that reason alone look better than any other.

    Args:
        sizes: Sizes N or lengths L.
        width: Half-width of the window.
        points: Points per size.

    Returns:
        Values of x, shape (sizes, points).
    """
    golden = (np.sqrt(5) - 1) / 2  # its multiples spread most evenly
    shift = np.log2(checked_sizes(sizes)) * golden % 1
    return -width + 2 * width / points * (np.arange(points) + shift)


def checked_sizes(sizes: Sequence[int], least: int = 2) -> Array:
    """Refuse sizes that are not integers, or too small.

    Args:
        sizes: Sizes or lengths.
        least: Smallest size allowed. For lengths it is 3: a shorter lattice has two bonds between the same sites.

    Returns:
        The sizes as a column of floats, shape (sizes, 1).

    Raises:
        InputError: There are no sizes, or one is no integer or too small.
    """
    if not len(sizes):
        raise InputError(f"sizes is empty; expected one or more integers >= {least}")
    for index, size in enumerate(sizes):
        check_integer(f"sizes[{index}]", size, least)
    return np.asarray(sizes, dtype=np.float64)[:, None]


def control_grid(control: ArrayLike, sizes: int) -> Array:
    """Values of the control for every size as one array.

    Args:
        control: Values for all sizes, shape (points,), or for each size, shape (sizes, points).
        sizes: Number of sizes.

    Returns:
        The values, shape (sizes, points).

    Raises:
        InputError: The shape is another, or a value is not finite.
    """
    grid = np.atleast_2d(np.asarray(control, dtype=np.float64))
    if grid.ndim != 2 or len(grid) not in (1, sizes) or not grid.size or not np.isfinite(grid).all():
        raise InputError(
            f"control has shape {np.shape(control)}; expected finite values of shape (points,) or ({sizes}, points)"
        )
    return np.broadcast_to(grid, (sizes, grid.shape[1]))


def check_temperatures(temperatures: Array) -> Array:
    """Refuse temperatures that are not all above zero.

    Args:
        temperatures: Temperatures T, of any shape.

    Returns:
        The temperatures.

    Raises:
        InputError: One is zero or negative.
    """
    if not (temperatures > 0).all():
        raise InputError(f"temperatures has the entry {temperatures.min():.4g}; expected positive numbers")
    return temperatures
