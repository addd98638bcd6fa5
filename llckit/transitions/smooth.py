"""A Gaussian-process smooth of one curve, with posterior draws of its value and of its slope.

The process is a Matérn-5/2 process whose intensity may drift along the curve,

    (1 + ℓ d/dz)³ f(z) = σ(z) w(z),   z = (x - x₀) / (x₁ - x₀) in [0, 1],   w white noise,

plus a straight line, written on quintic B-splines so that slopes are exact derivatives. ln σ is piecewise linear.
The noise of observation i has variance a² + b² f(x_i)²: a constant part and a part proportional to the level.
σ, a and b maximise the marginal likelihood (Rasmussen and Williams 2006, section 5.4), so the noise is what
scatters from one point to the next, whatever error bars the points came with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

__all__ = ["Smooth", "fit_smooth"]

Array = NDArray[np.float64]

DEGREE = 5
LENGTH = 4.0  # ℓ: structure finer than this share of the curve is left to the intensity
FREE_SCALE = 10.0  # prior sd of the straight line, in standard deviations of the data: practically free
DRIFT_SCALE = 2.0  # prior sd of the change of ln σ from one knot to the next
EVIDENCE = 6.0  # 2 ln(Bayes factor) that a curve needs to be more than a parabola with noise
NUM_DRAWS = 1000
INTENSITY_BOUNDS = (-12.0, 30.0)  # of ln σ²
NOISE_BOUNDS = (-24.0, 3.0)  # of ln a² and ln b², a in standard deviations of the data


@dataclass(frozen=True)
class Smooth:
    """The posterior of a curve on an even grid.

    Attributes:
        x: The grid, shape `(grid,)`.
        value: Posterior mean of the curve, shape `(grid,)`.
        slope: Posterior mean of its derivative with respect to `x`, shape `(grid,)`.
        value_draws: Joint posterior draws of the curve, shape `(draws, grid)`.
        slope_draws: The derivatives of the same draws, shape `(draws, grid)`.
        noise: Estimated standard deviation of each observation about the curve, shape `(observations,)`.
    """

    x: Array
    value: Array
    slope: Array
    value_draws: Array
    slope_draws: Array
    noise: Array


def fit_smooth(x: Array, y: Array, grid: Array, seed: int = 0) -> Smooth:
    """Smooth `y` over `x` and draw from the posterior.

    Args:
        x: Places of the observations, strictly increasing, shape `(observations,)`.
        y: Observations, finite, shape `(observations,)`.
        grid: Places at which the smooth is wanted, increasing, shape `(grid,)`.
        seed: Seed of the posterior draws.

    Returns:
        The posterior on the grid.
    """
    centre, scale = float(y.mean()), float(y.std())
    if scale <= 1e-12 * np.abs(y).max():  # constant: there is nothing to estimate
        flat = np.zeros((NUM_DRAWS, len(grid)))
        return Smooth(grid, flat[0] + centre, flat[0], flat + centre, flat, np.zeros(len(x)))
    low, high = min(x[0], grid[0]), max(x[-1], grid[-1])
    width = high - low
    basis = _basis(num_intervals=int(np.clip(2 * len(x), 40, 250)))
    model = _Model(basis((x - low) / width, 0), (y - centre) / scale, num_knots=int(np.clip(len(x) // 20, 1, 5)))
    model.fit(level=None)
    model.fit(level=np.abs(centre / scale + model.fitted))
    model.prefer_parabola()
    coefficients, draws = model.posterior(np.random.default_rng(seed))
    values, slopes = basis((grid - low) / width, 0), basis((grid - low) / width, 1) / width
    return Smooth(
        x=grid,
        value=centre + scale * (values @ coefficients),
        slope=scale * (slopes @ coefficients),
        value_draws=centre + scale * (draws @ values.T),
        slope_draws=scale * (draws @ slopes.T),
        noise=scale * model.noise,
    )


def _basis(num_intervals: int) -> Callable[[Array, int], Array]:
    """Functions of z: a straight line, then the response of the process to one unit of white noise per interval."""
    size = num_intervals + DEGREE
    spline = BSpline(np.arange(-DEGREE, size + 1) / num_intervals, np.eye(size), DEGREE)
    running_sum = np.tril(np.ones((size, size)))
    response = np.linalg.matrix_power(running_sum, 3) * num_intervals**-2.5

    def evaluate(z: Array, derivative: int) -> Array:
        parabola = np.stack([Polynomial(row).deriv(derivative)(z) for row in np.eye(3)], axis=1)
        return np.hstack([parabola, spline(z, nu=derivative) @ response])

    return evaluate


class _Model:
    """y = design · weights + noise; the state after `fit` is that of the most probable intensities and noise."""

    def __init__(self, design: Array, y: Array, num_knots: int) -> None:
        self.design, self.y, self.num_knots = design, y, num_knots
        size = design.shape[1] - 3
        # the noise that enters at spline k acts around the middle of that spline's support
        middle = np.clip((np.arange(size) - DEGREE / 2) / (size - DEGREE), 0, 1)
        knots = np.linspace(0, 1, num_knots)
        self.drift = np.stack([np.interp(middle, knots, unit) for unit in np.eye(num_knots)], axis=1)
        self.levels = np.ones((len(y), 1))
        self.parameters = np.concatenate([np.full(num_knots, 14.0), [-6.0]])

    def fit(self, level: Array | None) -> None:
        """Maximise the marginal likelihood; with `level`, the noise gains a part proportional to it."""
        if level is not None:
            self.levels = np.stack([np.ones(len(self.y)), level**2], axis=1)
            self.keep = self.levels
            half = self.parameters[-1] - np.log(2)
            self.parameters = np.append(self.parameters[:-1], [half, half - np.log(np.mean(level**2))])
        bounds = [INTENSITY_BOUNDS] * self.num_knots + [NOISE_BOUNDS] * self.levels.shape[1]
        self.parameters = np.clip(self.parameters, *np.transpose(bounds))
        self.parameters = minimize(self._objective, self.parameters, jac=True, method="L-BFGS-B", bounds=bounds).x
        self._objective(self.parameters)

    def prefer_parabola(self) -> None:
        moving, gain = self.parameters, self._objective(self.parameters)[0]
        self.levels = np.ones((len(self.y), 1))
        self.parameters = np.concatenate([np.full(self.num_knots, INTENSITY_BOUNDS[0]), [0.0]])
        bounds = [(INTENSITY_BOUNDS[0], INTENSITY_BOUNDS[0])] * self.num_knots + [NOISE_BOUNDS]
        r = minimize(self._objective, self.parameters, jac=True, method="L-BFGS-B", bounds=bounds)
        self.parameters = r.x
        self.evidence = r.fun - gain
        if r.fun - gain > EVIDENCE:
            self.levels = self.keep
            self.parameters = moving
        self._objective(self.parameters)

    def _objective(self, parameters: Array) -> tuple[float, Array]:
        """-2 ln(marginal likelihood · prior of the drift) and its gradient."""
        log_intensity, log_noise = parameters[: self.num_knots], parameters[self.num_knots :]
        parts = self.levels * np.exp(log_noise)
        variance = parts.sum(axis=1)
        self.scales = np.concatenate([np.full(3, FREE_SCALE), np.exp(self.drift @ log_intensity / 2)])
        scaled = self.design * self.scales
        precision = scaled.T @ (scaled / variance[:, None])
        # the jitter keeps directions that the data determine to the last digit factorisable
        precision[np.diag_indices_from(precision)] += 1 + 1e-13 * precision.diagonal().max()
        factor = cholesky(precision, lower=True, check_finite=False)
        self.inverse_factor = solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
        self.weights = self.inverse_factor.T @ (self.inverse_factor @ (scaled.T @ (self.y / variance)))
        self.fitted = scaled @ self.weights
        self.noise = np.sqrt(variance)
        residual = (self.y - self.fitted) ** 2 / variance
        leverage = np.sum((scaled @ self.inverse_factor.T) ** 2, axis=1) / variance
        change = np.diff(log_intensity) / (2 * DRIFT_SCALE)
        value = residual.sum() + np.sum(self.weights**2) + 2 * np.log(factor.diagonal()).sum()
        value += np.log(variance).sum() + np.sum(change**2)
        by_intensity = self.drift.T @ (1 - np.sum(self.inverse_factor**2, axis=0) - self.weights**2)[3:]
        by_intensity += (np.append(0, change) - np.append(change, 0)) / DRIFT_SCALE
        by_noise = (parts / variance[:, None]).T @ (1 - leverage - residual)
        return float(value), np.concatenate([by_intensity, by_noise])

    def posterior(self, rng: np.random.Generator) -> tuple[Array, Array]:
        """Mean and joint draws of the weights."""
        noise = rng.standard_normal((NUM_DRAWS, len(self.weights))) @ self.inverse_factor
        return self.scales * self.weights, self.scales * (self.weights + noise)
