"""Grids for integrals over one weight that resolve a narrow peak and reach far."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["sinh_grid"]

STEP = 0.02  # of u, where w = w* + δ sinh u


def sinh_grid(n_beta: float, localization: float) -> tuple[np.ndarray, np.ndarray]:
    """Points around 0 that resolve 1/√nβ and reach as far as the localization allows, with trapezoidal weights.

    Args:
        n_beta: nβ, for a loss with curvatures of order 1 at most.
        localization: γ > 0.

    Returns:
        Points and weights, each of shape (points,).
    """
    finest, widest = 0.1 / math.sqrt(n_beta + localization), 9 / math.sqrt(localization)
    u = np.arange(STEP / 2, math.asinh(widest / finest), STEP)
    u = np.concatenate([-u[::-1], u])  # half a step off zero, where potentials may be singular
    return finest * np.sinh(u), finest * np.cosh(u) * STEP
