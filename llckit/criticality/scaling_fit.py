"""Least squares for one form of a scaling function, and its errors of prediction by cross-validation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from llckit.criticality.scaling_forms import FORMS, Array, Form, polynomial

__all__ = ["FOLDS", "FormFit", "Measurements", "ScalingForm"]

FOLDS = 10
ALPHA_RANGE = (-4.0, 4.0)
OUTSIDE = 0.5  # how far beyond the measured τ the critical point is looked for, in ranges of τ
CLOSEST = 1e-6  # of the range of τ: |τ − τ_c| is taken as no smaller, so that no power of it overflows
KNOT_SHARE = 0.1  # of the data at least lies beyond a knot
POLISHED, KEPT = 4, 2  # candidates that are polished, and optima from which each fold starts
CANDIDATES = 6  # pairs (τ_c, α)
TOLERANCE = 1e-8


@dataclass(frozen=True)
class ScalingForm:
    """One form of F, fitted to all measurements.

    Attributes:
        name: One of `power-law`, `exponential`, `logistic`, `polynomial`, `piecewise`.
        equation: F as an equation in the names of `parameters` and of `ScalingFunctions.reference`, with X1 = x1 - m1
            and X2 = x2 - m2.
        parameters: The parameters of F by name, in units of the controls and of the value.
        parameters_se: Their standard errors, from the Jacobian at the optimum.
        alpha: Exponent α of |τ - τ_c|.
        alpha_se: Its standard error; 0 where α was given.
        critical_point: τ_c.
        critical_point_se: Its standard error; 0 where τ_c was given. It takes the misfit for smooth in τ_c, which it
            is only where no measurement lies within a few errors of τ_c.
        score: Mean squared error of prediction for measurements left out: in units of `value_se` squared (1 is what
            a true form reaches), without `value_se` in units of the variance of the values (1 is no better than
            their mean).
        score_se: Standard error of `score`, from its scatter over the measurements.
        undetermined: Names of what ended at the bounds of the search: the data do not fix it.
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


class Measurements:
    """The measurements in units in which a search is well scaled; what was given of τ_c and α is held."""

    def __init__(self, arrays: dict[str, Array], critical_point: float | None, alpha: float | None) -> None:
        x, tau, value = np.column_stack([arrays["x1"], arrays["x2"]]), arrays["tau"], arrays["value"]
        self.middle, self.range = (tau.max() + tau.min()) / 2, np.ptp(tau)
        self.t = (tau - self.middle) / self.range
        self.unit = np.sqrt(np.mean((value / np.abs(value).max()) ** 2)) * np.abs(value).max()
        self.y = value / self.unit
        self.known_se = "value_se" in arrays
        self.weight = self.unit / arrays["value_se"] if self.known_se else np.full(len(value), 1 / self.y.std())
        self.centre, self.spread = x.mean(axis=0), x.std(axis=0)
        self.controls = (x - self.centre) / self.spread
        constants = {"m1": self.centre[0], "m2": self.centre[1], "s1": self.spread[0], "s2": self.spread[1]}
        self.positive = bool((x > 0).all())
        if self.positive:
            log_x = np.log(x)
            log_centre, self.log_spread = log_x.mean(axis=0), log_x.std(axis=0)
            self.log_controls = (log_x - log_centre) / self.log_spread
            constants |= {"g1": np.exp(log_centre[0]), "g2": np.exp(log_centre[1])}
        self.reference = {name: float(one) for name, one in (constants | {"T": self.range}).items()}
        t_c = None if critical_point is None else (critical_point - self.middle) / self.range
        self.free = np.array([t_c is None, alpha is None])
        ends = [
            (-0.5 - OUTSIDE, 0.5 + OUTSIDE) if t_c is None else (t_c, t_c),
            ALPHA_RANGE if alpha is None else (alpha,) * 2,
        ]
        self.low, self.high = np.transpose(ends)

    def factor(self, t_c: float, alpha: float, rows: Any = slice(None)) -> Array:
        """|τ - τ_c|^α in units of T."""
        return np.maximum(np.abs(self.t[rows] - t_c), CLOSEST) ** alpha

    def outer_candidates(self) -> list[tuple[float, float]]:
        """Pairs (τ_c, α) from which the search starts: the valleys of a grid, with a polynomial in place of F."""
        points = np.unique(np.linspace(self.low[0], self.high[0], 101))
        alphas = np.unique(np.linspace(self.low[1], self.high[1], 17))
        plane, target = polynomial(self.controls, np.empty(0)) * self.weight[:, None], self.y * self.weight
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
    """Least squares for one form; theta = (τ_c, α, shape) in the units of `Measurements`."""

    def __init__(self, data: Measurements, form: Form, controls: Array) -> None:
        self.data, self.form, self.controls = data, form, controls
        bound = np.array(form.bound)
        low, high = -bound, bound
        if form is FORMS["piecewise"]:
            low, high = np.quantile(controls, [KNOT_SHARE, 1 - KNOT_SHARE], axis=0)
        self.low, self.high = np.concatenate([data.low, low]), np.concatenate([data.high, high])
        self.free = np.concatenate([data.free, np.ones(len(bound), dtype=bool)])

    def design(self, theta: Array, rows: Any) -> Array:
        """The weighted columns whose sum is the weighted value, shape (rows, coefficients)."""
        factor = self.data.weight[rows] * self.data.factor(theta[0], theta[1], rows)
        return factor[:, None] * self.form.basis(self.controls[rows], theta[2:])

    def coefficients(self, theta: Array, train: Any) -> Array:
        """What minimises the sum of squares over `train` at this theta."""
        data = self.data
        return np.linalg.lstsq(self.design(theta, train), data.y[train] * data.weight[train], rcond=None)[0]

    def residual(self, theta: Array, train: Any, rows: Any) -> Array:
        """Weighted residuals of `rows`, with the coefficients of `train`."""
        target = self.data.y[rows] * self.data.weight[rows]
        return target - self.design(theta, rows) @ self.coefficients(theta, train)

    def cost(self, theta: Array, train: Any) -> float:
        """Sum of squares over `train`."""
        return float(np.sum(self.residual(theta, train, train) ** 2))

    def polish(self, start: Array, train: Any) -> Array:
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
        """The lowest optima found, best first: one start for each of the best (τ_c, α) and of the best shapes."""
        shapes = np.clip(self.form.candidates, self.low[2:], self.high[2:])
        everything = slice(None)
        grid = [[np.concatenate([pair, shape]) for shape in shapes] for pair in outer]
        cost = np.array([[self.cost(theta, everything) for theta in row] for row in grid])
        by_pair = [(int(i), int(cost[i].argmin())) for i in np.argsort(cost.min(axis=1), kind="stable")[:POLISHED]]
        by_shape = [(int(cost[:, j].argmin()), int(j)) for j in np.argsort(cost.min(axis=0), kind="stable")[:POLISHED]]
        optima = [self.polish(grid[i][j], everything) for i, j in dict.fromkeys(by_pair + by_shape)]
        return sorted(optima, key=lambda theta: self.cost(theta, everything))[:KEPT]

    def errors_of_prediction(self, optima: list[Array], folds: NDArray[np.int64]) -> Array:
        """Squared weighted error of each measurement, predicted from the other folds."""
        errors = np.empty(len(folds))
        for fold in range(FOLDS):
            train = folds != fold
            theta = min((self.polish(start, train) for start in optima), key=lambda one: self.cost(one, train))
            errors[~train] = self.residual(theta, train, ~train) ** 2
        return errors

    def report(self, name: str, theta: Array, errors: Array) -> ScalingForm:
        """The fit in the units of the measurements."""
        data, form = self.data, self.form
        everything = slice(None)
        coefficients = self.coefficients(theta, everything)
        both = np.concatenate([theta, coefficients])
        # Central differences of the weighted model in all parameters, for the covariance (JᵀJ)^-1 s².
        steps = 1e-5 * np.maximum(np.abs(both), 0.1)

        def model(parameters: Array) -> Array:
            return self.design(parameters[: len(theta)], everything) @ parameters[len(theta) :]

        columns = [(model(both + h) - model(both - h)) / (2 * h.max()) for h in np.diag(steps)]
        moves = np.concatenate([self.free, np.ones(len(coefficients), dtype=bool)])
        jacobian = np.stack(columns, axis=1)[:, moves]
        reduced = self.cost(theta, everything) / (len(data.y) - moves.sum())
        scale = max(reduced, 1.0) if data.known_se else reduced
        se = np.zeros(len(both))
        se[moves] = np.sqrt(scale * np.diag(np.linalg.pinv(jacobian.T @ jacobian)))

        powers = np.array([*form.shape.values(), *form.coefficients.values()])
        units = np.prod((data.log_spread if name == "power-law" else data.spread) ** powers.astype(float), axis=1)
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
