"""A Gaussian-process smooth of one curve, with posterior draws of its value and of its slope.

The curve is a free parabola plus a twice-integrated Wiener process whose intensity may drift along the curve,

    d³f/dz³ = σ(z) w(z),   z = (x - x₀) / (x₁ - x₀) in [0, 1],   w white noise,   ln σ piecewise linear,

that is a quintic smoothing spline (Wahba 1990, chapter 1) with locally adapted smoothness, written on B-splines so
that slopes are exact derivatives. Observation i carries independent noise of variance a² + b² f(x_i)² + c² e_i², e_i
being the standard error it came with. The posterior mode of σ, a, b and c is taken (marginal likelihood: Rasmussen and
Williams 2006, section 5.4), so the level of the noise is what scatters from one point to the next.

That does not see errors which neighbours share, such as those of chains that use the same random numbers at all
checkpoints. Where they are known (`shared_noise`), they are one more Gaussian part of the observations, told apart from
the curve by their covariance.
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
FREE_SCALE = 10.0  # prior sd of the parabola's coefficients, in standard deviations of the data: practically free
DRIFT_SCALE = 2.0  # prior sd of the change of ln σ from one knot to the next
INTENSITY_BOUNDS = (-12.0, 30.0)  # of ln σ²; at the lower one the curve is a parabola
NOISE_BOUNDS = (-24.0, 3.0)  # of ln a² and ln b², in variances of the data
START_INTENSITY, START_NOISE = 14.0, -6.0
EVEN = 0.1  # standard errors that scatter less, relative to their mean, have no shape to be told from a constant
EVIDENCE = 2.0  # 2 ln(Bayes factor) for more than a parabola: "positive" (Kass and Raftery 1995)
NUM_DRAWS = 1000


@dataclass(frozen=True)
class Smooth:
    """The posterior of a curve on a grid.

    Attributes:
        x: The grid, shape `(grid,)`.
        value: Posterior mean of the curve, shape `(grid,)`.
        slope: Posterior mean of its derivative with respect to `x`, shape `(grid,)`.
        value_draws: Joint posterior draws of the curve, shape `(draws, grid)`.
        slope_draws: The derivatives of the same draws, shape `(draws, grid)`.
        slope_refits: Posterior means of the derivative, if the noise were drawn again, shape `(draws, grid)`.
        noise: Estimated standard deviation of each observation about the curve, shape `(observations,)`.
    """

    x: Array
    value: Array
    slope: Array
    value_draws: Array
    slope_draws: Array
    slope_refits: Array
    noise: Array


def fit_smooth(
    x: Array,
    y: Array,
    grid: Array,
    seed: int = 0,
    *,
    errors: Array | None = None,
    shared: Array | None = None,
    noise_grows: bool = True,
) -> Smooth:
    """Smooth `y` over `x` and draw from the posterior.

    Args:
        x: Places of the observations, increasing, repeats among them or not, shape `(observations,)`.
        y: Observations, finite, shape `(observations,)`.
        grid: Places at which the smooth is wanted, increasing, shape `(grid,)`.
        seed: Seed of the posterior draws.
        errors: Standard errors of the observations up to a common factor, shape `(observations,)`.
        shared: A factor B of the covariance B Bᵀ of errors that observations share, shape `(observations, directions)`.
        noise_grows: Whether the noise may grow with the level, as that of λ̂ and of a loss does (b above). Not where a
            curve rests at 0 before it rises: so much more probable is noise that vanishes there, that the rise would
            pass for noise too.

    Returns:
        The posterior on the grid.
    """
    centre, scale = float(y.mean()), float(y.std())
    if scale <= 1e-12 * np.abs(y).max():  # constant: there is nothing to estimate
        still = np.zeros((NUM_DRAWS, len(grid)))
        return Smooth(grid, still[0] + centre, still[0], still + centre, still, still, np.zeros(len(x)))
    shared = np.zeros((len(x), 0)) if shared is None else shared / scale
    low, high = min(x[0], grid[0]), max(x[-1], grid[-1])
    basis = _basis(num_intervals=int(np.clip(2 * len(x), 40, 200)))
    model = _Model(basis((x - low) / (high - low), 0), (y - centre) / scale, errors, shared)
    fit = model.most_probable(centre / scale, noise_grows)
    rng = np.random.default_rng(seed)
    draws = fit.weights + rng.standard_normal((NUM_DRAWS, len(fit.weights))) @ fit.inverse_factor
    again = np.sqrt(fit.variance) * rng.standard_normal((NUM_DRAWS, len(x)))
    again += rng.standard_normal((NUM_DRAWS, shared.shape[1])) @ shared.T
    refits = fit.weights + model.solve(fit, again)
    z = (grid - low) / (high - low)
    own = slice(len(fit.weights) - shared.shape[1])  # what observations share is no part of the curve
    values = scale * fit.scales[own] * basis(z, 0)
    slopes = scale * fit.scales[own] / (high - low) * basis(z, 1)
    return Smooth(
        x=grid,
        value=centre + values @ fit.weights[own],
        slope=slopes @ fit.weights[own],
        value_draws=centre + draws[:, own] @ values.T,
        slope_draws=draws[:, own] @ slopes.T,
        slope_refits=refits[:, own] @ slopes.T,
        noise=scale * np.sqrt(fit.variance),
    )


def _basis(num_intervals: int) -> Callable[[Array, int], Array]:
    """Functions of z and their derivatives: 1, z, z², then the answer to a unit of white noise per interval."""
    size = num_intervals + DEGREE
    splines = BSpline(np.arange(-DEGREE, size + 1) / num_intervals, np.eye(size), DEGREE)
    running_sum = np.tril(np.ones((size, size)))
    answers = np.linalg.matrix_power(running_sum, 3) * num_intervals**-2.5

    def evaluate(z: Array, derivative: int) -> Array:
        parabola = np.stack([Polynomial(row).deriv(derivative)(z) for row in np.eye(3)], axis=1)
        return np.hstack([parabola, splines(z, nu=derivative) @ answers])

    return evaluate


@dataclass(frozen=True)
class _Fit:
    """The posterior of the weights at given intensities and noise: mean, and factor of the inverse precision."""

    weights: Array  # in units of their prior standard deviations; those of shared errors last
    scales: Array  # those prior standard deviations
    inverse_factor: Array
    fitted: Array
    variance: Array  # of the noise of each observation


class _Model:
    """y = design · (scales · weights) + noise, with standard normal weights; y standardised."""

    def __init__(self, design: Array, y: Array, errors: Array | None = None, shared: Array | None = None) -> None:
        self.num_shared = 0 if shared is None else shared.shape[1]
        self.design, self.y = design if shared is None else np.hstack([design, shared]), y
        self.known = np.ones((len(y), 1))  # shapes that the noise's variance may have, whatever the curve
        if errors is not None and errors.std() > EVEN * errors.mean():
            self.known = np.column_stack([self.known, (errors / errors.mean()) ** 2])
        self.num_knots = int(np.clip(len(y) // 20, 1, 5))
        size = design.shape[1] - 3
        # the white noise that enters at spline k acts around the middle of that spline's support
        middle = np.clip((np.arange(size) - DEGREE / 2) / (size - DEGREE), 0, 1)
        knots = np.linspace(0, 1, self.num_knots)
        self.drift = np.stack([np.interp(middle, knots, unit) for unit in np.eye(self.num_knots)], axis=1)

    def most_probable(self, centre: float, noise_grows: bool = True) -> _Fit:
        """The fit at the most probable intensities and noise; `centre` is what standardising took off y."""
        known = self.known
        start = np.append(np.full(self.num_knots, START_INTENSITY), np.full(known.shape[1], START_NOISE))
        first, _ = self._optimise(start, known)
        # f in the noise's variance is the fit without it there: then each fit is one Gaussian problem
        level = (centre + self._fit(first, known)[0].fitted) ** 2
        levels = np.hstack([known, level[:, None] / level.mean()]) if noise_grows else known
        # a second start, since the noise found first may be a local optimum that interpolates the scatter
        starts = (np.append(first, first[-1]), np.append(start, START_NOISE)) if noise_grows else (first, start)
        moving, moving_cost = min((self._optimise(start, levels) for start in starts), key=lambda found: found[1])
        still = np.append(np.full(self.num_knots, INTENSITY_BOUNDS[0]), np.zeros(known.shape[1]))
        parabola, parabola_cost = self._optimise(still, known, may_move=False)
        if parabola_cost - moving_cost > EVIDENCE:
            return self._fit(moving, levels)[0]
        return self._fit(parabola, known)[0]

    def solve(self, fit: _Fit, y: Array) -> Array:
        """The weights that the fit gives other observations, rows of shape `(observations,)`."""
        return (y / fit.variance) @ (self.design * fit.scales) @ fit.inverse_factor.T @ fit.inverse_factor

    def _optimise(self, start: Array, levels: Array, may_move: bool = True) -> tuple[Array, float]:
        intensity = INTENSITY_BOUNDS if may_move else INTENSITY_BOUNDS[:1] * 2
        bounds = [intensity] * self.num_knots + [NOISE_BOUNDS] * levels.shape[1]
        result = minimize(
            lambda parameters: self._fit(parameters, levels)[1:],
            np.clip(start, *np.transpose(bounds)),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
        )
        return result.x, float(result.fun)

    def _fit(self, parameters: Array, levels: Array) -> tuple[_Fit, float, Array]:
        """The fit, and -2 ln(marginal likelihood · prior of the drift) with its gradient."""
        log_intensity, log_noise = parameters[: self.num_knots], parameters[self.num_knots :]
        parts = levels * np.exp(log_noise)
        variance = parts.sum(axis=1)
        scales = np.concatenate(
            [np.full(3, FREE_SCALE), np.exp(self.drift @ log_intensity / 2), np.ones(self.num_shared)]
        )
        scaled = self.design * scales
        precision = scaled.T @ (scaled / variance[:, None])
        # the jitter lets directions be factorised that the data determine to the last digit
        precision[np.diag_indices_from(precision)] += 1 + 1e-12 * precision.diagonal().max()
        factor = cholesky(precision, lower=True, check_finite=False)
        inverse_factor = solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
        weights = inverse_factor.T @ (inverse_factor @ (scaled.T @ (self.y / variance)))
        fitted = scaled @ weights
        residual = (self.y - fitted) ** 2 / variance
        leverage = np.sum((scaled @ inverse_factor.T) ** 2, axis=1) / variance
        change = np.diff(log_intensity) / (2 * DRIFT_SCALE)
        cost = residual.sum() + np.sum(weights**2) + np.log(variance).sum() + np.sum(change**2)
        cost += 2 * np.log(factor.diagonal()).sum()
        by_intensity = self.drift.T @ (1 - np.sum(inverse_factor**2, axis=0) - weights**2)[3 : 3 + len(self.drift)]
        by_intensity += (np.append(0, change) - np.append(change, 0)) / DRIFT_SCALE
        by_noise = (parts / variance[:, None]).T @ (1 - leverage - residual)
        fit = _Fit(weights, scales, inverse_factor, fitted, variance)
        return fit, float(cost), np.concatenate([by_intensity, by_noise])
