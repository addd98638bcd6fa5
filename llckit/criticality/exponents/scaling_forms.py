"""The five forms of a scaling function of two control variables, and where a search of each starts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from llckit.criticality.arrays import Array

__all__ = ["FORMS", "Form", "polynomial"]

STEEPEST = 8.0  # change of ln F, and of the logit, over one standard deviation of a control; the logit's times 4
MIDPOINT = 1.0  # standard deviations from the middle of the data
KNOT_SHARE = 0.1  # of the data at least lies beyond a knot


@dataclass(frozen=True)
class Form:
    """F = basis(controls, shape) · coefficients: linear in the coefficients at a given shape.

    Attributes:
        equation: F as an equation.
        shape: Names of the shape parameters, with the powers of the units of x1 and x2 in their unit.
        coefficients: Names of the coefficients, with the powers of the units of x1 and x2 in their unit, beside the
            unit of the value.
        basis: Function of the controls, shape (n, 2), and of the shape, that gives an array (n, coefficients).
        limits: Function of the controls that gives the lowest and highest shape, each (shape parameters,).
        candidates: Shapes at which a search starts, shape (m, shape parameters).
        logarithmic: Whether the controls are the logarithms of x1 and x2.
    """

    equation: str
    shape: dict[str, tuple[int, int]]
    coefficients: dict[str, tuple[int, int]]
    basis: Callable[[Array, Array], Array]
    limits: Callable[[Array], tuple[Array, Array]]
    candidates: Array
    logarithmic: bool = False


def _within(*bounds: float) -> Callable[[Array], tuple[Array, Array]]:
    """Limits on the magnitude of each shape parameter, whatever the controls."""
    bound = np.array(bounds)
    return lambda controls: (-bound, bound)


def _among_the_data(controls: Array) -> tuple[Array, Array]:
    """Limits of knots: a tenth of the controls lies on both sides."""
    low, high = np.quantile(controls, [KNOT_SHARE, 1 - KNOT_SHARE], axis=0)
    return low, high


def _exponential(x: Array, slopes: Array) -> Array:
    return np.exp(x @ slopes)[:, None]


def _logistic(x: Array, shape: Array) -> Array:
    slopes, midpoint = shape[:2], shape[2]
    return 1 / (1 + np.exp(midpoint * np.hypot(*slopes) - x @ slopes))[:, None]


def polynomial(x: Array, _: Array) -> Array:
    """The columns 1, x1, x2, x1², x1 x2 and x2², shape (n, 6); a polynomial has no shape."""
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
_EXPONENTIAL = Form(
    equation="A exp(b1 X1 + b2 X2)",
    shape={"b1": (-1, 0), "b2": (0, -1)},
    coefficients={"A": (0, 0)},
    basis=_exponential,
    limits=_within(STEEPEST, STEEPEST),
    candidates=_SLOPES,
)
FORMS = {
    "power-law": replace(
        _EXPONENTIAL,
        equation="A (x1 / g1)^p1 (x2 / g2)^p2",
        shape={"p1": (-1, 0), "p2": (0, -1)},
        logarithmic=True,
    ),
    "exponential": _EXPONENTIAL,
    "logistic": Form(
        equation="A / (1 + exp(-(b1 X1 + b2 X2 - m sqrt((b1 s1)^2 + (b2 s2)^2))))",
        shape={"b1": (-1, 0), "b2": (0, -1), "m": (0, 0)},
        coefficients={"A": (0, 0)},
        basis=_logistic,
        limits=_within(4 * STEEPEST, 4 * STEEPEST, MIDPOINT),
        candidates=_BENDS,
    ),
    "polynomial": Form(
        equation="c0 + c1 X1 + c2 X2 + c11 X1^2 + c12 X1 X2 + c22 X2^2",
        shape={},
        coefficients={"c0": (0, 0), "c1": (-1, 0), "c2": (0, -1), "c11": (-2, 0), "c12": (-1, -1), "c22": (0, -2)},
        basis=polynomial,
        limits=_within(),
        candidates=np.zeros((1, 0)),
    ),
    "piecewise": Form(
        equation="c0 + c1 X1 + c2 X2 + d1 max(X1 - k1, 0) + d2 max(X2 - k2, 0)",
        shape={"k1": (1, 0), "k2": (0, 1)},
        coefficients={"c0": (0, 0), "c1": (-1, 0), "c2": (0, -1), "d1": (-1, 0), "d2": (0, -1)},
        basis=_piecewise,
        limits=_among_the_data,
        candidates=_KNOTS,
    ),
}
