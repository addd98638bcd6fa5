"""Cubic splines as linear models: a basis, its slope, and the roughness that a penalty weighs."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

from llckit.criticality.arrays import Array

__all__ = ["CubicSpline"]


@dataclass(frozen=True)
class CubicSpline:
    """Basis of the cubic splines on some knots.

    Attributes:
        knots: Ascending, shape (knots,).
        pieces: Polynomials between the knots, by ascending power, shape (4, knots - 1, coefficients).
    """

    knots: Array
    pieces: Array

    @classmethod
    def through(cls, w: Array, coefficients: int) -> "CubicSpline":
        """The basis with knots at quantiles of the places where it is evaluated.

        Args:
            w: Places, shape (n,).
            coefficients: Number of basis functions, at least 4.

        Returns:
            The basis.
        """
        knots = np.quantile(w, np.linspace(0, 1, coefficients - 2))
        basis = BSpline(np.concatenate([knots[[0] * 3], knots, knots[[-1] * 3]]), np.eye(coefficients), 3)
        return cls(knots, np.stack([basis(knots[:-1], order) / (1, 1, 2, 6)[order] for order in range(4)]))

    def evaluate(self, w: Array) -> tuple[Array, Array]:
        """Basis and its slope; beyond the ends the last polynomials go on.

        Args:
            w: Places, any shape.

        Returns:
            Values and slopes, each of the shape of w and one axis more, of length coefficients.
        """
        interval = np.clip(np.searchsorted(self.knots, w, side="right") - 1, 0, len(self.knots) - 2)
        step = (w - self.knots[interval])[..., None]
        level, slope, bend, third = (piece[interval] for piece in self.pieces)
        return ((third * step + bend) * step + slope) * step + level, (3 * third * step + 2 * bend) * step + slope

    def roughness(self) -> Array:
        """Rows whose sum of squares is ∫ f''²: f'' is linear between knots, where two Gauss points are exact."""
        _, _, bend, third = self.pieces
        width = np.diff(self.knots)[:, None, None]
        points = (1 + np.array([-1, 1])[:, None] / np.sqrt(3)) / 2
        second = (6 * third[:, None] * points * width + 2 * bend[:, None]) * np.sqrt(width / 2)
        return second.reshape(-1, bend.shape[-1])
