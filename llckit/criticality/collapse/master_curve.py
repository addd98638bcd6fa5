"""The master curve of one observable in a collapse: a penalised spline, and its derivatives against the exponents."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.cubic_spline import CubicSpline
from llckit.criticality.collapse.curves import Curves

__all__ = ["ControlUnit", "Linearised", "MasterCurve", "master_curves"]

COEFFICIENTS = 16  # most of a master curve; the penalty decides how many of them are used
CORRECTION_COEFFICIENTS = 4  # a cubic: it resolves something smaller than f
COARSE = 8
LOG_PENALTIES = np.linspace(-20, 6, 27)


class ControlUnit(NamedTuple):
    """The unit in which the controls of several observables run from 0 to 1.

    Attributes:
        low: Lowest control.
        width: Range of the controls.
    """

    low: float
    width: float

    def converted(self, place: Array, unit: "ControlUnit") -> Array:
        """(c*, κ, ln ω) with c* in another unit.

        Args:
            place: The parameters in this unit, shape (R, 3).
            unit: The other unit.

        Returns:
            The parameters in the other unit, shape (R, 3).
        """
        place = place.copy()
        place[:, 0] = (self.low + self.width * place[:, 0] - unit.low) / unit.width
        return place


class Linearised(NamedTuple):
    """A master curve fitted at several theta at once (R of them), and how it changes with theta.

    Attributes:
        residual: Weighted residuals, followed by those of the penalty, shape (R, n + penalties).
        jacobian: Derivatives of the fit that the coefficients cannot take up, shape (R, n + penalties, 4).
        log_determinant: Logarithm of the determinant of the coefficients' normal matrix, shape (R,).
        log_determinant_slope: Half the derivatives of `log_determinant`, shape (R, 4).
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

    The scaled control w is the control at which the largest size has the same `x = (control - c*) size^κ`, κ = 1/ν*:
    `w = c* + (control - c*) (size / largest)^κ`. It lies between 0 and 1 whatever κ is, so one spline serves for all κ.

    f is a cubic spline with a penalty on its roughness ∫ f''². The weight of the penalty is the one of largest marginal
    likelihood (restricted maximum likelihood, Wahba 1985), in which f is a random function of that roughness. g, if
    there is one, is a cubic. The last term, for a specific heat, is a constant background and the logarithm that
    replaces the power at r = 0.

    theta, one row per fit, is (c*, κ, ln ω, r).

    Attributes:
        log_size: ln size minus a centre, shape (n,).
        control: Control from 0 to 1, shape (n,).
        value: The observable, shape (n,).
        se: Standard errors of `value`, shape (n,).
        known_se: Whether standard errors were given.
        largest: ln of the largest size minus the centre.
        ratio_free: Whether r is a parameter; otherwise it is 0.
        background: Whether the last term is there.
        spline: Basis of f; None until `smoothed` chooses it.
        correction: Basis of g; None without a correction.
        penalty: Rows of the penalty, shape (rows, coefficients of f), or (R, rows, coefficients of f) if each of R
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
    spline: CubicSpline | None = None
    correction: CubicSpline | None = None
    penalty: Array | None = None

    @property
    def weighted(self) -> Array:
        """`value / se`."""
        return self.value / self.se

    def place(self, theta: Array) -> Array:
        """The scaled control w, shape (R, n)."""
        return theta[:, :1] + (self.control - theta[:, :1]) * np.exp((self.log_size - self.largest) * theta[:, 1:2])

    def smoothed(self, theta: Array, corrected: bool) -> "MasterCurve":
        """This observable with the spline and the penalty that suit one theta.

        Args:
            theta: Parameters, shape (4,).
            corrected: Whether there is a correction to scaling.

        Returns:
            The observable, ready to be fitted.
        """
        w = self.place(theta[None])[0]
        coefficients = min(COEFFICIENTS, len(w) // len(np.unique(self.log_size)))
        spline = CubicSpline.through(w, coefficients)
        correction = CubicSpline.through(w, CORRECTION_COEFFICIENTS) if corrected else None
        plain = replace(self, spline=spline, correction=correction, penalty=None)
        columns = plain._columns(theta[None])[0][0]
        rows = np.linalg.qr(spline.roughness(), mode="r")
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
        """This observable with the penalty that suits each of several data sets; the knots stay as they are.

        Args:
            theta: Parameters, shape (R, 4).
            weighted: Values in units of their standard errors, shape (R, n).

        Returns:
            The observable with a penalty of shape (R, rows, coefficients of f).
        """
        assert self.spline is not None
        columns = self._columns(theta)[0]
        count, width = columns.shape[1:]
        basis, triangle = np.linalg.qr(columns)
        diagonal = np.einsum("rii->ri", triangle)
        diagonal[np.abs(diagonal) < 1e-13 * np.abs(diagonal).max(axis=1, keepdims=True)] = 1e200
        explained = np.einsum("rnm,rn->rm", basis, weighted)
        rest = np.maximum((weighted**2).sum(axis=1) - (explained**2).sum(axis=1), 0.0)
        rows = np.asarray(np.linalg.qr(self.spline.roughness(), mode="r"))
        coefficients = rows.shape[1]
        # In the axes of the penalty, one decomposition gives the likelihood of every weight.
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
        """Least sums of squares about a coarse spline without penalty.

        Args:
            place: (c*, κ) of each trial, shape (R, 2).
            ratio: r of all trials.

        Returns:
            The sums of squares, shape (R,).
        """
        theta = np.column_stack([place, np.zeros(len(place)), np.full(len(place), ratio)])
        coarse = replace(self, spline=CubicSpline.through(self.control, COARSE), correction=None, penalty=None)
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
            The fits and their derivatives.
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
        diagonal[lost] = 1e200  # a column that no measurement depends on has no coefficient
        top = basis[:, :count]
        explained = np.einsum("rnm,rn->rm", top, weighted)
        residual = np.concatenate([weighted, np.zeros((len(theta), rows.shape[-2]))], axis=1)
        residual -= (basis @ explained[..., None])[..., 0]
        inverse = np.linalg.inv(triangle)
        coefficient = (inverse @ explained[..., None])[:, None, :, 0]
        response = top @ np.swapaxes(inverse, 1, 2)

        # Each parameter changes the columns: c* and κ through w, ω through g, r through all.
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
        """Columns of the linear model and their slopes in w, (R, n, m), and (size/largest)^κ and size^(-ω), (R, n)."""
        assert self.spline is not None
        shrink = np.exp((self.log_size - self.largest) * theta[:, 1:2])
        damping = np.exp(-np.exp(theta[:, 2:3]) * self.log_size)
        w = theta[:, :1] + (self.control - theta[:, :1]) * shrink
        factor = (np.exp(theta[:, 3:] * self.log_size) / self.se)[..., None]
        pairs = [tuple(factor * part for part in self.spline.evaluate(w))]
        if self.correction is not None:
            pairs.append(tuple(factor * damping[..., None] * part for part in self.correction.evaluate(w)))
        if self.background:
            level = (_background(theta[:, 3:], self.log_size)[0] / self.se)[..., None]
            pairs.append((level, np.zeros_like(level)))
        columns, slopes = (np.concatenate(parts, axis=-1) for parts in zip(*pairs, strict=True))
        return columns, slopes, (shrink, damping)

    def _powers(self, theta: Array, columns: Array, damping: Array) -> tuple[Array, Array]:
        """Derivatives of the columns in r and in ln ω, each (R, n, m)."""
        by_r = columns * self.log_size[:, None]
        if self.background:
            by_r[..., -1] = _background(theta[:, 3:], self.log_size)[1] / self.se
        by_omega = np.zeros_like(columns)
        if self.correction is not None:
            start = columns.shape[-1] - self.background - CORRECTION_COEFFICIENTS
            part = slice(start, start + CORRECTION_COEFFICIENTS)
            by_omega[..., part] = columns[..., part] * np.log(damping)[..., None]
        return by_r, by_omega


def master_curves(curves: Mapping[str, Curves]) -> tuple[tuple[MasterCurve, ...], ControlUnit]:
    """Several observables in one unit of control and size, not yet fitted.

    Args:
        curves: Curves by name of the observable. A "binder" has no power of the size, a "specific_heat" has a
            background.

    Returns:
        The observables, and the unit of their controls.
    """
    low = min(one.control_range[0] for one in curves.values())
    width = max(one.control_range[1] for one in curves.values()) - low
    sizes = np.unique(np.round(np.concatenate([one.log_size + one.log_size_centre for one in curves.values()]), 9))
    centre = float(sizes.mean())
    found = []
    for name, one in curves.items():
        control = one.control_range[0] + one.control * (one.control_range[1] - one.control_range[0])
        found.append(
            MasterCurve(
                log_size=np.round(one.log_size + one.log_size_centre, 9) - centre,
                control=(control - low) / width,
                value=one.value,
                se=one.se,
                known_se=one.known_se,
                largest=float(sizes[-1]) - centre,
                ratio_free=name != "binder",
                background=name == "specific_heat",
            )
        )
    return tuple(found), ControlUnit(low, width)


def _background(r: Array, log_size: Array) -> tuple[Array, Array]:
    """(size^r - 1) / r and its derivative in r, with their limits at r = 0, each shape (R, n)."""
    small = np.abs(r) < 1e-5
    safe = np.where(small, 1.0, r)
    level = np.where(small, log_size + r * log_size**2 / 2, np.expm1(safe * log_size) / safe)
    slope = (log_size * np.exp(safe * log_size) - level) / safe
    return level, np.where(small, log_size**2 / 2 + r * log_size**3 / 3, slope)
