"""Least squares for one form of a scaling function, and its errors of prediction by cross-validation."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from llckit.criticality.arrays import Array
from llckit.criticality.exponents.scaling_forms import Form, polynomial

__all__ = ["FOLDS", "FormFit", "Measurements", "ScalingForm"]

FOLDS = 10
ALPHA_RANGE = (-4.0, 4.0)
OUTSIDE = 0.5  # how far beyond the measured τ the critical point is looked for, in ranges of τ
CLOSEST = 1e-6  # of the range of τ: the least |τ − τ_c|, so that no power of it overflows
POLISHED, KEPT = 4, 2  # candidates that are polished, and optima from which each fold starts
CANDIDATES = 6  # pairs (τ_c, α)
TOLERANCE = 1e-8

Rows = slice | NDArray[np.bool_]  # some of the measurements
ALL = slice(None)


@dataclass(frozen=True)
class ScalingForm:
    """One form of F, fitted to all measurements.

    Attributes:
        name: One of `power-law`, `exponential`, `logistic`, `polynomial`, `piecewise`.
        equation: F as an equation in the names of `parameters` and of `ScalingFunctions.reference`, with X1 = x1 - m1
            and X2 = x2 - m2.
        parameters: Parameters of F by name, in units of the controls and of the value.
        parameters_se: Standard errors of the parameters, from the Jacobian at the optimum.
        alpha: Exponent α of |τ - τ_c|.
        alpha_se: Standard error of α; 0 if α was given.
        critical_point: Critical point τ_c.
        critical_point_se: Standard error of τ_c; 0 if τ_c was given. It assumes a misfit that is smooth in τ_c, which
            holds only if no measurement lies within a few errors of τ_c.
        score: Mean squared error of prediction for measurements left out. It is in units of `value_se` squared (a true
            form reaches 1), without `value_se` in units of the variance of the values (1 is no better than their mean).
        score_se: Standard error of `score`, from its scatter over the measurements.
        undetermined: Names of the parameters that the data do not fix: they ended at the bounds of the search.
    """

    name: str
    equation: str
    parameters: dict[str, float]
    parameters_se: dict[str, float]
    alpha: float
    alpha_se: float
    critical_point: float
    critical_point_se: float
    score: float
    score_se: float
    undetermined: tuple[str, ...]


class Standardised(NamedTuple):
    """Controls minus their mean in units of their standard deviation.

    Attributes:
        controls: The controls in these units, shape (n, 2).
        spread: Their standard deviations, shape (2,).
    """

    controls: Array
    spread: Array


def _standardised(x: Array) -> tuple[Standardised, Array]:
    centre, spread = x.mean(axis=0), x.std(axis=0)
    return Standardised((x - centre) / spread, spread), centre


class Measurements:
    """The measurements in units that keep a search well scaled, with τ_c and α fixed if they are given.

    Args:
        arrays: Arrays x1, x2, tau, value and maybe value_se, each of shape (n,).
        critical_point: τ_c, or None to fit it.
        alpha: α, or None to fit it.
    """

    def __init__(self, arrays: dict[str, Array], critical_point: float | None, alpha: float | None) -> None:
        x, tau, value = np.column_stack([arrays["x1"], arrays["x2"]]), arrays["tau"], arrays["value"]
        self.middle, self.range = (tau.max() + tau.min()) / 2, np.ptp(tau)
        self.t = (tau - self.middle) / self.range
        self.unit = np.sqrt(np.mean((value / np.abs(value).max()) ** 2)) * np.abs(value).max()
        self.y = value / self.unit
        self.known_se = "value_se" in arrays
        self.weight = self.unit / arrays["value_se"] if self.known_se else np.full(len(value), 1 / self.y.std())
        self.scaled, centre = _standardised(x)
        spread = self.scaled.spread
        constants = {"m1": centre[0], "m2": centre[1], "s1": spread[0], "s2": spread[1]}
        self.positive = bool((x > 0).all())
        if self.positive:
            self.log_scaled, log_centre = _standardised(np.log(x))
            constants |= {"g1": np.exp(log_centre[0]), "g2": np.exp(log_centre[1])}
        self.reference = {name: float(one) for name, one in (constants | {"T": self.range}).items()}
        t_c = None if critical_point is None else (critical_point - self.middle) / self.range
        self.free = np.array([t_c is None, alpha is None])
        ends = [
            (-0.5 - OUTSIDE, 0.5 + OUTSIDE) if t_c is None else (t_c, t_c),
            ALPHA_RANGE if alpha is None else (alpha,) * 2,
        ]
        self.low, self.high = np.transpose(ends)

    def factor(self, t_c: float, alpha: float, rows: Rows = ALL) -> Array:
        """|τ - τ_c|^α in units of T, shape (rows,)."""
        return np.maximum(np.abs(self.t[rows] - t_c), CLOSEST) ** alpha

    def outer_candidates(self) -> list[tuple[float, float]]:
        """Pairs (τ_c, α) from which a search starts: the valleys of a grid, with a polynomial in place of F."""
        points = np.unique(np.linspace(self.low[0], self.high[0], 101))
        alphas = np.unique(np.linspace(self.low[1], self.high[1], 17))
        plane, target = polynomial(self.scaled.controls, np.empty(0)) * self.weight[:, None], self.y * self.weight
        costs = np.array([[_misfit(self.factor(t_c, a)[:, None] * plane, target) for a in alphas] for t_c in points])
        return [(float(points[i]), float(alphas[costs[i].argmin()])) for i in _valleys(costs.min(axis=1))]


def _misfit(design: Array, target: Array) -> float:
    """Sum of squares that the best combination of the columns leaves."""
    return float(np.sum((target - design @ np.linalg.lstsq(design, target, rcond=None)[0]) ** 2))


def _valleys(cost: Array) -> list[int]:
    """Indices of the lowest local minima."""
    padded = np.concatenate([[np.inf], cost, [np.inf]])
    lowest = np.flatnonzero((cost <= padded[:-2]) & (cost <= padded[2:]))
    return [int(i) for i in lowest[np.argsort(cost[lowest], kind="stable")][:CANDIDATES]]


class FormFit:
    """Least squares for one form; theta = (τ_c, α, shape) in the units of `Measurements`.

    Args:
        data: The measurements; their controls have to be positive if the form takes their logarithms.
        form: The form.
    """

    def __init__(self, data: Measurements, form: Form) -> None:
        self.data, self.form = data, form
        self.controls, self.spread = data.log_scaled if form.logarithmic else data.scaled
        low, high = form.limits(self.controls)
        self.low, self.high = np.concatenate([data.low, low]), np.concatenate([data.high, high])
        self.free = np.concatenate([data.free, np.ones(len(form.shape), dtype=bool)])

    def design(self, theta: Array, rows: Rows) -> Array:
        """The weighted columns whose sum is the weighted value, shape (rows, coefficients)."""
        factor = self.data.weight[rows] * self.data.factor(theta[0], theta[1], rows)
        return factor[:, None] * self.form.basis(self.controls[rows], theta[2:])

    def coefficients(self, theta: Array, train: Rows) -> Array:
        """Coefficients of the least sum of squares over `train`, shape (coefficients,)."""
        data = self.data
        return np.linalg.lstsq(self.design(theta, train), data.y[train] * data.weight[train], rcond=None)[0]

    def residual(self, theta: Array, train: Rows, rows: Rows) -> Array:
        """Weighted residuals of `rows` with the coefficients of `train`, shape (rows,)."""
        target = self.data.y[rows] * self.data.weight[rows]
        return target - self.design(theta, rows) @ self.coefficients(theta, train)

    def cost(self, theta: Array, train: Rows) -> float:
        """Sum of squares over `train`."""
        return float(np.sum(self.residual(theta, train, train) ** 2))

    def polish(self, start: Array, train: Rows) -> Array:
        """The nearest optimum."""
        if not self.free.any():
            return start

        def residual(free: Array) -> Array:
            theta = start.copy()
            theta[self.free] = free
            return self.residual(theta, train, train)

        low, high = self.low[self.free], self.high[self.free]
        found = least_squares(
            residual, np.clip(start[self.free], low, high), bounds=(low, high), ftol=TOLERANCE, xtol=TOLERANCE
        )
        theta = start.copy()
        theta[self.free] = found.x
        return theta

    def search(self, outer: list[tuple[float, float]]) -> list[Array]:
        """The lowest optima found, best first; searches start at the best pairs (τ_c, α) and at the best shapes."""
        shapes = np.clip(self.form.candidates, self.low[2:], self.high[2:])
        grid = [[np.concatenate([pair, shape]) for shape in shapes] for pair in outer]
        cost = np.array([[self.cost(theta, ALL) for theta in row] for row in grid])
        by_pair = [(int(i), int(cost[i].argmin())) for i in np.argsort(cost.min(axis=1), kind="stable")[:POLISHED]]
        by_shape = [(int(cost[:, j].argmin()), int(j)) for j in np.argsort(cost.min(axis=0), kind="stable")[:POLISHED]]
        optima = [self.polish(grid[i][j], ALL) for i, j in dict.fromkeys(by_pair + by_shape)]
        return sorted(optima, key=lambda theta: self.cost(theta, ALL))[:KEPT]

    def errors_of_prediction(self, optima: list[Array], folds: NDArray[np.int64]) -> Array:
        """Squared weighted error of each measurement, predicted from the other folds."""
        errors = np.empty(len(folds))
        for fold in range(FOLDS):
            train = folds != fold
            theta = min((self.polish(start, train) for start in optima), key=lambda one: self.cost(one, train))
            errors[~train] = self.residual(theta, train, ~train) ** 2
        return errors

    def report(self, name: str, theta: Array, errors: Array) -> ScalingForm:
        """The fit in the units of the measurements.

        Args:
            name: Name of the form.
            theta: The optimum.
            errors: Squared weighted errors of prediction, shape (n,).

        Returns:
            The form with its parameters and score.
        """
        data, form = self.data, self.form
        coefficients = self.coefficients(theta, ALL)
        both = np.concatenate([theta, coefficients])
        # Central differences of the weighted model in all parameters, for the covariance (JᵀJ)^-1 s².
        steps = 1e-5 * np.maximum(np.abs(both), 0.1)

        def model(parameters: Array) -> Array:
            return self.design(parameters[: len(theta)], ALL) @ parameters[len(theta) :]

        columns = [(model(both + h) - model(both - h)) / (2 * h.max()) for h in np.diag(steps)]
        moves = np.concatenate([self.free, np.ones(len(coefficients), dtype=bool)])
        jacobian = np.stack(columns, axis=1)[:, moves]
        reduced = self.cost(theta, ALL) / (len(data.y) - moves.sum())
        scale = max(reduced, 1.0) if data.known_se else reduced
        se = np.zeros(len(both))
        se[moves] = np.sqrt(scale * np.diag(np.linalg.pinv(jacobian.T @ jacobian)))

        powers = np.array([*form.shape.values(), *form.coefficients.values()])
        units = np.prod(self.spread ** powers.astype(float), axis=1)
        units[len(form.shape) :] *= data.unit
        names = [*form.shape, *form.coefficients]
        margin = 1e-3 * (self.high - self.low)
        at_end = self.free & ((theta < self.low + margin) | (theta > self.high - margin))
        return ScalingForm(
            name=name,
            equation=form.equation,
            parameters=dict(zip(names, (both[2:] * units).tolist(), strict=True)),
            parameters_se=dict(zip(names, (se[2:] * units).tolist(), strict=True)),
            alpha=float(theta[1]),
            alpha_se=float(se[1]),
            critical_point=float(data.middle + theta[0] * data.range),
            critical_point_se=float(se[0] * data.range),
            score=float(errors.mean()),
            score_se=float(errors.std(ddof=1) / np.sqrt(len(errors))),
            undetermined=tuple(np.array(["critical_point", "alpha", *form.shape])[at_end].tolist()),
        )
