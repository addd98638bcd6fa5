"""The master curve of one observable in a collapse: a penalised spline, and its derivatives against the exponents."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline

from llckit.criticality.curves import Array

__all__ = ["Linearised", "MasterCurve"]

COEFFICIENTS = 16  # most of a master curve; the penalty decides how many of them are used
CORRECTION_COEFFICIENTS = 4  # a cubic: what it must resolve is smaller than f
COARSE = 8
LOG_PENALTIES = np.linspace(-20, 6, 27)


class Linearised(NamedTuple):
    """A master curve fitted at several theta at once (R of them), and what changes when theta does.

    Attributes:
        residual: Weighted residuals, those of the penalty appended, shape (R, n + penalties).
        jacobian: Derivatives of the fit, outside of what the coefficients can take up, shape (R, n + penalties, 4).
        log_determinant: Of the normal matrix of the coefficients, shape (R,).
        log_determinant_slope: Half its derivatives, shape (R, 4).
        degrees: Degrees of freedom that the coefficients use, shape (R,).
    """

    residual: Array
    jacobian: Array
    log_determinant: Array
    log_determinant_slope: Array
    degrees: Array


@dataclass(frozen=True)
class MasterCurve:
    """One observable of a joint collapse: `value = size^r · (f(w) + size^(-ω) g(w)) + b (size^r - 1) / r`.

    The scaled control is told in the control's own unit, as the place where the largest size has the same
    `x = (control - c*) size^κ`, κ = 1/ν*: `w = c* + (control - c*) (size / largest)^κ`, between 0 and 1 whatever κ
    is, so that one spline serves for all. f is a cubic spline whose roughness ∫ f''² is penalised; the weight of the
    penalty is the one of largest marginal likelihood (restricted maximum likelihood, Wahba 1985), in which f is a
    random function of that roughness. g, where there is one, is a cubic. The last term, for a specific heat, is a
    constant background and the logarithm that takes the place of the power at r = 0.

    theta, one row per fit, is (c*, κ, ln ω, r).

    Attributes:
        log_size: ln size less a centre, shape (n,).
        control: Control from 0 to 1, shape (n,).
        value: The observable, shape (n,).
        se: Its standard errors, shape (n,).
        known_se: Whether they were given.
        largest: ln of the largest size less the centre.
        ratio_free: Whether r is a parameter; 0 otherwise.
        background: Whether the last term is there.
        spline: Basis of f: knots, and polynomials between them of shape (4, intervals, coefficients).
        correction: Basis of g, or None without a correction.
        penalty: Rows of the penalty, shape (rows, coefficients of f), or (R, rows, coefficients of f) where each of R
            data sets has its own.
    """

    log_size: Array
    control: Array
    value: Array
    se: Array
    known_se: bool
    largest: float
    ratio_free: bool
    background: bool = False
    spline: tuple[Array, Array] | None = None
    correction: tuple[Array, Array] | None = None
    penalty: Array | None = None

    @property
    def weighted(self) -> Array:
        """`value / se`."""
        return self.value / self.se

    def place(self, theta: Array) -> Array:
        """The scaled control w, shape (R, n)."""
        return theta[:, :1] + (self.control - theta[:, :1]) * np.exp((self.log_size - self.largest) * theta[:, 1:2])

    def smoothed(self, theta: Array, corrected: bool) -> "MasterCurve":
        """This observable with the spline and the penalty that suit one theta, shape (4,)."""
        w = self.place(theta[None])[0]
        coefficients = min(COEFFICIENTS, len(w) // len(np.unique(self.log_size)))
        spline = _spline(w, coefficients)
        correction = _spline(w, CORRECTION_COEFFICIENTS) if corrected else None
        plain = replace(self, spline=spline, correction=correction, penalty=None)
        columns = plain._columns(theta[None])[0][0]
        rows = np.linalg.qr(_roughness(spline), mode="r")
        basis, triangle = np.linalg.qr(columns)
        explained = self.weighted @ basis
        rest = max(float(self.weighted @ self.weighted - explained @ explained), 0.0)
        width = columns.shape[1]
        stacked = np.zeros((len(LOG_PENALTIES), width + len(rows), width + 1))
        stacked[:, :width] = np.column_stack([triangle, explained])
        stacked[:, width:, :coefficients] = rows * np.exp(LOG_PENALTIES / 2)[:, None, None]
        diagonal = np.abs(np.diagonal(np.linalg.qr(stacked, mode="r"), axis1=1, axis2=2))
        fitted = diagonal[:, -1] ** 2 + rest
        if not self.known_se:
            fitted = (len(w) - width + coefficients - 2) * np.log(np.maximum(fitted, 1e-200))
        with np.errstate(divide="ignore"):
            likelihood = fitted + 2 * np.log(diagonal[:, :-1]).sum(axis=1) - (coefficients - 2) * LOG_PENALTIES
        return replace(plain, penalty=rows * np.exp(LOG_PENALTIES[likelihood.argmin()] / 2))

    def resmoothed(self, theta: Array, weighted: Array) -> "MasterCurve":
        """This observable with the penalty that suits each of several data sets; the knots stay.

        Args:
            theta: Parameters, shape (R, 4).
            weighted: Values in units of their standard errors, shape (R, n).

        Returns:
            The observable, its penalty of shape (R, rows, coefficients of f).
        """
        assert self.spline is not None
        columns = self._columns(theta)[0]
        count, width = columns.shape[1:]
        basis, triangle = np.linalg.qr(columns)
        diagonal = np.einsum("rii->ri", triangle)
        diagonal[np.abs(diagonal) < 1e-13 * np.abs(diagonal).max(axis=1, keepdims=True)] = 1e200
        explained = np.einsum("rnm,rn->rm", basis, weighted)
        rest = np.maximum((weighted**2).sum(axis=1) - (explained**2).sum(axis=1), 0.0)
        rows = np.asarray(np.linalg.qr(_roughness(self.spline), mode="r"))
        coefficients = rows.shape[1]
        # In the axes of the penalty every weight of it has its likelihood from the same decomposition.
        shape = rows @ np.linalg.inv(triangle)[:, :coefficients]
        spectrum, axes = np.linalg.eigh(np.swapaxes(shape, 1, 2) @ shape)
        part = (np.swapaxes(axes, 1, 2) @ explained[..., None])[..., 0] ** 2
        grid = np.exp(LOG_PENALTIES)[:, None] * np.maximum(spectrum, 0.0)[:, None]
        fitted = (part[:, None] * grid / (1 + grid)).sum(axis=2) + rest[:, None]
        if not self.known_se:
            fitted = (count - width + coefficients - 2) * np.log(np.maximum(fitted, 1e-200))
        likelihood = fitted + np.log1p(grid).sum(axis=2) - (coefficients - 2) * LOG_PENALTIES
        weight = np.exp(LOG_PENALTIES[likelihood.argmin(axis=1)] / 2)
        return replace(self, penalty=rows * weight[:, None, None])

    def misfit(self, place: Array, ratio: float) -> Array:
        """Least sums of squares about a coarse spline without penalty at each (c*, κ), shape (R,)."""
        theta = np.column_stack([place, np.zeros(len(place)), np.full(len(place), ratio)])
        coarse = replace(self, spline=_spline(self.control, COARSE), correction=None, penalty=None)
        columns = coarse._columns(theta)[0]
        weighted = np.broadcast_to(self.weighted[:, None], (*columns.shape[:2], 1))
        triangle = np.linalg.qr(np.concatenate([columns, weighted], axis=-1), mode="r")
        return np.asarray(triangle)[:, -1, -1] ** 2

    def linearise(self, theta: Array, weighted: Array) -> Linearised:
        """Fit the coefficients, and differentiate by variable projection in Kaufman's approximation (BIT 15, 1975).

        Args:
            theta: Parameters, shape (R, 4).
            weighted: Values in units of their standard errors, shape (R, n).

        Returns:
            The fits.
        """
        columns, slopes, (shrink, damping) = self._columns(theta)
        count, width = columns.shape[1:]
        penalty = np.zeros((0, width)) if self.penalty is None else self.penalty
        rows = np.zeros((*penalty.shape[:-1], width))
        rows[..., : penalty.shape[-1]] = penalty
        repeated = np.broadcast_to(rows, (len(theta), *rows.shape[-2:]))
        basis, triangle = np.linalg.qr(np.concatenate([columns, repeated], axis=1))
        diagonal = np.einsum("rii->ri", triangle)
        lost = np.abs(diagonal) < 1e-13 * np.abs(diagonal).max(axis=1, keepdims=True)
        diagonal[lost] = 1e200  # a column that the data do not see has no coefficient
        top = basis[:, :count]
        explained = np.einsum("rnm,rn->rm", top, weighted)
        residual = np.concatenate([weighted, np.zeros((len(theta), rows.shape[-2]))], axis=1)
        residual -= (basis @ explained[..., None])[..., 0]
        inverse = np.linalg.inv(triangle)
        coefficient = (inverse @ explained[..., None])[:, None, :, 0]
        response = top @ np.swapaxes(inverse, 1, 2)

        # Each parameter moves the columns: c* and κ through w, ω through g, r through all.
        along, growth = self.control - theta[:, :1], self.log_size * np.ones_like(shrink)
        by_w = (slopes * coefficient).sum(axis=-1), (response * slopes).sum(axis=-1)
        by_r, by_omega = self._powers(theta, columns, damping)
        moved = [
            [part * (1 - shrink) for part in by_w],
            [part * along * (growth - self.largest) * shrink for part in by_w],
            [(by_omega * coefficient).sum(axis=-1), (response * by_omega).sum(axis=-1)],
            [(by_r * coefficient).sum(axis=-1) * self.ratio_free, (response * by_r).sum(axis=-1) * self.ratio_free],
        ]
        jacobian = np.zeros((*residual.shape, 4))
        jacobian[:, :count] = np.stack([one[0] for one in moved], axis=-1)
        jacobian -= basis @ (np.swapaxes(top, 1, 2) @ jacobian[:, :count])
        return Linearised(
            residual,
            jacobian,
            2 * np.log(np.abs(np.where(lost, 1.0, diagonal))).sum(axis=1),
            np.stack([one[1].sum(axis=1) for one in moved], axis=1),
            (top**2).sum(axis=(1, 2)),
        )

    def _columns(self, theta: Array) -> tuple[Array, Array, tuple[Array, Array]]:
        """Columns of the linear model and their slopes against w, (R, n, m); (size/largest)^κ and size^(-ω)."""
        assert self.spline is not None
        shrink = np.exp((self.log_size - self.largest) * theta[:, 1:2])
        damping = np.exp(-np.exp(theta[:, 2:3]) * self.log_size)
        w = theta[:, :1] + (self.control - theta[:, :1]) * shrink
        factor = (np.exp(theta[:, 3:] * self.log_size) / self.se)[..., None]
        pairs = [tuple(factor * part for part in _evaluate(self.spline, w))]
        if self.correction is not None:
            pairs.append(tuple(factor * damping[..., None] * part for part in _evaluate(self.correction, w)))
        if self.background:
            level = (_background(theta[:, 3:], self.log_size)[0] / self.se)[..., None]
            pairs.append((level, np.zeros_like(level)))
        columns, slopes = (np.concatenate(parts, axis=-1) for parts in zip(*pairs, strict=True))
        return columns, slopes, (shrink, damping)

    def _powers(self, theta: Array, columns: Array, damping: Array) -> tuple[Array, Array]:
        """Derivatives of the columns against r and against ln ω."""
        by_r = columns * self.log_size[:, None]
        if self.background:
            by_r[..., -1] = _background(theta[:, 3:], self.log_size)[1] / self.se
        by_omega = np.zeros_like(columns)
        if self.correction is not None:
            start = columns.shape[-1] - self.background - CORRECTION_COEFFICIENTS
            part = slice(start, start + CORRECTION_COEFFICIENTS)
            by_omega[..., part] = columns[..., part] * np.log(damping)[..., None]
        return by_r, by_omega


def _spline(w: Array, coefficients: int) -> tuple[Array, Array]:
    knots = np.quantile(w, np.linspace(0, 1, coefficients - 2))
    basis = BSpline(np.concatenate([knots[[0] * 3], knots, knots[[-1] * 3]]), np.eye(coefficients), 3)
    return knots, np.stack([basis(knots[:-1], order) / (1, 1, 2, 6)[order] for order in range(4)])


def _evaluate(spline: tuple[Array, Array], w: Array) -> tuple[Array, Array]:
    """Basis and its derivative, (..., coefficients); beyond the ends the last polynomials go on."""
    knots, pieces = spline
    interval = np.clip(np.searchsorted(knots, w, side="right") - 1, 0, len(knots) - 2)
    step = (w - knots[interval])[..., None]
    level, slope, bend, third = (piece[interval] for piece in pieces)
    return ((third * step + bend) * step + slope) * step + level, (3 * third * step + 2 * bend) * step + slope


def _roughness(spline: tuple[Array, Array]) -> Array:
    """Rows whose sum of squares is ∫ f''²: f'' is linear between knots, where two Gauss points are exact."""
    knots, (_, _, bend, third) = spline
    width = np.diff(knots)[:, None, None]
    points = (1 + np.array([-1, 1])[:, None] / np.sqrt(3)) / 2
    second = (6 * third[:, None] * points * width + 2 * bend[:, None]) * np.sqrt(width / 2)
    return second.reshape(-1, bend.shape[-1])


def _background(r: Array, log_size: Array) -> tuple[Array, Array]:
    """(size^r - 1) / r and its derivative against r, with their limits at r = 0; shape (R, n)."""
    small = np.abs(r) < 1e-5
    safe = np.where(small, 1.0, r)
    level = np.where(small, log_size + r * log_size**2 / 2, np.expm1(safe * log_size) / safe)
    slope = (log_size * np.exp(safe * log_size) - level) / safe
    return level, np.where(small, log_size**2 / 2 + r * log_size**3 / 3, slope)
