"""Power laws at a critical point: exponent, critical point, amplitude and a correction, by maximum likelihood."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_number, check_seed
from llckit.criticality.arrays import Array, check_equal_lengths, check_numbers, check_positive_entries
from llckit.criticality.exponents.singular_law import SingularLaw
from llckit.errors import InputError

__all__ = ["PowerLaw", "Quantity", "fit_power_law"]

CORRECTIONS = (None, 0.5, 1.0)
SPARE_CONTROLS = 3  # more controls than parameters
RESAMPLES = 200
EDGE = 0.01  # share of a searched range that counts as its end

Quantity = Literal["order_parameter", "susceptibility", "specific_heat", "field_response"]


class PowerRange(NamedTuple):
    """Powers of t that are searched for one quantity, and the exponent of the quantity as a function of the power."""

    low: float
    high: float
    exponent: Callable[[float], float]


POWERS: Mapping[str, PowerRange] = {
    "order_parameter": PowerRange(0.02, 3.0, lambda power: power),
    "susceptibility": PowerRange(-5.0, -0.02, lambda power: -power),
    "specific_heat": PowerRange(-1.5, 1.5, lambda power: -power),
    "field_response": PowerRange(0.01, 1.5, lambda power: 1 / power),
}


@dataclass(frozen=True)
class PowerLaw:
    """A power law fitted to one side of a critical point. Intervals are central 90 % (low, high).

    Attributes:
        quantity: Name of the quantity that was fitted.
        exponent: β of an order parameter, γ of a susceptibility, α of a specific heat, δ of a field response.
        critical_point: Critical value of the control, given or fitted.
        amplitude: Amplitude A.
        form: Form that the information criterion prefers: "power"; for a specific heat "power" (α > 0), "logarithm"
            (α = 0) or "cusp" (α < 0). `exponent` is that of the free power in every case.
        correction: Relative amplitude B of the correction, 0 if the data need none.
        correction_exponent: Exponent Δ of the correction, or None without one.
        quality: Reduced chi-square, or None without standard errors.
        exponent_interval: Interval of `exponent`.
        critical_point_interval: Interval of `critical_point`; the point itself if it was given.
        amplitude_interval: Interval of `amplitude`.
        undetermined: Names of the parameters that the data do not fix: their interval reaches the end of what was
            searched.
    """

    quantity: Quantity
    exponent: float
    critical_point: float
    amplitude: float
    form: Literal["power", "logarithm", "cusp"]
    correction: float
    correction_exponent: float | None
    quality: float | None
    exponent_interval: tuple[float, float]
    critical_point_interval: tuple[float, float]
    amplitude_interval: tuple[float, float]
    undetermined: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The attributes as plain Python values, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


class _Fit(NamedTuple):
    information: float
    law: SingularLaw
    theta: Array


def fit_power_law(
    control: ArrayLike,
    value: ArrayLike,
    value_se: ArrayLike | None = None,
    *,
    quantity: Quantity,
    critical_point: float | None = None,
    seed: int = 0,
) -> PowerLaw:
    """Fit the power law of one quantity on one side of a critical point, whose place may be unknown.

    With `t = |control - c*|` in units of the range of the controls:

        order_parameter   A t^β (1 + B t^Δ)
        susceptibility    A t^(-γ) (1 + B t^Δ)
        field_response    A h^(1/δ) (1 + B h^Δ), the order parameter against the field h at the critical point
        specific_heat     (A/α) (t^(-α) - 1) + B A t^(Δ-α) + C; -A ln t replaces the power at α = 0

    with the leading correction to scaling (Wegner, Phys. Rev. B 5, 4529, 1972) of exponent Δ = 1/2 or 1. Schwarz's
    criterion decides whether there is one, and whether a specific heat is a power, a logarithm or a cusp. The
    likelihood is Gaussian with the given standard errors. Intervals come from 200 data sets drawn from the fitted laws,
    each law in proportion to its probability; scatter beyond the standard errors widens them.

    Leave out measurements far from the critical point, and those so near that finite size rounds the transition: no
    power law holds there.

    Args:
        control: Control parameter of each measurement (for a field response the field), all on one side of the critical
            point, shape (n,).
        value: The quantity, positive, shape (n,).
        value_se: Standard error of each value, positive, shape (n,). None: errors proportional to the value, for a
            specific heat constant, of a size taken from the scatter.
        quantity: "order_parameter", "susceptibility", "specific_heat" or "field_response".
        critical_point: Critical value of the control. None: it is fitted, on the side of the data that fits better; for
            a field response it is 0.
        seed: Seed of the resampling.

    Returns:
        The law with its intervals.

    Raises:
        InputError: The arrays cannot be fitted, or the controls lie on both sides of the critical point.
    """
    if quantity not in POWERS:
        raise InputError(f"quantity is {quantity!r}; expected one of {', '.join(POWERS)}")
    check_seed(seed)
    if critical_point is not None:
        check_number("critical_point", critical_point)
    elif quantity == "field_response":
        critical_point = 0.0
    controls, values, errors = _measurements(control, value, value_se, quantity)
    background = quantity == "specific_heat"
    unknown = (critical_point is None) + 2 + background
    different = len(np.unique(controls))
    if different < unknown + SPARE_CONTROLS:
        raise InputError(
            f"control has {different} different entries; expected at least {unknown + SPARE_CONTROLS} to fit {unknown} "
            "parameters; measure at more of them"
        )
    sides = _sides(controls, critical_point)
    searched = POWERS[quantity]
    weighted = values / errors

    def best(correction: float | None, power: float | None) -> _Fit:
        tried = []
        for side in sides:
            law = SingularLaw(
                control=controls,
                se=errors,
                known_se=value_se is not None,
                edge=float(controls.min() if side == 1 else controls.max()),
                side=side,
                unit=float(np.ptp(controls)),
                given=critical_point,
                powers=(searched.low, searched.high),
                background=background,
                correction=correction,
                power=power,
            )
            theta = law.best_fit(weighted)
            tried.append(_Fit(law.information(theta, weighted), law, theta))
        return min(tried, key=lambda one: one.information)

    corrections = CORRECTIONS if len(controls) > unknown + SPARE_CONTROLS else CORRECTIONS[:1]
    powers = {correction: best(correction, None) for correction in corrections}
    chosen = min(powers.values(), key=lambda one: one.information)
    form = "power" if chosen.theta[1] < 0 or not background else "cusp"
    if background:
        logarithms = {correction: best(correction, 0.0).information for correction in corrections}
        preferred = min(corrections, key=lambda correction: logarithms[correction])
        if logarithms[preferred] <= min(one.information for one in powers.values()):
            form = "logarithm"
            if np.isfinite(powers[preferred].information):  # else with that correction it is another law in disguise
                chosen = powers[preferred]
    return _reported(quantity, form, chosen, list(powers.values()), weighted, seed)


def _measurements(
    control: ArrayLike, value: ArrayLike, value_se: ArrayLike | None, quantity: str
) -> tuple[Array, Array, Array]:
    """Controls, values and errors; without given errors those of the docstring, of size 1 or as large as the value."""
    arrays = {"control": check_numbers("control", control), "value": check_numbers("value", value)}
    if value_se is not None:
        arrays["value_se"] = check_numbers("value_se", value_se)
    check_equal_lengths(arrays)
    for name in ("value", "value_se"):
        if name in arrays:
            check_positive_entries(name, arrays[name])
    without = np.ones(len(arrays["value"])) if quantity == "specific_heat" else arrays["value"]
    return arrays["control"], arrays["value"], arrays.get("value_se", without)


def _sides(control: Array, critical_point: float | None) -> list[int]:
    """1 if the measurements may lie above the critical point, -1 if they may lie below it."""
    if critical_point is None:
        return [1, -1]
    if control.min() > critical_point:
        return [1]
    if control.max() < critical_point:
        return [-1]
    raise InputError(
        f"control goes from {control.min():g} to {control.max():g}; expected one side of the critical point "
        f"{critical_point:g}; fit one side at a time, without the point itself"
    )


def _reported(
    quantity: Quantity,
    form: Literal["power", "logarithm", "cusp"],
    chosen: _Fit,
    fits: list[_Fit],
    weighted: Array,
    seed: int,
) -> PowerLaw:
    """The chosen law, with intervals from data sets drawn from all laws in proportion to their probability."""
    exponent = POWERS[quantity].exponent
    law, theta = chosen.law, chosen.theta
    point = law.numbers(theta, weighted)
    weight = [np.exp((chosen.information - fit.information) / 2) for fit in fits]
    random, numbers, drawn = np.random.default_rng(seed), [], []
    for fit, one_weight in zip(fits, weight, strict=True):
        count = round(RESAMPLES * one_weight / sum(weight))
        for one, sample in fit.law.resampled(fit.theta, weighted, count, random):
            found = fit.law.numbers(one, sample)
            numbers.append((exponent(found.power), found.critical_point, found.amplitude))
            drawn.append(one)
    low, high = np.quantile(numbers, [0.05, 0.95], axis=0)
    intervals = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    ends = np.quantile(np.array(drawn), [0.05, 0.95], axis=0)
    lowest, highest = law.bounds
    margin = EDGE * (highest - lowest)
    touched = (ends[0] < lowest + margin) | (ends[1] > highest - margin)
    names = ("critical_point", "exponent")
    return PowerLaw(
        quantity=quantity,
        exponent=exponent(point.power),
        critical_point=point.critical_point,
        amplitude=point.amplitude,
        form=form,
        correction=point.correction,
        correction_exponent=law.correction,
        quality=law.reduced_chi_square(theta, weighted)[0] if law.known_se else None,
        exponent_interval=intervals[0],
        critical_point_interval=intervals[1],
        amplitude_interval=intervals[2],
        undetermined=tuple(names[index] for index in law.free if touched[index]),
    )
