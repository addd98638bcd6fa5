"""Curves of one observable against a control, one per size: checked, scaled, compared, and their master curve."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline

from llckit.errors import InputError

__all__ = ["Curves", "Linearised", "MasterCurve", "vector"]

Array = NDArray[np.float64]

MIN_SIZES = 2
NODES = 4  # controls of one size that carry its interpolation, hence also the fewest a size may have
COEFFICIENTS = 16  # most of a master curve; the penalty decides how many of them are used
CORRECTION_COEFFICIENTS = 4  # a cubic: what it must resolve is smaller than f
COARSE = 8
LOG_PENALTIES = np.linspace(-20, 6, 27)


@dataclass(frozen=True)
class Curves:
    """Measurements sorted by size and control, repeats averaged, in units in which a search is well scaled.

    The parameters of a collapse are `theta` = (place of the critical point in the control range, ln ν*, ratio).

    Attributes:
        log_size: ln size, centred on the mean over sizes so that powers of the size stay near 1, shape (n,).
        log_size_centre: That mean.
        control: Control from 0 to 1 over the whole range, shape (n,).
        value: The observable in units of its largest magnitude, shape (n,).
        scale: That magnitude.
        se: Standard errors of `value`, shape (n,); unless known, each size's standard deviation over its controls.
        known_se: Whether standard errors were given.
        group: Which size each measurement has, counted from 0, shape (n,).
        first: Index of the first measurement of each size, shape (sizes,).
        last: Index of the last measurement of each size, shape (sizes,).
        control_range: Lowest and highest control in its own unit.
    """

    log_size: Array
    log_size_centre: float
    control: Array
    value: Array
    scale: float
    se: Array
    known_se: bool
    group: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    control_range: tuple[float, float]

    @classmethod
    def from_input(cls, size: ArrayLike, control: ArrayLike, value: ArrayLike, value_se: ArrayLike | None) -> "Curves":
        """Check the measurements, one entry each, and sort them into curves.

        Args:
            size: Sizes, shape (n,).
            control: Controls, shape (n,).
            value: Values, shape (n,).
            value_se: Standard errors, shape (n,), or None.

        Returns:
            The curves.

        Raises:
            InputError: The arrays do not describe curves at several sizes that can be compared.
        """
        arrays = {
            "size": vector("size", size),
            "control": vector("control", control),
            "value": vector("value", value),
        }
        if value_se is not None:
            arrays["value_se"] = vector("value_se", value_se)
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"Lengths differ: {lengths}. Give one entry per measurement in every array.")
        for name in ("size", "value_se"):
            if name in arrays and not (arrays[name] > 0).all():
                raise InputError(f"{name} has the entry {arrays[name].min():g}, expected positive numbers.")
        sizes = np.unique(arrays["size"])
        if len(sizes) < MIN_SIZES:
            raise InputError(f"Got {len(sizes)} size, expected at least {MIN_SIZES}: measure at more sizes.")

        low, high = float(arrays["control"].min()), float(arrays["control"].max())
        # Controls that differ by rounding alone are repeats: interpolation cannot tell them apart.
        place = np.round((arrays["control"] - low) / ((high - low) or 1.0), 12)
        (size_of, place), repeat = np.unique(np.stack([arrays["size"], place]), axis=1, return_inverse=True)
        group = np.searchsorted(sizes, size_of)
        _check_ranges(sizes, [low + place[size_of == one] * (high - low) for one in sizes])

        scale = np.abs(arrays["value"]).max() or 1.0
        weight = np.ones(len(repeat)) if value_se is None else (scale / arrays["value_se"]) ** 2
        total = np.bincount(repeat, weight)
        mean = np.bincount(repeat, weight * (arrays["value"] / scale)) / total
        deviation = np.array([mean[size_of == one].std() for one in sizes])
        if (deviation == 0).any():
            raise InputError(
                f"The values of size {sizes[deviation == 0][0]:g} are constant and fix no exponent: widen the "
                "range of the control, or leave this size out."
            )
        return cls(
            log_size=np.log(size_of) - np.log(sizes).mean(),
            log_size_centre=float(np.log(sizes).mean()),
            control=place,
            value=mean,
            scale=float(scale),
            se=(deviation[group] if value_se is None else 1.0) / np.sqrt(total),
            known_se=value_se is not None,
            group=group,
            first=np.searchsorted(group, np.arange(len(sizes))),
            last=np.searchsorted(group, np.arange(len(sizes)), side="right") - 1,
            control_range=(low, high),
        )

    def without_smallest(self) -> "Curves":
        """The same without the smallest size; units stay as they are."""
        kept = self.group > 0
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in ("log_size", "control", "value", "se")},
            group=self.group[kept] - 1,
            first=self.first[1:] - self.first[1],
            last=self.last[1:] - self.first[1],
        )

    def growth(self) -> float:
        """Exponent of the root mean square value against size."""
        mean_square = np.bincount(self.group, self.value**2) / np.bincount(self.group)
        return float(np.polyfit(self.log_size[self.first], np.log(mean_square) / 2, 1)[0])

    def scaled_control(self, theta: Array) -> Array:
        """Scaled control x = (control - critical point) · size^(1/ν*), shape (n,), up to a factor common to all."""
        return (self.control - theta[0]) * np.exp(self.log_size * np.exp(-theta[1]))

    def size_factor(self, theta: Array) -> Array:
        """Factor size^ratio, shape (n,), up to a factor common to all."""
        return np.exp(theta[2] * self.log_size)

    def reach(self, x: Array) -> NDArray[np.bool_]:
        """Whether each scaled control lies in the range of each other size, shape (sizes, n)."""
        others = self.group != np.arange(len(self.first))[:, None]
        return others & (x >= x[self.first][:, None]) & (x <= x[self.last][:, None])

    def distance(self, theta: Array, value: Array) -> tuple[Array, Array]:
        """How far values lie from the master curve of the other sizes, where there is one.

        Args:
            theta: Parameters of the collapse.
            value: The observable, shape (n,).

        Returns:
            (y - Y)² / (dy² + dY²) and dY² / dy², each of the length of the values that can be compared.
        """
        x, factor = self.scaled_control(theta), self.size_factor(theta)
        y, variance = value / factor, (self.se / factor) ** 2
        reach = self.reach(x)
        place = np.minimum(np.maximum(x, x[self.first][:, None]), x[self.last][:, None])
        start = np.empty(place.shape, dtype=np.int64)
        for i, (a, b) in enumerate(zip(self.first, self.last + 1, strict=True)):
            start[i] = x[a:b].searchsorted(x, side="right") + (a - NODES // 2)
        start = np.minimum(np.maximum(start, self.first[:, None]), self.last[:, None] + (1 - NODES))
        nodes = start + np.arange(NODES)[:, None, None]
        x_nodes = x[nodes]
        weight = np.ones_like(x_nodes)  # of the cubic through four points (Lagrange)
        for j in range(NODES):
            for k in range(NODES):
                if k != j:
                    weight[j] *= (x_nodes[k] - place) / (x_nodes[k] - x_nodes[j])
        precision = reach / (weight**2 * variance[nodes]).sum(axis=0)
        total = precision.sum(axis=0)
        compared = total > 0
        curve = (precision * (weight * y[nodes]).sum(axis=0)).sum(axis=0)[compared] / total[compared]
        curve_variance, own = 1 / total[compared], variance[compared]
        return (y[compared] - curve) ** 2 / (own + curve_variance), curve_variance / own


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
        penalty: Rows of the penalty, shape (rows, coefficients of f).
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
        rows = np.zeros((len(penalty), width))
        rows[:, : penalty.shape[1]] = penalty
        repeated = np.broadcast_to(rows, (len(theta), *rows.shape))
        basis, triangle = np.linalg.qr(np.concatenate([columns, repeated], axis=1))
        diagonal = np.einsum("rii->ri", triangle)
        lost = np.abs(diagonal) < 1e-13 * np.abs(diagonal).max(axis=1, keepdims=True)
        diagonal[lost] = 1e200  # a column that the data do not see has no coefficient
        top = basis[:, :count]
        explained = np.einsum("rnm,rn->rm", top, weighted)
        residual = np.concatenate([weighted, np.zeros((len(theta), len(rows)))], axis=1)
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


def vector(name: str, array: ArrayLike, missing: bool = False) -> Array:
    """Numbers, one per measurement.

    Args:
        name: What they are called in an error.
        array: The numbers, shape (n,).
        missing: Whether NaN is accepted.

    Returns:
        The numbers, shape (n,).

    Raises:
        InputError: They are no list of finite numbers.
    """
    numbers = np.asarray(array)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has shape {numbers.shape} and type {numbers.dtype}, expected a list of numbers, one entry per "
            "measurement."
        )
    numbers = numbers.astype(np.float64)
    wrong = np.isinf(numbers) if missing else ~np.isfinite(numbers)
    if wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{name}[{where}] is {numbers[where]}, expected finite numbers: drop that measurement.")
    return numbers


def _check_ranges(sizes: Array, controls: list[Array]) -> None:
    for size, control in zip(sizes, controls, strict=True):
        if len(control) < NODES:
            raise InputError(
                f"Size {size:g} has {len(control)} different control value(s), expected at least {NODES}: measure "
                "more of them, or leave this size out."
            )
    starts, ends = np.array([c.min() for c in controls]), np.array([c.max() for c in controls])
    if starts.max() >= ends.min():
        raise InputError(
            f"The control ranges of the sizes do not overlap: size {sizes[starts.argmax()]:g} starts at "
            f"{starts.max():g}, size {sizes[ends.argmin()]:g} ends at {ends.min():g}. Measure all sizes around the "
            "same transition."
        )
