"""Power laws at a critical point: exponent, critical point, amplitude and a correction, by maximum likelihood."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.stats import norm

from llckit.criticality.curves import Array, vector
from llckit.errors import InputError

__all__ = ["PowerLaw", "fit_power_law"]

# Exponent e of t^e: range searched, and what the exponent of the quantity is in terms of it.
POWERS: dict[str, tuple[float, float, Callable[[float], float]]] = {
    "order_parameter": (0.02, 3.0, lambda power: power),
    "susceptibility": (-5.0, -0.02, lambda power: -power),
    "specific_heat": (-1.5, 1.5, lambda power: -power),
    "field_response": (0.01, 1.5, lambda power: 1 / power),
}
CORRECTIONS = (None, 0.5, 1.0)
MIN_FREEDOM = 3
RESAMPLES = 200
GRID = 40
NEAREST, FARTHEST = 1e-3, 3.0  # of the critical point from the measurements, in units of their range
LOGARITHMIC = 1e-6
NORMAL_90 = float(norm.ppf(0.95))
SMALLEST = 1e-200


@dataclass(frozen=True)
class PowerLaw:
    """A power law fitted to one side of a critical point. Intervals are central 90 % (low, high).

    Attributes:
        quantity: What was fitted.
        exponent: β of an order parameter, γ of a susceptibility, α of a specific heat, δ of a field response.
        critical_point: Critical value of the control, given or fitted.
        amplitude: Amplitude A.
        form: What the information criterion prefers: "power", or of a specific heat "power" (α > 0), "logarithm"
            (α = 0) or "cusp" (α < 0). `exponent` is that of the free power in every case.
        correction: Relative amplitude B of the correction, 0 where the data ask for none.
        correction_exponent: Exponent Δ of the correction, or None without one.
        quality: Reduced chi-square, or None without standard errors.
        exponent_interval: Interval of `exponent`.
        critical_point_interval: Interval of `critical_point`; the point itself where it was given.
        amplitude_interval: Interval of `amplitude`.
        undetermined: Names of what the data do not fix: its interval reaches the end of what was searched.
    """

    quantity: str
    exponent: float
    critical_point: float
    amplitude: float
    form: str
    correction: float
    correction_exponent: float | None
    quality: float | None
    exponent_interval: tuple[float, float]
    critical_point_interval: tuple[float, float]
    amplitude_interval: tuple[float, float]
    undetermined: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class _Law:
    """One form of the law for one side of the critical point; parameters are (ln distance, power).

    Attributes:
        control: Controls, shape (n,).
        se: Standard errors, shape (n,).
        edge: The measurement nearest to the critical point.
        side: 1 where the measurements lie above it, -1 where below.
        unit: Range of the controls.
        given: The critical point if it is given.
        background: Whether there is a constant beside the power.
        correction: Exponent of the correction, or None.
        power: The power where it is fixed, or None.
    """

    control: Array
    se: Array
    edge: float
    side: int
    unit: float
    given: float | None
    background: bool
    correction: float | None
    power: float | None

    def critical_point(self, theta: Array) -> float:
        return self.edge - self.side * self.unit * float(np.exp(theta[0])) if self.given is None else self.given

    def columns(self, theta: Array) -> Array:
        """Weighted columns of amplitude, correction and background, shape (n, 1 to 3)."""
        t = self.side * (self.control - self.critical_point(theta)) / self.unit
        power = float(theta[1]) if self.power is None else self.power
        if not self.background:
            parts = [t**power]
        else:  # (t^e - 1) / e goes over into ln t where a power becomes a logarithm
            parts = [np.log(t) if abs(power) < LOGARITHMIC else np.expm1(power * np.log(t)) / power]
        if self.correction is not None:
            parts.append(t ** (power + self.correction))
        if self.background:
            parts.append(np.ones_like(t))
        return np.stack(parts, axis=-1) / self.se[:, None]

    def residual(self, theta: Array, weighted: Array) -> Array:
        basis = np.linalg.qr(self.columns(theta))[0]
        return weighted - basis @ (weighted @ basis)

    def free(self) -> list[int]:
        return [index for index, fixed in enumerate((self.given, self.power)) if fixed is None]

    def fit(self, weighted: Array, start: Array, bounds: tuple[Array, Array]) -> Array:
        free = self.free()
        if not free:
            return start

        def misfit(some: Array) -> Array:
            theta = start.copy()
            theta[free] = some
            return self.residual(theta, weighted)

        inside = np.clip(start, bounds[0] + 1e-9, bounds[1] - 1e-9)
        found = least_squares(misfit, inside[free], bounds=(bounds[0][free], bounds[1][free]))
        theta = start.copy()
        theta[free] = found.x
        return theta


def fit_power_law(
    control: ArrayLike,
    value: ArrayLike,
    value_se: ArrayLike | None = None,
    *,
    quantity: str,
    critical_point: float | None = None,
    seed: int = 0,
) -> PowerLaw:
    """Fit the power law of one quantity on one side of a critical point, of which the place may be unknown.

    With `t = |control - c*|` in units of the range of the controls:

        order_parameter   A t^β (1 + B t^Δ)
        susceptibility    A t^(-γ) (1 + B t^Δ)
        field_response    A h^(1/δ) (1 + B h^Δ), the order parameter against the field h at the critical point
        specific_heat     (A/α) (t^(-α) - 1) + B A t^(Δ-α) + C; -A ln t in the place of the power at α = 0

    with the leading correction to scaling (Wegner, Phys. Rev. B 5, 4529, 1972) of exponent Δ 1/2 or 1. Whether there
    is one, and whether a specific heat is a power, a logarithm or a cusp, is decided by Schwarz's criterion. The
    likelihood is Gaussian with the given standard errors; without them the error is taken as proportional to the
    value, for a specific heat as constant, and its size from the scatter. Intervals come from 200 data sets drawn
    from the fitted laws without correction and with either of them, as many from each as it is probable by the same
    criterion; scatter beyond the standard errors widens them.

    Far from the critical point, and near it where finite size rounds the transition, no power law holds: leave those
    measurements out.

    Args:
        control: Control parameter of each measurement (for a field response the field), shape (n,), all on one side
            of the critical point.
        value: The quantity, shape (n,), positive.
        value_se: Standard error of each value, shape (n,), positive.
        quantity: "order_parameter", "susceptibility", "specific_heat" or "field_response".
        critical_point: Critical value of the control; fitted without it, on whichever side of the data fits better.
            The field of a field response is critical at 0 unless said otherwise.
        seed: Seed of the resampling.

    Returns:
        The law with its intervals.

    Raises:
        InputError: The arrays cannot be fitted, or the controls lie on both sides of the critical point.
    """
    if quantity not in POWERS:
        raise InputError(f"quantity is {quantity!r}, expected one of {', '.join(POWERS)}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    controls, values = vector("control", control), vector("value", value)
    errors = np.ones(len(values)) if value_se is None else vector("value_se", value_se)
    if not len(controls) == len(values) == len(errors):
        raise InputError(
            f"Lengths differ: control {len(controls)}, value {len(values)}, value_se {len(errors)}. Give one entry per "
            "measurement in every array."
        )
    for name, numbers in (("value", values), ("value_se", errors)):
        if not (numbers > 0).all():
            raise InputError(f"{name} has the entry {numbers.min():g}, expected positive numbers.")
    if quantity == "field_response" and critical_point is None:
        critical_point = 0.0
    background = quantity == "specific_heat"
    unknown = (critical_point is None) + 2 + background
    if len(np.unique(controls)) < unknown + MIN_FREEDOM:
        raise InputError(
            f"Got {len(np.unique(controls))} different controls, expected at least {unknown + MIN_FREEDOM} to fit "
            f"{unknown} parameters: measure more of them."
        )
    sides = _sides(controls, critical_point)
    if value_se is None and not background:
        errors = values
    low, high, exponent = POWERS[quantity]
    weighted = values / errors
    bounds = np.array([np.log(NEAREST), low]), np.array([np.log(FARTHEST), high])

    def best(correction: float | None, power: float | None) -> tuple[float, _Law, Array]:
        tried = []
        for side in sides:
            law = _Law(
                controls,
                errors,
                float(controls.min() if side == 1 else controls.max()),
                side,
                float(np.ptp(controls)),
                critical_point,
                background,
                correction,
                power,
            )
            theta = law.fit(weighted, _start(law, weighted, bounds), bounds)
            tried.append((_information(law, theta, weighted, value_se is not None), law, theta))
        return min(tried, key=lambda one: one[0])

    enough = len(controls) > unknown + MIN_FREEDOM
    corrections = CORRECTIONS if enough else CORRECTIONS[:1]
    powers = {correction: best(correction, None) for correction in corrections}
    _, law, theta = min(powers.values(), key=lambda one: one[0])
    form = "power" if theta[1] < 0 or not background else "cusp"
    if background:
        logarithms = {correction: best(correction, 0.0)[0] for correction in corrections}
        preferred = min(corrections, key=lambda correction: logarithms[correction])
        if logarithms[preferred] <= min(one[0] for one in powers.values()):
            form, (_, law, theta) = "logarithm", powers[preferred]
    point = _numbers(law, theta, weighted, exponent, background)
    least = powers[law.correction][0]
    weight = {one: np.exp((least - fit[0]) / 2) for one, fit in powers.items()}
    random, numbers, drawn = np.random.default_rng(seed), [], []
    for correction, (_, some, place) in powers.items():
        count = round(RESAMPLES * weight[correction] / sum(weight.values()))
        for one, sample in _resampled(some, place, weighted, bounds, value_se is not None, count, random):
            numbers.append(_numbers(some, one, sample, exponent, background))
            drawn.append(one)
    spread = np.quantile(numbers, [0.05, 0.95], axis=0)
    thetas = np.array(drawn)
    ends = np.quantile(thetas, [0.05, 0.95], axis=0)
    margin = 0.01 * (bounds[1] - bounds[0])
    touched = (ends[0] < bounds[0] + margin) | (ends[1] > bounds[1] - margin)
    names = ("critical_point", "exponent")
    return PowerLaw(
        quantity=quantity,
        exponent=point[0],
        critical_point=point[1],
        amplitude=point[2],
        form=form,
        correction=point[3],
        correction_exponent=law.correction,
        quality=None if value_se is None else _reduced(law, theta, weighted)[0],
        exponent_interval=(float(spread[0, 0]), float(spread[1, 0])),
        critical_point_interval=(float(spread[0, 1]), float(spread[1, 1])),
        amplitude_interval=(float(spread[0, 2]), float(spread[1, 2])),
        undetermined=tuple(names[index] for index in law.free() if touched[index]),
    )


def _sides(control: Array, critical_point: float | None) -> list[int]:
    if critical_point is None:
        return [1, -1]
    if isinstance(critical_point, bool) or not np.isfinite(critical_point):
        raise InputError(f"critical_point is {critical_point!r}, expected a finite number.")
    if control.min() > critical_point:
        return [1]
    if control.max() < critical_point:
        return [-1]
    raise InputError(
        f"The controls, {control.min():g} to {control.max():g}, do not lie on one side of the critical point "
        f"{critical_point:g}: fit one side at a time, without the point itself."
    )


def _start(law: _Law, weighted: Array, bounds: tuple[Array, Array]) -> Array:
    """The best place of a grid."""
    distances = np.linspace(bounds[0][0], bounds[1][0], GRID) if law.given is None else [0.0]
    powers = np.linspace(bounds[0][1], bounds[1][1], GRID) if law.power is None else [law.power]
    places = [np.array([distance, power]) for distance in distances for power in powers]
    stacked = np.stack([np.column_stack([law.columns(theta), weighted]) for theta in places])
    triangle = np.asarray(np.linalg.qr(stacked, mode="r"))
    return places[int(np.abs(triangle[:, -1, -1]).argmin())]


def _information(law: _Law, theta: Array, weighted: Array, known_se: bool) -> float:
    columns = law.columns(theta)
    if law.correction is not None:
        parts = columns[:, :2] * np.linalg.lstsq(columns, weighted, rcond=None)[0][:2] * law.se[:, None]
        leading, correction = np.ptp(parts, axis=0) if law.background else np.abs(parts).max(axis=0)
        if correction > leading:  # another law in disguise, not a correction to this one
            return np.inf
    squares, count = float((law.residual(theta, weighted) ** 2).sum()), len(weighted)
    parameters = len(law.free()) + 1 + law.background + (law.correction is not None)
    misfit = squares if known_se else count * np.log(max(squares / count, SMALLEST))
    return misfit + parameters * np.log(count)


def _reduced(law: _Law, theta: Array, weighted: Array) -> tuple[float, int]:
    """Reduced chi-square, and degrees of freedom."""
    columns = 1 + law.background + (law.correction is not None)
    freedom = max(len(weighted) - len(law.free()) - columns, 1)
    return float((law.residual(theta, weighted) ** 2).sum() / freedom), freedom


def _resampled(
    law: _Law,
    theta: Array,
    weighted: Array,
    bounds: tuple[Array, Array],
    known_se: bool,
    count: int,
    random: np.random.Generator,
) -> list[tuple[Array, Array]]:
    """Parameters and weighted values of data sets drawn from the law."""
    residual = law.residual(theta, weighted)
    reduced, freedom = _reduced(law, theta, weighted)
    scale = np.full(count, max(reduced, 1.0))
    if not known_se:
        scale = reduced * freedom / random.chisquare(freedom, count)
    draws = []
    for variance in scale:
        sample = weighted - residual + np.sqrt(variance) * random.standard_normal(len(weighted))
        draws.append((law.fit(sample, theta, bounds), sample))
    return draws


def _numbers(
    law: _Law, theta: Array, weighted: Array, exponent: Callable[[float], float], background: bool
) -> tuple[float, float, float, float]:
    """Exponent, critical point, amplitude in units of the control, and relative amplitude of the correction."""
    coefficient = np.linalg.lstsq(law.columns(theta), weighted, rcond=None)[0]
    power = float(theta[1])
    amplitude = -coefficient[0] if background else coefficient[0]
    correction = coefficient[1] / amplitude if law.correction is not None and amplitude else 0.0
    return exponent(power), law.critical_point(theta), float(amplitude * law.unit**-power), float(correction)
