"""The five forms of a scaling function of two control variables, and where a search of each begins."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMS", "Array", "Form", "polynomial"]

Array = NDArray[np.float64]

STEEPEST = 8.0  # change of ln F, and of the logit, over one standard deviation of a control; the logit's times 4
MIDPOINT = 1.0  # standard deviations from the middle of the data


@dataclass(frozen=True)
class Form:
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
    "A exp(b1 X1 + b2 X2)", {"b1": (-1, 0), "b2": (0, -1)}, {"A": (0, 0)}, _exponential, (STEEPEST, STEEPEST), _SLOPES
)
FORMS = {
    "power-law": replace(_EXPONENTIAL, equation="A (x1 / g1)^p1 (x2 / g2)^p2", shape={"p1": (-1, 0), "p2": (0, -1)}),
    "exponential": _EXPONENTIAL,
    "logistic": Form(
        "A / (1 + exp(-(b1 X1 + b2 X2 - m sqrt((b1 s1)^2 + (b2 s2)^2))))",
        {"b1": (-1, 0), "b2": (0, -1), "m": (0, 0)},
        {"A": (0, 0)},
        _logistic,
        (4 * STEEPEST, 4 * STEEPEST, MIDPOINT),
        _BENDS,
    ),
    "polynomial": Form(
        "c0 + c1 X1 + c2 X2 + c11 X1^2 + c12 X1 X2 + c22 X2^2",
        {},
        {"c0": (0, 0), "c1": (-1, 0), "c2": (0, -1), "c11": (-2, 0), "c12": (-1, -1), "c22": (0, -2)},
        polynomial,
        (),
        np.zeros((1, 0)),
    ),
    "piecewise": Form(
        "c0 + c1 X1 + c2 X2 + d1 max(X1 - k1, 0) + d2 max(X2 - k2, 0)",
        {"k1": (1, 0), "k2": (0, 1)},
        {"c0": (0, 0), "c1": (-1, 0), "c2": (0, -1), "d1": (-1, 0), "d2": (0, -1)},
        _piecewise,
        (np.inf, np.inf),
        _KNOTS,
    ),
}
