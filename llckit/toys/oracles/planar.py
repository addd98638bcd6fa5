"""Potentials of two weights that are no products or sums of powers; their expected energy is one quadrature."""

from __future__ import annotations

from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from llckit.toys.oracles.sinh_grid import sinh_grid

__all__ = ["Planar"]

Values = TypeVar("Values", Tensor, np.ndarray)


class PlaneFunction(Protocol):
    """A function of two tensors or of two arrays."""

    def __call__(self, x: Values, y: Values, /) -> Values:
        """K at the weights x and y."""
        ...


class Planar(nn.Module):
    """K(w₁, w₂), at a zero w*.

    Args:
        function: K, of two tensors or two arrays.
        answer: (λ, m) at w*.
        point: w*.
    """

    def __init__(
        self, function: PlaneFunction, answer: tuple[float, int], point: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        super().__init__()
        self.function, self.answer, self.point = function, answer, point
        self.w = nn.Parameter(torch.tensor(point))

    def forward(self) -> Tensor:
        """The loss."""
        return self.function(self.w[0], self.w[1])

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localization γ/2 ‖w − w*‖², by the trapezoidal rule in asinh.

        Args:
            n_beta: nβ.
            localization: γ > 0.

        Returns:
            The expected energy, to about 1e-6 if structure away from w* is wider than 0.1 of its distance to w*.
        """
        away, spacing = sinh_grid(n_beta, localization)
        energy = n_beta * self.function((self.point[0] + away)[:, None], (self.point[1] + away)[None, :])
        cost = 0.5 * localization * away**2
        weight = np.exp(-energy - cost[:, None] - cost[None, :]) * spacing[:, None] * spacing[None, :]
        return float((weight * energy).sum() / weight.sum())
