"""Potentials of two weights that are no products or sums of powers; their expected energy is one quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

STEP = 0.02  # of the grids in u where w = w* + δ sinh u


class Planar(nn.Module):
    """K(w₁, w₂), held at a zero w*.

    Args:
        function: K, of two tensors or two arrays.
        point: w*.
        answer: (λ, m) there.
    """

    def __init__(
        self, function: Callable[[Any, Any], Any], answer: tuple[float, int], point: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        super().__init__()
        self.function, self.answer, self.point = function, answer, point
        self.w = nn.Parameter(torch.tensor(point))

    def forward(self) -> Tensor:
        """The loss."""
        return self.function(self.w[0], self.w[1])

    def energy(self, n_beta: float, localization: float) -> float:
        """E[nβ K] under the localiser γ/2 ‖w − w*‖², by the trapezoidal rule in asinh.

        Args:
            n_beta: nβ.
            localization: γ > 0.

        Returns:
            The expected energy, to about 1e-6 as long as structure away from w* is wider than 0.1 of its distance.
        """
        away, spacing = stretched_grid(n_beta, localization)
        energy = n_beta * self.function((self.point[0] + away)[:, None], (self.point[1] + away)[None, :])
        cost = 0.5 * localization * away**2
        weight = np.exp(-energy - cost[:, None] - cost[None, :]) * spacing[:, None] * spacing[None, :]
        return float((weight * energy).sum() / weight.sum())


def stretched_grid(n_beta: float, localization: float) -> tuple[np.ndarray, np.ndarray]:
    """Points around 0 that resolve 1/√nβ and reach as far as the localiser lets go, with their trapezoidal weights.

    Args:
        n_beta: nβ, the loss having curvatures of order 1 at most.
        localization: γ > 0.

    Returns:
        Points and weights, each of shape (points,).
    """
    finest, widest = 0.1 / math.sqrt(n_beta + localization), 9 / math.sqrt(localization)
    u = np.arange(STEP / 2, math.asinh(widest / finest), STEP)
    u = np.concatenate([-u[::-1], u])  # half a step off zero, where potentials may be singular
    return finest * np.sinh(u), finest * np.cosh(u) * STEP
