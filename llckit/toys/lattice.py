"""What the systems with known exponents share: the form of their results and clusters on the square lattice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from llckit.errors import InputError

Array = NDArray[np.float64]


class ScalingData(NamedTuple):
    """Observables of one system over sizes and values of a control parameter: arrays of equal length, a row a point.

    N is the number of sites and not the length of a lattice's side, since ν* belongs to N. The susceptibility is not
    the variance N(<m²> − <|m|>²): with m ~ N^{−β/ν*} both grow as N^{γ/ν*}, γ = ν* − 2β, but N<m²> is monotone in the
    control, subtracts nothing, and has the smaller corrections: collapses of `curie_weiss` from N = 256 to 4096 miss
    γ/ν* by 2 % with it and by 8 % with the variance, which has a peak that moves through the window.
    Above the critical point it is the susceptibility itself; below, in infinite systems, the variance would be.
    Both are moments of the same m: γ/ν* = 1 − 2β/ν* is no test of anything if γ/ν* comes from this column.

    A column is NaN where the system has no such observable; an `_se` is NaN where the value is exact.

    Attributes:
        size: N.
        control: Temperature T, occupation probability, or what the function that made the data says.
        order_parameter: <|m|>.
        susceptibility: N<m²>.
        specific_heat: N(<e²> − <e>²)/T², e the energy per site.
        binder: 1 − d<m⁴>/((d + 2)<m²>²) for m with d components; at d = 1 Binder's 1 − <m⁴>/(3<m²>²)
            (Z. Phys. B 43, 1981). It is 0 for a Gaussian m and 2/(d + 2) for |m| without fluctuations.
        energy: <e>.
        order_parameter_se: Standard error of `order_parameter`; the others alike.
        susceptibility_se: See above.
        specific_heat_se: See above.
        binder_se: See above.
        energy_se: See above.
    """

    size: Array
    control: Array
    order_parameter: Array
    susceptibility: Array
    specific_heat: Array
    binder: Array
    energy: Array
    order_parameter_se: Array
    susceptibility_se: Array
    specific_heat_se: Array
    binder_se: Array
    energy_se: Array


def from_moments(
    size: ArrayLike, control: ArrayLike, moments: Array, temperature: ArrayLike = 1.0, components: int = 1
) -> ScalingData:
    """Observables from moments of independent replicas, with jackknife errors (Efron, Ann. Stat. 7, 1979).

    se² = (R − 1)/R Σ_r (θ_r − mean θ)², θ_r the observable of the moments averaged over all replicas but r.

    Args:
        size: N, shape (points,).
        control: The control parameter, shape (points,).
        moments: <|m|>, <m²>, <m⁴>, <e>, <e²> in each replica, shape (points, replicas, 5); a single one is exact.
        temperature: T of the specific heat, shape (points,) or a scalar.
        components: d of the order parameter.

    Returns:
        The data.
    """
    size, control, temperature = (np.asarray(array, dtype=np.float64) for array in (size, control, temperature))
    replicas = moments.shape[1]
    values = _observables(size, temperature, moments.mean(axis=1), components)
    if replicas == 1:
        return ScalingData(size, control, *values, *np.full_like(values, np.nan))
    without = (moments.sum(axis=1, keepdims=True) - moments) / (replicas - 1)
    left_out = np.stack([_observables(size, temperature, without[:, r], components) for r in range(replicas)])
    errors = np.sqrt((replicas - 1) * left_out.var(axis=0))
    return ScalingData(size, control, *values, *errors)


def _observables(size: Array, temperature: Array, moments: Array, components: int) -> Array:
    m1, m2, m4, e1, e2 = moments.T
    with np.errstate(invalid="ignore"):  # m may be 0 throughout: then there is no cumulant
        cumulant = 1 - components * m4 / ((components + 2) * m2**2)
    return np.stack([m1, size * m2, size * (e2 - e1**2) / temperature**2, cumulant, e1])


def scaling_window(sizes: Sequence[int], width: float, points: int = 11) -> Array:
    """Values of the scaling variable x = t N^{1/ν*} at which each size is looked at, evenly spaced in |x| ≤ width.

    Every size has its grid shifted by another fraction of the spacing: were the points of all sizes at the same x, a
    collapse with the true exponents would need no interpolation and look better than any other for that alone.

    Args:
        sizes: N or L.
        width: Of the window.
        points: Per size.

    Returns:
        x, shape (sizes, points).
    """
    golden = (np.sqrt(5) - 1) / 2  # its multiples spread most evenly
    shift = np.log2(checked_sizes(sizes)) * golden % 1
    return -width + 2 * width / points * (np.arange(points) + shift)


def checked_sizes(sizes: Sequence[int], least: int = 2) -> Array:
    """The sizes as numbers, where they are whole.

    Args:
        sizes: Sizes or lengths.
        least: Smallest one allowed. For lengths it is 3: a shorter lattice has two bonds between the same sites.

    Returns:
        A column, shape (sizes, 1).

    Raises:
        InputError: They are not.
    """
    if not len(sizes) or any(not isinstance(size, int | np.integer) or size < least for size in sizes):
        raise InputError(f"the sizes are {list(sizes)}; expected whole numbers from {least} on")
    return np.asarray(sizes, dtype=np.float64)[:, None]


def control_grid(control: ArrayLike, sizes: int) -> Array:
    """Values of the control, the same for all sizes or each size's own, as one array.

    Args:
        control: Shape (points,) or (sizes, points).
        sizes: Number of sizes.

    Returns:
        Shape (sizes, points).

    Raises:
        InputError: Another shape, or values that are not finite.
    """
    grid = np.atleast_2d(np.asarray(control, dtype=np.float64))
    if grid.ndim != 2 or len(grid) not in (1, sizes) or not grid.size or not np.isfinite(grid).all():
        raise InputError(
            f"the control has shape {np.shape(control)}; expected finite values of shape (points,) or ({sizes}, points)"
        )
    return np.broadcast_to(grid, (sizes, grid.shape[1]))


class Torus:
    """Many L × L square lattices with periodic boundaries side by side, as one block-diagonal graph.

    Args:
        length: L, at least 3.
        rows: Number of lattices.
    """

    def __init__(self, length: int, rows: int) -> None:
        site = np.arange(rows * length**2, dtype=np.int32).reshape(rows, length, length)
        self.shape = site.shape
        self._neighbour = np.stack([np.roll(site, -1, 2), np.roll(site, -1, 1)], axis=3).ravel()
        self._ones = np.ones(2 * site.size)

    def alike(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether a site has the value of the one right of it and of the one below.

        Args:
            values: Shape (rows, L, L).

        Returns:
            Shape (rows, L, L, 2).
        """
        alike = np.empty((*self.shape, 2), bool)
        np.equal(values, np.roll(values, -1, 2), out=alike[..., 0])
        np.equal(values, np.roll(values, -1, 1), out=alike[..., 1])
        return alike

    def clusters(self, bonds: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
        """The number of clusters in all rows together, and to which one each site belongs.

        Args:
            bonds: Whether a site is bound to the one right of it and to the one below, shape (rows, L, L, 2).

        Returns:
            The number, and labels of shape (rows, L, L).
        """
        count = bonds[..., 0].view(np.uint8) + bonds[..., 1].view(np.uint8)
        start = np.zeros(count.size + 1, np.int32)
        np.cumsum(count.ravel(), out=start[1:])
        end = self._neighbour[np.flatnonzero(bonds)]
        graph = csr_array((self._ones[: len(end)], end, start), shape=(count.size, count.size))
        number, label = connected_components(graph, directed=False)
        return number, label.reshape(self.shape)
