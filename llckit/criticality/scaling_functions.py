"""Scaling functions of two control variables: which of five forms describes them, by cross-validation."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import product
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import least_squares

from llckit.errors import InputError

__all__ = ["ScalingForm", "ScalingFunctions", "compare_scaling_functions"]

Array = NDArray[np.float64]

FOLDS = 10
MIN_POINTS, MIN_VALUES = 40, 4  # four times the parameters of the largest form; enough to see a bend
SIGNIFICANT = 2.0  # standard errors of the difference between two scores
ALPHA_RANGE = (-4.0, 4.0)
OUTSIDE = 0.5  # how far beyond the measured τ the critical point is looked for, in ranges of τ
CLOSEST = 1e-6  # of the range of τ: |τ − τ_c| is taken as no smaller, so that no power of it overflows
STEEPEST = 8.0  # change of ln F, and of the logit, over one standard deviation of a control; the logit's times 4
MIDPOINT = 1.0  # standard deviations from the middle of the data
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


@dataclass(frozen=True)
class ScalingFunctions:
    """Five forms of `V = |(τ - τ_c) / T|^α F(x1, x2)`, compared.

    Attributes:
        best: Name of the form of least score.
        forms: The forms by name, best first.
        excluded: Why a form could not be fitted, by name.
        lead: Score of the second form minus that of the best.
        lead_se: Standard error of `lead`, from the scatter of the paired differences over the measurements.
        significant: Whether the lead is more than two standard errors. If not, the data do not decide between the
            first two forms.
        reference: The constants of the equations: means `m1`, `m2` and standard deviations `s1`, `s2` of the
            controls, geometric means `g1`, `g2` where they are positive, and the range of τ, `T`.
    """

    best: str
    forms: dict[str, ScalingForm]
    excluded: dict[str, str]
    lead: float
    lead_se: float
    significant: bool
    reference: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        plain = asdict(self)
        for form in plain["forms"].values():
            form["undetermined"] = list(form["undetermined"])
        return plain


@dataclass(frozen=True)
class _Form:
    """F = basis(controls, shape) · coefficients: a sum linear in the coefficients, at a given shape."""

    equation: str
    shape: dict[str, tuple[int, int]]  # names, with the powers of the units of x1 and x2 in theirs
    coefficients: dict[str, tuple[int, int]]  # likewise, beside the unit of the value
    basis: Callable[[Array, Array], Array]  # (n, 2) controls and shape -> (n, coefficients)
    bound: tuple[float, ...]  # of the magnitude of each shape parameter
    candidates: Array  # (m, shape parameters)


def _exponential(x: Array, slopes: Array) -> Array:
    return np.exp(x @ slopes)[:, None]


def _logistic(x: Array, shape: Array) -> Array:
    slopes, midpoint = shape[:2], shape[2]
    return 1 / (1 + np.exp(midpoint * np.hypot(*slopes) - x @ slopes))[:, None]


def _polynomial(x: Array, _: Array) -> Array:
    a, b = x.T
    return np.stack([np.ones_like(a), a, b, a * a, a * b, b * b], axis=1)


def _piecewise(x: Array, knots: Array) -> Array:
    return np.column_stack([np.ones(len(x)), x, np.maximum(x - knots, 0)])


def _directions(lengths: tuple[float, ...], count: int) -> list[tuple[float, float]]:
    angles = 2 * np.pi * np.arange(count) / count
    return [(r * float(np.cos(angle)), r * float(np.sin(angle))) for r, angle in product(lengths, angles)]


_SLOPES = np.array(_directions((0.3, 0.8, 1.6, 3.0), 12))
_BENDS = np.array([(*slopes, m) for slopes, m in product(_directions((1.0, 2.5, 6.0), 12), (-0.6, 0.0, 0.6))])
_KNOTS = np.array(list(product((-0.9, -0.45, 0.0, 0.45, 0.9), repeat=2)))
_EXPONENTIAL = _Form(
    "A exp(b1 X1 + b2 X2)", {"b1": (-1, 0), "b2": (0, -1)}, {"A": (0, 0)}, _exponential, (STEEPEST, STEEPEST), _SLOPES
)
_FORMS = {
    "power-law": replace(_EXPONENTIAL, equation="A (x1 / g1)^p1 (x2 / g2)^p2", shape={"p1": (-1, 0), "p2": (0, -1)}),
    "exponential": _EXPONENTIAL,
    "logistic": _Form(
        "A / (1 + exp(-(b1 X1 + b2 X2 - m sqrt((b1 s1)^2 + (b2 s2)^2))))",
        {"b1": (-1, 0), "b2": (0, -1), "m": (0, 0)},
        {"A": (0, 0)},
        _logistic,
        (4 * STEEPEST, 4 * STEEPEST, MIDPOINT),
        _BENDS,
    ),
    "polynomial": _Form(
        "c0 + c1 X1 + c2 X2 + c11 X1^2 + c12 X1 X2 + c22 X2^2",
        {},
        {"c0": (0, 0), "c1": (-1, 0), "c2": (0, -1), "c11": (-2, 0), "c12": (-1, -1), "c22": (0, -2)},
        _polynomial,
        (),
        np.zeros((1, 0)),
    ),
    "piecewise": _Form(
        "c0 + c1 X1 + c2 X2 + d1 max(X1 - k1, 0) + d2 max(X2 - k2, 0)",
        {"k1": (1, 0), "k2": (0, 1)},
        {"c0": (0, 0), "c1": (-1, 0), "c2": (0, -1), "d1": (-1, 0), "d2": (0, -1)},
        _piecewise,
        (np.inf, np.inf),
        _KNOTS,
    ),
}


def compare_scaling_functions(
    x1: ArrayLike,
    x2: ArrayLike,
    tau: ArrayLike,
    value: ArrayLike,
    value_se: ArrayLike | None = None,
    *,
    critical_point: float | None = None,
    alpha: float | None = None,
    seed: int = 0,
) -> ScalingFunctions:
    """Fit five forms of a scaling function of two control variables and compare them by cross-validation.

    `V = |(τ - τ_c) / T|^α F(x1, x2)` with T the range of τ, so that F has the unit of the value, and F one of

        power-law     A (x1/g1)^p1 (x2/g2)^p2
        exponential   A exp(b1 X1 + b2 X2)
        logistic      A / (1 + exp(-(b1 X1 + b2 X2 - m √((b1 s1)² + (b2 s2)²)))),   |m| ≤ 1
        polynomial    c0 + c1 X1 + c2 X2 + c11 X1² + c12 X1 X2 + c22 X2²
        piecewise     c0 + c1 X1 + c2 X2 + d1 max(X1 - k1, 0) + d2 max(X2 - k2, 0)

    X = x - m with m the mean and s the standard deviation of a control, g its geometric mean. On both sides of a knot
    k lies a tenth of the data. A logistic function bends within the data (|m| ≤ 1): outside of them it is an
    exponential, and no form shall contain another. What remains shared are planes (polynomial and piecewise) and
    powers near (1, 1): data like that do not tell the forms apart.

    α, τ_c and the parameters of F are fitted together by least squares, weighted with `value_se`: the coefficients
    that enter linearly are solved for at each trial of the others (variable projection, Golub and Pereyra, SIAM J.
    Numer. Anal. 10, 413, 1973), which start from the best places of a grid. The score is the mean squared error of
    prediction over 10 folds (Stone, J. R. Stat. Soc. B 36, 111, 1974); the best form has the least. The standard error
    of a difference of scores takes measurements as independent, although folds share data: a guide, not a test.

    Args:
        x1: First control variable of each measurement, shape (n,), n ≥ 40, at least 4 different values.
        x2: Second control variable, shape (n,), likewise. The power law needs both positive.
        tau: Variable τ with the critical point, shape (n,), at least 4 different values.
        value: V, shape (n,).
        value_se: Standard error of each value, shape (n,), positive. Without it all values count alike.
        critical_point: τ_c where it is known; None fits it, within the range of τ and half of it beyond either end.
        alpha: α where it is known; None fits it, between -4 and 4.
        seed: Seed of the folds.

    Returns:
        The forms with their scores and parameters, and how far the best one is ahead.

    Raises:
        InputError: The arrays are no such measurements.
    """
    arrays = {"x1": x1, "x2": x2, "tau": tau, "value": value} | ({} if value_se is None else {"value_se": value_se})
    data = _Data(_check(arrays, critical_point, alpha, seed), critical_point, alpha)
    folds = np.random.default_rng(seed).permutation(len(data.y)) % FOLDS
    outer = data.outer_candidates()
    excluded = {} if data.positive else {"power-law": "x1 and x2 have to be positive"}
    forms: dict[str, ScalingForm] = {}
    errors: dict[str, Array] = {}
    for name, form in _FORMS.items():
        if name in excluded:
            continue
        fit = _Fit(data, form, data.log_controls if name == "power-law" else data.controls)
        optima = fit.search(outer)
        errors[name] = fit.errors_of_prediction(optima, folds)
        forms[name] = fit.report(name, optima[0], errors[name])
    first, second = sorted(forms, key=lambda name: forms[name].score)[:2]
    difference = errors[second] - errors[first]
    lead, lead_se = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return ScalingFunctions(
        best=first,
        forms=dict(sorted(forms.items(), key=lambda item: item[1].score)),
        excluded=excluded,
        lead=lead,
        lead_se=lead_se,
        significant=lead > SIGNIFICANT * lead_se,
        reference=data.reference,
    )


class _Data:
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
        plane, target = _polynomial(self.controls, np.empty(0)) * self.weight[:, None], self.y * self.weight
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


class _Fit:
    """Least squares for one form; theta = (τ_c, α, shape) in the units of `_Data`."""

    def __init__(self, data: _Data, form: _Form, controls: Array) -> None:
        self.data, self.form, self.controls = data, form, controls
        bound = np.array(form.bound)
        low, high = -bound, bound
        if form is _FORMS["piecewise"]:
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


def _check(
    given: dict[str, ArrayLike], critical_point: float | None, alpha: float | None, seed: int
) -> dict[str, Array]:
    arrays = {name: np.asarray(one) for name, one in given.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise InputError(f"{name} has shape {array.shape} and type {array.dtype}, expected a list of numbers.")
        if not np.isfinite(array).all():
            where = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(f"{name}[{where}] is {array[where]}, expected finite numbers: drop that measurement.")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"Lengths differ: {lengths}. Give one entry per measurement in every array.")
    if lengths["value"] < MIN_POINTS:
        raise InputError(f"Got {lengths['value']} measurements, expected at least {MIN_POINTS}: measure more.")
    for name in ("x1", "x2", "tau"):
        if len(np.unique(arrays[name])) < MIN_VALUES:
            raise InputError(
                f"{name} takes {len(np.unique(arrays[name]))} different value(s), expected at least {MIN_VALUES}: a "
                "form cannot be told from fewer."
            )
    if len(np.unique(arrays["value"])) == 1:
        raise InputError(f"All values are {arrays['value'][0]:g}: there is nothing to fit.")
    if "value_se" in arrays and not (arrays["value_se"] > 0).all():
        raise InputError(f"value_se has the entry {arrays['value_se'].min():g}, expected positive numbers.")
    for name, number in (("critical_point", critical_point), ("alpha", alpha)):
        if number is not None and (
            isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number)
        ):
            raise InputError(f"{name} is {number!r}, expected a finite number, or None to fit it.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    return {name: array.astype(np.float64) for name, array in arrays.items()}
