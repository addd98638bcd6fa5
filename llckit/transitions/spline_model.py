"""The Gaussian model behind a smooth: spline weights, and noise whose level is chosen by the marginal likelihood.

The curve is a free parabola plus a twice-integrated Wiener process whose intensity may drift along the curve,

    d³f/dz³ = σ(z) w(z),   z in [0, 1],   w white noise,   ln σ piecewise linear.

That is a quintic smoothing spline (Wahba 1990, chapter 1) with locally adapted smoothness. It is written on B-splines,
so slopes are exact derivatives. Observation i carries independent noise of variance a² + b² f(z_i)² + c² e_i², where
e_i is the standard error it came with. The fit is at the posterior mode of σ, a, b and c (marginal likelihood:
Rasmussen and Williams 2006, section 5.4). A curve may also jump; where it does is decided elsewhere (`find_jumps`).
"""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize

__all__ = ["JUMP_SCALE", "NOISE_BOUNDS", "PARABOLA", "Fit", "Optimum", "SplineModel", "spline_basis"]

Array = NDArray[np.float64]

DEGREE = 5
FREE_SCALE = 10.0  # prior sd of the parabola's coefficients, in standard deviations of the data: practically free
JUMP_SCALE = 3.0  # prior sd of the height of a jump, in standard deviations of the data
DRIFT_SCALE = 2.0  # prior sd of the change of ln σ from one knot to the next
PARABOLA = -12.0  # ln σ² at which the curve is a parabola
INTENSITY_BOUNDS = (PARABOLA, 30.0)  # of ln σ²
NOISE_BOUNDS = (-24.0, 3.0)  # of ln a² and ln b², in variances of the data
START_INTENSITY, START_NOISE = 14.0, -6.0
EVEN = 0.1  # standard errors that scatter less, relative to their mean, have no shape to be told from a constant
EVIDENCE = 2.0  # 2 ln(Bayes factor) for more than a parabola: "positive" (Kass and Raftery 1995)


def spline_basis(num_intervals: int) -> Callable[[Array, int], Array]:
    """The functions of z that a curve is made of: 1, z, z², then the response to a unit of white noise per interval.

    Args:
        num_intervals: Number of equal intervals of [0, 1].

    Returns:
        A function of places z, shape `(places,)`, and the order of the derivative, which gives the basis functions as
        columns, shape `(places, functions)`.
    """
    size = num_intervals + DEGREE
    splines = BSpline(np.arange(-DEGREE, size + 1) / num_intervals, np.eye(size), DEGREE)
    running_sum = np.tril(np.ones((size, size)))
    responses = np.linalg.matrix_power(running_sum, 3) * num_intervals**-2.5

    def evaluate(z: Array, derivative: int) -> Array:
        parabola = np.stack([Polynomial(row).deriv(derivative)(z) for row in np.eye(3)], axis=1)
        return np.hstack([parabola, splines(z, nu=derivative) @ responses])

    return evaluate


@dataclass(frozen=True)
class Fit:
    """The posterior of the weights at given intensities and noise.

    Attributes:
        weights: Posterior mean, in units of the prior standard deviations; first those of the spline, then those of
            shared errors, then those of jumps.
        scales: Prior standard deviations of the weights.
        inverse_factor: Inverse of the Cholesky factor of the posterior precision, lower triangular.
        fitted: Fitted values, shape `(observations,)`.
        variance: Variance of the noise of each observation, shape `(observations,)`.
    """

    weights: Array
    scales: Array
    inverse_factor: Array
    fitted: Array
    variance: Array


@dataclass(frozen=True)
class Optimum:
    """The fit at the most probable intensities and noise.

    Attributes:
        fit: The fit.
        parameters: ln σ² at each knot, then the logarithms of the noise's variances.
        levels: Shapes of the noise's variance as columns, shape `(observations, noises)`.
        cost: -2 ln(marginal likelihood · prior of the drift).
    """

    fit: Fit
    parameters: Array
    levels: Array
    cost: float


class SplineModel:
    """y = design · (scales · weights) + noise, with standard normal weights.

    Args:
        design: Basis functions at the observations, shape `(observations, functions)`.
        y: Observations, standardised, shape `(observations,)`.
        errors: Standard errors of the observations up to a common factor, or None.
        shared: A factor B of the covariance B Bᵀ of errors that observations share, or None.

    Attributes:
        num_knots: Number of knots between which ln σ is linear.
        spread: Range of y.
    """

    def __init__(self, design: Array, y: Array, errors: Array | None = None, shared: Array | None = None) -> None:
        self._num_shared, self._num_jumps = 0 if shared is None else shared.shape[1], 0
        self._design, self._y = design if shared is None else np.hstack([design, shared]), y
        self.spread = float(np.ptp(y))
        self._known = np.ones((len(y), 1))  # shapes of the noise's variance that do not depend on the curve
        if errors is not None and errors.std() > EVEN * errors.mean():
            self._known = np.column_stack([self._known, (errors / errors.mean()) ** 2])
        self.num_knots = int(np.clip(len(y) // 20, 1, 5))
        size = design.shape[1] - 3
        # The white noise that enters at spline k acts around the middle of that spline's support.
        middle = np.clip((np.arange(size) - DEGREE / 2) / (size - DEGREE), 0, 1)
        knots = np.linspace(0, 1, self.num_knots)
        self._drift = np.stack([np.interp(middle, knots, unit) for unit in np.eye(self.num_knots)], axis=1)

    def with_jumps(self, columns: Array) -> "SplineModel":
        """This model with jumps, in place of those that it has.

        Args:
            columns: 0 before a jump and 1 after it, shape `(observations, jumps)`.

        Returns:
            The model.
        """
        model = copy(self)
        model._design = np.hstack([self._design[:, : self._design.shape[1] - self._num_jumps], columns])
        model._num_jumps = columns.shape[1]
        return model

    def most_probable(self, centre: float, noise_grows: bool = True) -> Optimum:
        """The fit at the most probable intensities and noise.

        Args:
            centre: What standardising took off y, in standard deviations.
            noise_grows: Whether the noise may grow with the level of the curve (b above).

        Returns:
            The fit; a parabola if the evidence for more is weak.
        """
        known = self._known
        start = np.append(np.full(self.num_knots, START_INTENSITY), np.full(known.shape[1], START_NOISE))
        first, _ = self._optimise(start, known)
        # The variance b² f² takes f from the fit without that term, so that each fit is one Gaussian problem.
        levels = self._growing(self.fit(first, known)[0], centre) if noise_grows else known
        # A second start, since the noise found first may be a local optimum that interpolates the scatter.
        starts = (np.append(first, first[-1]), np.append(start, START_NOISE)) if noise_grows else (first, start)
        moving, moving_cost = min((self._optimise(start, levels) for start in starts), key=lambda found: found[1])
        still = np.append(np.full(self.num_knots, PARABOLA), np.zeros(known.shape[1]))
        parabola, parabola_cost = self._optimise(still, known, intensity_bounds=(PARABOLA, PARABOLA))
        if parabola_cost - moving_cost > EVIDENCE:
            return Optimum(self.fit(moving, levels)[0], moving, levels, moving_cost)
        return Optimum(self.fit(parabola, known)[0], parabola, known, parabola_cost)

    def most_probable_near(self, parameters: Array, levels: Array, centre: float) -> Optimum:
        """The most probable fit that is found from a start which is known to be good.

        Args:
            parameters: Where to start.
            levels: Shapes of the noise's variance of the fit that the start comes from.
            centre: What standardising took off y, in standard deviations.

        Returns:
            The fit; a parabola if the evidence for more is weak.
        """
        if levels.shape[1] > self._known.shape[1]:
            levels = self._growing(self.fit(parameters, levels)[0], centre)
        moving, moving_cost = self._optimise(parameters, levels)
        still = np.append(np.full(self.num_knots, PARABOLA), moving[self.num_knots :])
        parabola, parabola_cost = self._optimise(still, levels, intensity_bounds=(PARABOLA, PARABOLA))
        if parabola_cost - moving_cost > EVIDENCE:
            return Optimum(self.fit(moving, levels)[0], moving, levels, moving_cost)
        return Optimum(self.fit(parabola, levels)[0], parabola, levels, parabola_cost)

    def beside(self, fit: Fit, columns: Array) -> tuple[float, Array, Array]:
        """What decides whether further columns C would improve a fit, at its intensities and noise.

        Args:
            fit: A fit of this model, under which y has the covariance V.
            columns: The columns, shape `(observations, columns)`.

        Returns:
            yᵀ V⁻¹ y, Cᵀ V⁻¹ y of shape `(columns,)`, and Cᵀ V⁻¹ C of shape `(columns, columns)`.
        """
        weighted = columns / fit.variance[:, None]
        explained = fit.inverse_factor @ ((self._design * fit.scales).T @ weighted)
        residual = self._y - fit.fitted
        misfit = np.sum(residual**2 / fit.variance) + np.sum(fit.weights**2)
        return float(misfit), weighted.T @ residual, columns.T @ weighted - explained.T @ explained

    def jump_evidence(self, fit: Fit) -> Array:
        """How much the data ask for each jump, at the intensities and noise of a fit.

        Args:
            fit: The fit.

        Returns:
            2 ln(Bayes factor): the ratio of posterior and prior density of no height (Dickey 1971), shape `(jumps,)`.
        """
        jumps = slice(len(fit.weights) - self._num_jumps, None)
        variance = np.sum(fit.inverse_factor[:, jumps] ** 2, axis=0)
        return fit.weights[jumps] ** 2 / variance + np.log(variance)

    def solve(self, fit: Fit, y: Array) -> Array:
        """The posterior mean of the weights for other observations, at the intensities and noise of a fit.

        Args:
            fit: The fit.
            y: Other observations, one set per row, shape `(sets, observations)`.

        Returns:
            The weights, shape `(sets, weights)`.
        """
        return (y / fit.variance) @ (self._design * fit.scales) @ fit.inverse_factor.T @ fit.inverse_factor

    def _growing(self, fit: Fit, centre: float) -> Array:
        """The shapes of the noise's variance, with one that grows with the level of a fit."""
        level = (centre + fit.fitted) ** 2
        return np.hstack([self._known, level[:, None] / level.mean()])

    def _optimise(
        self, start: Array, levels: Array, intensity_bounds: tuple[float, float] = INTENSITY_BOUNDS
    ) -> tuple[Array, float]:
        """The parameters of least cost near a start, and that cost."""
        bounds = [intensity_bounds] * self.num_knots + [NOISE_BOUNDS] * levels.shape[1]
        result = minimize(
            lambda parameters: self.fit(parameters, levels)[1:],
            np.clip(start, *np.transpose(bounds)),
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
        )
        return result.x, float(result.fun)

    def fit(self, parameters: Array, levels: Array) -> tuple[Fit, float, Array]:
        """The fit at given intensities and noise, and how probable they are.

        Args:
            parameters: ln σ² at each knot, then the logarithms of the noise's variances.
            levels: Shapes of the noise's variance as columns, shape `(observations, noises)`.

        Returns:
            The fit, -2 ln(marginal likelihood · prior of the drift), and the gradient of that.
        """
        log_intensity, log_noise = parameters[: self.num_knots], parameters[self.num_knots :]
        parts = levels * np.exp(log_noise)
        variance = parts.sum(axis=1)
        scales = np.concatenate(
            [
                np.full(3, FREE_SCALE),
                np.exp(self._drift @ log_intensity / 2),
                np.ones(self._num_shared),
                np.full(self._num_jumps, JUMP_SCALE),
            ]
        )
        scaled = self._design * scales
        precision = scaled.T @ (scaled / variance[:, None])
        # The jitter allows the factorisation if the data determine a direction to the last digit.
        precision[np.diag_indices_from(precision)] += 1 + 1e-12 * precision.diagonal().max()
        factor = cholesky(precision, lower=True, check_finite=False)
        inverse_factor = solve_triangular(factor, np.eye(len(factor)), lower=True, check_finite=False)
        weights = inverse_factor.T @ (inverse_factor @ (scaled.T @ (self._y / variance)))
        fitted = scaled @ weights
        residual = (self._y - fitted) ** 2 / variance
        leverage = np.sum((scaled @ inverse_factor.T) ** 2, axis=1) / variance
        change = np.diff(log_intensity) / (2 * DRIFT_SCALE)
        cost = residual.sum() + np.sum(weights**2) + np.log(variance).sum() + np.sum(change**2)
        cost += 2 * np.log(factor.diagonal()).sum()
        by_intensity = self._drift.T @ (1 - np.sum(inverse_factor**2, axis=0) - weights**2)[3 : 3 + len(self._drift)]
        by_intensity += (np.append(0, change) - np.append(change, 0)) / DRIFT_SCALE
        by_noise = (parts / variance[:, None]).T @ (1 - leverage - residual)
        fit = Fit(weights, scales, inverse_factor, fitted, variance)
        return fit, float(cost), np.concatenate([by_intensity, by_noise])
