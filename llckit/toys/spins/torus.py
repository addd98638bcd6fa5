"""Clusters on many square lattices at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

__all__ = ["Torus"]


class Torus:
    """Many L × L square lattices with periodic boundaries, side by side in one block-diagonal graph.

    Args:
        length: Length L, at least 3.
        rows: Number of lattices.
    """

    def __init__(self, length: int, rows: int) -> None:
        site = np.arange(rows * length**2, dtype=np.int32).reshape(rows, length, length)
        self.shape = site.shape
        self._neighbour = np.stack([np.roll(site, -1, 2), np.roll(site, -1, 1)], axis=3).ravel()
        self._ones = np.ones(2 * site.size)

    def alike(self, values: NDArray[np.bool_] | NDArray[np.int8]) -> NDArray[np.bool_]:
        """Whether each site has the same value as the site to its right, and as the site below it.

        Args:
            values: Value of each site, shape (rows, L, L).

        Returns:
            Whether the values are the same, shape (rows, L, L, 2).
        """
        alike = np.empty((*self.shape, 2), bool)
        np.equal(values, np.roll(values, -1, 2), out=alike[..., 0])
        np.equal(values, np.roll(values, -1, 1), out=alike[..., 1])
        return alike

    def clusters(self, bonds: NDArray[np.bool_]) -> tuple[int, NDArray[np.int32]]:
        """The number of clusters in all rows together, and the cluster of each site.

        Args:
            bonds: Whether each site is bound to the site to its right, and to the site below it, shape
                (rows, L, L, 2).

        Returns:
            The number of clusters, and the label of each site's cluster, shape (rows, L, L).
        """
        count = bonds[..., 0].view(np.uint8) + bonds[..., 1].view(np.uint8)
        start = np.zeros(count.size + 1, np.int32)
        np.cumsum(count.ravel(), out=start[1:])
        end = self._neighbour[np.flatnonzero(bonds)]
        graph = csr_array((self._ones[: len(end)], end, start), shape=(count.size, count.size))
        number, label = connected_components(graph, directed=False)
        return number, label.reshape(self.shape)
