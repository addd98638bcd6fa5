"""Finite-size scaling: critical point and exponents from the collapse of curves measured at several sizes."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from llckit.checks import check_seed
from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.ensemble_search import ensemble_search
from llckit.criticality.collapse.joint_collapse import JointCollapse, joint_collapse
from llckit.criticality.collapse.master_curve import master_curves
from llckit.criticality.collapse.spline_collapse import best_start

__all__ = ["FiniteSizeScaling", "finite_size_scaling"]

PARAMETERS = ("critical_point", "nu_star", "ratio")
NU_STAR_RANGE = (0.1, 50.0)
RATIO_REACH = 3.0  # searched on both sides of the growth of the values themselves
EDGE = 0.01  # share of a searched range that counts as its end
RESAMPLES = 400
CORRECTED_SIZES = 4
CORRECTED_QUALITY = 2.0  # above it, the correction does not explain the misfit


@dataclass(frozen=True)
class FiniteSizeScaling:
    """A data collapse `value ~ size^ratio · f((control - critical_point) · size^(1/nu_star))`.

    Intervals are central 95 % bootstrap intervals (low, high).

    Attributes:
        critical_point: Control at which the transition happens, in units of the control.
        nu_star: Exponent ν* of the size: the critical region narrows as `size^(-1/ν*)`. If the size is a volume, ν* is
            the volume exponent (dν below the upper critical dimension); if it is a length, ν* is ν.
        ratio: Exponent of the size in the value at the critical point: -β/ν* for an order parameter, γ/ν* for a
            susceptibility, α/ν* for a specific heat, 0 for a Binder cumulant.
        quality: Reduced chi-square S about the master curve. With standard errors it is near 1 for a good collapse and
            well above 1 for a bad one. Without them it is in units of each size's variance: 0 for a perfect collapse,
            1 for none at all.
        critical_point_interval: Interval of `critical_point`.
        nu_star_interval: Interval of `nu_star`.
        ratio_interval: Interval of `ratio`.
        quality_interval: Interval of `quality`.
        undetermined: Names of the parameters that the data do not fix: their interval touches the end of the searched
            range (the range of the controls, ν* from 0.1 to 50, ratios within 3 of the growth of the values).
        correction_exponent: Exponent ω of the correction to scaling; None if the data need none.
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

    def to_dict(self) -> dict[str, object]:
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

        S = mean over i of (y_i - Y_i)² / (dy_i² + dY_i²),    y = value / size^ratio.

    S finds the valley and judges the result. Within the valley f is a cubic regression spline, and (c*, ν*, ratio)
    minimise the chi-square about it. At 4 sizes or more a correction to scaling `size^(-ω) g(x)` is added to f on
    trial; it is used if Schwarz's criterion prefers it, and then sizes should be volumes.

    Intervals come from 400 resampled data sets. They hold statistical errors only: corrections to scaling that are too
    small to be preferred shift the estimates. Leaving out the smallest size shows such a shift. See
    docs/notes/finite_size_scaling.md.

    Args:
        size: Size of the system of each measurement, positive, shape (n,). At least 2 sizes, better 4 or more.
        control: Control parameter of each measurement, shape (n,). At least 4 different values per size, on ranges
            that all sizes share in part.
        value: The observable, shape (n,). Repeats at the same size and control are averaged.
        value_se: Standard error of each value, positive, shape (n,). None: the scatter about the curve serves.
        seed: Seed of the search and of the bootstrap.

    Returns:
        The collapse with its intervals.

    Raises:
        InputError: The arrays do not describe curves at several sizes that can be compared.
    """
    check_seed(seed)
    curves = Curves.from_input(size, control, value, value_se)
    random = np.random.default_rng(seed)
    corrected = _preferred_correction(curves)
    return _without_correction(curves, random) if corrected is None else _with_correction(corrected, random)


def _preferred_correction(curves: Curves) -> JointCollapse | None:
    """The collapse with a correction to scaling, if the data prefer it and it is a sensible one."""
    if len(curves.first) < CORRECTED_SIZES:
        return None
    masters, unit = master_curves({"value": curves})
    plain = joint_collapse(masters, unit)
    corrected = joint_collapse(masters, unit, corrected=True, start=plain.theta)
    fits = not curves.known_se or corrected.quality < CORRECTED_QUALITY
    inside = 2 * np.sqrt(corrected.covariance[0, 0]) < min(corrected.theta[0], 1 - corrected.theta[0])
    return corrected if corrected.information < plain.information and fits and inside else None


def _without_correction(curves: Curves, random: np.random.Generator) -> FiniteSizeScaling:
    growth = curves.growth()
    low = np.array([0.0, np.log(NU_STAR_RANGE[0]), growth - RATIO_REACH])
    high = np.array([1.0, np.log(NU_STAR_RANGE[1]), growth + RATIO_REACH])
    collapse, start, step = best_start(curves, low, high)
    best, cloud = ensemble_search(collapse.deviance, start, step, random)
    resampled = collapse.resampled(best, cloud, RESAMPLES, random)

    lower, upper = np.quantile(resampled, [0.025, 0.975], axis=0)
    margin = EDGE * (high - low)
    touched = (lower[:3] < low + margin) | (upper[:3] > high - margin)
    point = np.append(best, curves.distance(best, curves.value)[0].mean())
    for parameters in (point, lower, upper):
        parameters[0] = np.interp(parameters[0], [0, 1], curves.control_range)
        parameters[1] = np.exp(parameters[1])
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
        undetermined=tuple(name for name, at_end in zip(PARAMETERS, touched, strict=True) if at_end),
    )


def _with_correction(fit: JointCollapse, random: np.random.Generator) -> FiniteSizeScaling:
    rows = np.vstack([fit.theta, fit.resampled(RESAMPLES, random)])
    rows[:, 0] = fit.unit.low + fit.unit.width * rows[:, 0]
    rows[:, 1] = 1 / np.maximum(rows[:, 1], 1 / NU_STAR_RANGE[1])
    curve, freedom = fit.curves[0], fit.freedom[0]
    groups = [curve.value[curve.log_size == size] for size in curve.log_size]
    scale = 1.0 if curve.known_se else float(np.mean(curve.se**2 / [group.var() for group in groups]))
    quality = scale * fit.quality
    intervals = [(float(a), float(b)) for a, b in np.quantile(rows[1:, [0, 1, 3]], [0.025, 0.975], axis=0).T]
    ends = ((fit.unit.low, sum(fit.unit)), NU_STAR_RANGE, (fit.theta[3] - RATIO_REACH, fit.theta[3] + RATIO_REACH))
    touched = [
        name
        for name, (low, high), (first, last) in zip(PARAMETERS, intervals, ends, strict=True)
        if low < first + EDGE * (last - first) or high > last - EDGE * (last - first)
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
