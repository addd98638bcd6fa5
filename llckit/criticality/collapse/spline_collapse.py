"""One observable collapsed onto a cubic regression spline: its chi-square, where a search starts, and resampling."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.ensemble_search import descend
from llckit.errors import InputError

__all__ = ["SplineCollapse", "best_start"]

GRID = (13, 10, 13)
SPLINE_SIZES = (4, 5, 6, 8, 10, 13, 16, 20, 25, 32)
SMALLEST = 1e-200  # keeps the logarithm of a perfect fit finite


@dataclass(frozen=True)
class SplineCollapse:
    """Curves and the spline that they are to lie on; theta is (critical point, ln ν*, ratio) as in `Curves`.

    Attributes:
        curves: The measurements.
        low: Lowest theta allowed, shape (3,).
        high: Highest theta allowed, shape (3,).
        coefficients: Number of the spline's coefficients.
    """

    curves: Curves
    low: Array
    high: Array
    coefficients: int

    def deviance(self, theta: Array) -> float:
        """Deviance n · ln chi-square about the best spline.

        Args:
            theta: Parameters of the collapse, shape (3,).

        Returns:
            The deviance; infinite outside the bounds, or where fewer than half of the values can be compared.
        """
        values = self.curves.value / self.curves.se
        if (theta < self.low).any() or (theta > self.high).any():
            return np.inf
        if 2 * self.curves.reach(self.curves.scaled_control(theta)).any(axis=0).sum() < len(values):
            return np.inf
        basis = self._basis(theta)
        residual = values - basis @ (values @ basis)
        return len(values) * float(np.log(max(residual @ residual, SMALLEST)))

    def resampled(self, best: Array, cloud: Array, count: int, random: np.random.Generator) -> Array:
        """Theta and quality S of data sets drawn from the fitted curve with Gaussian noise.

        Args:
            best: The fit, shape (3,).
            cloud: Candidates, of which each data set takes the best, shape (m, 3).
            count: Number of data sets.
            random: Source of randomness.

        Returns:
            Theta and S, shape (count, 4).
        """
        curves, n = self.curves, len(self.curves.value)
        freedom = n - self.coefficients - 3
        values = curves.value / curves.se
        basis = self._basis(best)
        fitted = basis @ (values @ basis)
        reduced = ((values - fitted) ** 2).sum() / freedom
        if curves.known_se:
            noise_variance = np.full(count, max(reduced, 1.0))
        else:  # estimated with few degrees of freedom, hence itself uncertain
            noise_variance = reduced * freedom / random.chisquare(freedom, count)
        samples = fitted[:, None] + random.standard_normal((n, count)) * np.sqrt(noise_variance)

        theta, explained = np.empty((count, 3)), np.full(count, -np.inf)
        for candidate in cloud:
            found = ((self._basis(candidate).T @ samples) ** 2).sum(axis=0)
            better = found > explained
            theta[better], explained[better] = candidate, found[better]
        quality = [
            curves.distance(one, sample * curves.se)[0].mean() for one, sample in zip(theta, samples.T, strict=True)
        ]
        return np.column_stack([theta, quality])

    def _basis(self, theta: Array) -> Array:
        """Orthonormal basis of the values / se that a spline in x can give, shape (n, coefficients)."""
        curves = self.curves
        x = curves.scaled_control(theta)
        knots = np.sort(x)[self._quantiles]
        spline = BSpline.construct_fast(knots, np.eye(self.coefficients), 3)(x)
        return np.linalg.qr(spline * (curves.size_factor(theta) / curves.se)[:, None])[0]

    @cached_property
    def _quantiles(self) -> NDArray[np.int64]:
        """Which of the sorted x are knots; a cubic spline has each end four times."""
        inner = np.linspace(0, len(self.curves.value) - 1, self.coefficients - 2).astype(int)
        return np.concatenate([inner[[0] * 3], inner, inner[[-1] * 3]])


def best_start(curves: Curves, low: Array, high: Array) -> tuple[SplineCollapse, Array, Array]:
    """The valley of the quality S on a grid, and the spline of least cross-validation there.

    Args:
        curves: The measurements.
        low: Lowest theta allowed, shape (3,).
        high: Highest theta allowed, shape (3,).

    Returns:
        The collapse, theta near its minimum and the step of the grid, each shape (3,).

    Raises:
        InputError: No critical point lets half of the measurements be compared.
    """
    axes = [np.linspace(a, b, m + 2)[1:-1] for a, b, m in zip(low, high, GRID, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    step = np.array([axis[1] - axis[0] for axis in axes])
    scores = np.array([_quality_score(curves, theta) for theta in grid])
    if not np.isfinite(scores).any():
        raise InputError(
            "control overlaps too little between the sizes; expected half of the measurements in the range of another "
            "size for some critical point; measure the sizes at controls that overlap more"
        )
    theta, n = grid[scores.argmin()], len(curves.value)
    fits = []
    for coefficients in SPLINE_SIZES:
        if coefficients > n / len(curves.first):
            break
        collapse = SplineCollapse(curves, low, high, coefficients)
        theta, deviance = descend(collapse.deviance, theta, step / 2)
        cross_validation = deviance / n - 2 * np.log(n - coefficients - 3)
        fits.append((cross_validation, collapse, theta))
    _, collapse, theta = min(fits, key=lambda fit: fit[0])
    return collapse, theta, step


def _quality_score(curves: Curves, theta: Array) -> float:
    """Ln S plus the normalisation of its errors: without the latter a master curve of pure noise would fit best."""
    distance, excess = curves.distance(theta, curves.value)
    if 2 * len(distance) < len(curves.value):
        return np.inf
    return float(np.log(max(distance.mean(), SMALLEST)) + np.log1p(excess).mean())
