"""Finite-size scaling: critical point and exponents from the collapse of curves measured at several sizes."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import BSpline
from scipy.optimize import minimize
from scipy.stats import chi2

from llckit.criticality.curves import Array, Curves
from llckit.criticality.joint_collapse import JointCollapse, joint_collapse, master_curves
from llckit.errors import InputError

__all__ = ["FiniteSizeScaling", "finite_size_scaling"]

NU_STAR_RANGE = (0.1, 50.0)
RATIO_REACH = 3.0  # searched on both sides of the growth of the values themselves
GRID = (13, 10, 13)
SPLINE_SIZES = (4, 5, 6, 8, 10, 13, 16, 20, 25, 32)
WALKERS = 30
SETTLING_SWEEPS = 30
CLOUD_SWEEPS = 50
SPREAD = 6.0  # temperature of the cloud: the minima of resampled data must not lie outside it
RESAMPLES = 400
CORRECTED_SIZES = 4
CORRECTED_QUALITY = 2.0  # beyond, the correction does not explain what is wrong
SMALLEST = 1e-200  # keeps the logarithm of a perfect fit finite


@dataclass(frozen=True)
class FiniteSizeScaling:
    """A data collapse `value ~ size^ratio · f((control - critical_point) · size^(1/nu_star))`.

    Intervals are central 95 % bootstrap intervals (low, high).

    Attributes:
        critical_point: Where the transition happens, in units of the control.
        nu_star: Exponent ν* of the size: the critical region narrows as `size^(-1/ν*)`. With a volume as size it
            is the volume exponent (dν below the upper critical dimension), with a length it is ν.
        ratio: Growth of the value at the critical point, `size^ratio`: -β/ν* for an order parameter, γ/ν* for a
            susceptibility, α/ν* for a specific heat, 0 for a Binder cumulant.
        quality: Reduced chi-square S about the master curve. With standard errors near 1 for a good collapse and
            well above 1 for a bad one. Without them in units of each size's variance: 0 is a perfect collapse, 1
            none at all.
        critical_point_interval: Interval of `critical_point`.
        nu_star_interval: Interval of `nu_star`.
        ratio_interval: Interval of `ratio`.
        quality_interval: Interval of `quality`.
        correction_exponent: ω of the correction to scaling; None where the data ask for none.
        undetermined: Names of the parameters whose interval touches the end of what was searched (the range of
            the controls, ν* from 0.1 to 50, ratios within 3 of the growth of the values with size): the data do
            not fix them.
    """

    critical_point: float
    nu_star: float
    ratio: float
    quality: float
    critical_point_interval: tuple[float, float]
    nu_star_interval: tuple[float, float]
    ratio_interval: tuple[float, float]
    quality_interval: tuple[float, float]
    undetermined: tuple[str, ...]
    correction_exponent: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def finite_size_scaling(
    *,
    size: ArrayLike,
    control: ArrayLike,
    value: ArrayLike,
    value_se: ArrayLike | None = None,
    seed: int = 0,
) -> FiniteSizeScaling:
    """Collapse one observable, measured at several sizes, onto one curve.

    Near a continuous transition at c*, `value = size^ratio · f(x)` with `x = (control - c*) · size^(1/ν*)` and one
    function f for all sizes. The quality of a collapse is that of Houdayer and Hartmann (Phys. Rev. B 70, 014418,
    2004), a reduced chi-square about a master curve made from the other sizes:

        S = mean over i of (y_i - Y_i)² / (dy_i² + dY_i²),    y = value / size^ratio,

    over the values that lie in the range of another size. Y_i and dY_i come from those sizes: not from one line
    through the points around x_i as in the paper, but from a cubic through each size's nearest points, averaged
    with inverse variances, so that the curvature of f does not count as a bad collapse.

    S judges and finds the valley, on a grid; it does not place the minimum. Which points are compared changes with
    the exponents, so noise gives S many minima, and its lowest one scatters up to eight times more than the data
    allow. Within the valley f is a cubic regression spline and (c*, ν*, ratio) minimise the chi-square about it; the
    number of its coefficients is the one of least generalised cross-validation (Craven and Wahba 1979).

    At 4 sizes or more, `size^ratio · (f(x) + size^(-ω) g(x))` is tried too. Where Schwarz's criterion prefers it, as
    with small sizes or small errors, and it puts c* inside the controls with S below 2, the estimates are those of
    that fit (`joint_collapse`), for which sizes should be volumes, and S is its reduced chi-square.

    Intervals are central 95 % intervals of a parametric bootstrap: 400 data sets of the fitted curve and Gaussian
    noise with the given standard errors, raised by the square root of the reduced chi-square where that exceeds 1.
    Without standard errors the noise is the scatter about the curve, taken proportional to each size's standard
    deviation over its controls. They hold statistical errors only: corrections to scaling too small to be preferred,
    or of higher order, shift the estimates, and show when leaving out the smallest size moves them.

    Args:
        size: Size of the system of each measurement, shape (n,), positive. At least 2 sizes, better 4 or more.
        control: Control parameter of each measurement, shape (n,). At least 4 different values per size, on ranges
            that all sizes share in part.
        value: The observable, shape (n,). Repeats at the same size and control are averaged.
        value_se: Standard error of each value, shape (n,), positive.
        seed: Seed of the search and of the bootstrap.

    Returns:
        The collapse with its intervals.

    Raises:
        InputError: The arrays do not describe curves at several sizes that can be compared.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    curves = Curves.from_input(size, control, value, value_se)
    random = np.random.default_rng(seed)
    if len(curves.first) >= CORRECTED_SIZES:
        masters, unit = master_curves({"value": curves})
        plain = joint_collapse(masters, unit)
        corrected = joint_collapse(masters, unit, corrected=True, start=plain.theta)
        fits = not curves.known_se or corrected.quality < CORRECTED_QUALITY
        inside = 2 * np.sqrt(corrected.covariance[0, 0]) < min(corrected.theta[0], 1 - corrected.theta[0])
        if corrected.information < plain.information and fits and inside:
            return _with_correction(corrected, random)
    growth = curves.growth()
    low = np.array([0.0, np.log(NU_STAR_RANGE[0]), growth - RATIO_REACH])
    high = np.array([1.0, np.log(NU_STAR_RANGE[1]), growth + RATIO_REACH])

    coefficients, start, step = _start(curves, low, high)
    best, cloud = _search(_deviance(curves, low, high, coefficients), start, step, random)
    resampled = _bootstrap(curves, coefficients, best, cloud, random)

    lower, upper = np.quantile(resampled, [0.025, 0.975], axis=0)
    margin = 0.01 * (high - low)
    touched = (lower[:3] < low + margin) | (upper[:3] > high - margin)
    point = np.append(best, curves.distance(best, curves.value)[0].mean())
    for parameters in (point, lower, upper):
        parameters[0] = np.interp(parameters[0], [0, 1], curves.control_range)
        parameters[1] = np.exp(parameters[1])
    names = ("critical_point", "nu_star", "ratio")
    intervals = [(float(a), float(b)) for a, b in zip(lower, upper, strict=True)]
    return FiniteSizeScaling(
        critical_point=float(point[0]),
        nu_star=float(point[1]),
        ratio=float(point[2]),
        quality=float(point[3]),
        critical_point_interval=intervals[0],
        nu_star_interval=intervals[1],
        ratio_interval=intervals[2],
        quality_interval=intervals[3],
        undetermined=tuple(name for name, at_end in zip(names, touched, strict=True) if at_end),
    )


def _with_correction(fit: JointCollapse, random: np.random.Generator) -> FiniteSizeScaling:
    """The collapse of one observable with a correction to scaling."""
    rows = np.vstack([fit.theta, fit.resampled(RESAMPLES, random)])
    rows[:, 0] = fit.unit[0] + fit.unit[1] * rows[:, 0]
    rows[:, 1] = 1 / np.maximum(rows[:, 1], 1 / NU_STAR_RANGE[1])
    curve, freedom = fit.curves[0], fit.freedom[0]
    groups = [curve.value[curve.log_size == size] for size in curve.log_size]
    unit = 1.0 if curve.known_se else float(np.mean(curve.se**2 / [group.var() for group in groups]))
    quality = unit * fit.quality
    intervals = [(float(a), float(b)) for a, b in np.quantile(rows[1:, [0, 1, 3]], [0.025, 0.975], axis=0).T]
    ends = ((fit.unit[0], sum(fit.unit)), NU_STAR_RANGE, (fit.theta[3] - RATIO_REACH, fit.theta[3] + RATIO_REACH))
    names = ("critical_point", "nu_star", "ratio")
    touched = [
        name
        for name, (low, high), (first, last) in zip(names, intervals, ends, strict=True)
        if low < first + 0.01 * (last - first) or high > last - 0.01 * (last - first)
    ]
    return FiniteSizeScaling(
        critical_point=float(rows[0, 0]),
        nu_star=float(rows[0, 1]),
        ratio=float(rows[0, 3]),
        quality=quality,
        critical_point_interval=intervals[0],
        nu_star_interval=intervals[1],
        ratio_interval=intervals[2],
        quality_interval=(quality * chi2.ppf(0.025, freedom) / freedom, quality * chi2.ppf(0.975, freedom) / freedom),
        undetermined=tuple(touched),
        correction_exponent=float(np.exp(fit.theta[2])),
    )


def _start(curves: Curves, low: Array, high: Array) -> tuple[int, Array, Array]:
    """The number of spline coefficients, theta near the minimum, and the step of the grid.

    Args:
        curves: The measurements.
        low: Lowest theta.
        high: Highest theta.

    Returns:
        Coefficients, theta and step.

    Raises:
        InputError: The sizes cannot be compared anywhere.
    """
    axes = [np.linspace(a, b, m + 2)[1:-1] for a, b, m in zip(low, high, GRID, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    step = np.array([axis[1] - axis[0] for axis in axes])
    scores = np.array([_quality_score(curves, theta) for theta in grid])
    if not np.isfinite(scores).any():
        raise InputError(
            "Wherever the critical point is put, fewer than half of the measurements lie in the range of another "
            "size: measure the sizes at controls that overlap more."
        )
    theta, n = grid[scores.argmin()], len(curves.value)
    fits = []
    for coefficients in SPLINE_SIZES:
        if coefficients > n / len(curves.first):
            break
        theta, deviance = _descend(_deviance(curves, low, high, coefficients), theta, step / 2)
        cross_validation = deviance / n - 2 * np.log(n - coefficients - 3)
        fits.append((cross_validation, coefficients, theta))
    _, coefficients, theta = min(fits, key=lambda fit: fit[0])
    return coefficients, theta, step


def _quality_score(curves: Curves, theta: Array) -> float:
    """Log S and the normalisation of its errors: without it a master curve that is all noise would fit best."""
    distance, excess = curves.distance(theta, curves.value)
    if 2 * len(distance) < len(curves.value):
        return np.inf
    return float(np.log(max(distance.mean(), SMALLEST)) + np.log1p(excess).mean())


def _basis(curves: Curves, theta: Array, coefficients: int) -> Array:
    """Orthonormal basis of what a spline in x can give for value / se, shape (n, coefficients)."""
    x = curves.scaled_control(theta)
    knots = np.sort(x)[np.linspace(0, len(x) - 1, coefficients - 2).astype(int)]
    spline = BSpline.design_matrix(x, np.concatenate([knots[[0] * 3], knots, knots[[-1] * 3]]), 3).toarray()
    return np.linalg.qr(spline * (curves.size_factor(theta) / curves.se)[:, None])[0]


def _deviance(curves: Curves, low: Array, high: Array, coefficients: int) -> Callable[[Array], float]:
    """The deviance n · log chi-square about the best spline; infinite out of bounds or with few values compared."""
    values = curves.value / curves.se

    def deviance(theta: Array) -> float:
        if (theta < low).any() or (theta > high).any():
            return np.inf
        if 2 * curves.reach(curves.scaled_control(theta)).any(axis=0).sum() < len(values):
            return np.inf
        basis = _basis(curves, theta, coefficients)
        residual = values - basis @ (values @ basis)
        return len(values) * float(np.log(max(residual @ residual, SMALLEST)))

    return deviance


def _descend(function: Callable[[Array], float], start: Array, step: Array) -> tuple[Array, float]:
    simplex = start + np.vstack([np.zeros(3), np.diag(step)])
    options = {"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-7}
    found = minimize(function, start, method="Nelder-Mead", options=options)
    return found.x, float(found.fun)


def _search(
    function: Callable[[Array], float], start: Array, step: Array, random: np.random.Generator
) -> tuple[Array, Array]:
    """The minimum, and a cloud of theta around it, (m, 3), which holds the minima of resampled data.

    The cloud is an affine-invariant ensemble (Goodman and Weare, Commun. Appl. Math. Comput. Sci. 5, 65, 2010) at
    a raised temperature: it follows narrow and curved valleys of any scale without tuning.

    Args:
        function: The deviance of theta.
        start: Where to begin.
        step: How far from there the walkers begin.
        random: Source of randomness.

    Returns:
        The minimum and the cloud.
    """
    position = start + step * random.uniform(-0.5, 0.5, (WALKERS, 3))
    level = np.array([function(theta) for theta in position])
    best, lowest = start, function(start)
    halves = np.arange(WALKERS // 2), np.arange(WALKERS // 2, WALKERS)
    cloud = []
    for sweep in range(SETTLING_SWEEPS + CLOUD_SWEEPS):
        for movers, others in (halves, halves[::-1]):
            for walker, partner in zip(movers, random.choice(others, len(movers)), strict=True):
                stretch = (1 + random.random()) ** 2 / 2
                theta = position[partner] + stretch * (position[walker] - position[partner])
                proposed = function(theta)
                threshold = 2 * SPREAD * (np.log(random.random()) - 2 * np.log(stretch))
                if not np.isfinite(proposed) or level[walker] - proposed <= threshold:
                    continue
                position[walker], level[walker] = theta, proposed
                if proposed < lowest:
                    best, lowest = theta, proposed
                if sweep >= SETTLING_SWEEPS:
                    cloud.append(theta)
    best, _ = _descend(function, best, position.std(axis=0) / 10)
    return best, np.array([best, *cloud])


def _bootstrap(curves: Curves, coefficients: int, best: Array, cloud: Array, random: np.random.Generator) -> Array:
    """Theta and S of data sets drawn from the fitted curve, shape (resamples, 4)."""
    n, freedom = len(curves.value), len(curves.value) - coefficients - 3
    values = curves.value / curves.se
    basis = _basis(curves, best, coefficients)
    fitted = basis @ (values @ basis)
    reduced = ((values - fitted) ** 2).sum() / freedom
    if curves.known_se:
        noise_variance = np.full(RESAMPLES, max(reduced, 1.0))
    else:  # estimated with few degrees of freedom, hence itself uncertain
        noise_variance = reduced * freedom / random.chisquare(freedom, RESAMPLES)
    resampled = fitted[:, None] + random.standard_normal((n, RESAMPLES)) * np.sqrt(noise_variance)

    theta, explained = np.empty((RESAMPLES, 3)), np.full(RESAMPLES, -np.inf)
    for candidate in cloud:
        found = ((_basis(curves, candidate, coefficients).T @ resampled) ** 2).sum(axis=0)
        better = found > explained
        theta[better], explained[better] = candidate, found[better]
    quality = [
        curves.distance(one, sample * curves.se)[0].mean() for one, sample in zip(theta, resampled.T, strict=True)
    ]
    return np.column_stack([theta, quality])
