"""What the hyperscaling test estimates from its two collapses, and the standard errors of it."""

import numpy as np

from llckit.criticality.curves import Array, Curves
from llckit.criticality.joint_collapse import JointCollapse, joint_collapse, master_curves
from llckit.criticality.order import MIN_SIZES

__all__ = ["exponent_estimates", "in_unit", "standard_errors"]

SIGNIFICANT_SHIFT = 3.0
REMAINING_CORRECTION = (0.5, 1.0)  # exponents in N of what a collapse without and with a correction leaves
OTHER_OMEGAS = (0.5, 1.0)  # the range of ω in volumes, see `joint_collapse`
POSSIBLE = 10.0  # of Schwarz's criterion: what is worse by more is no alternative (Kass and Raftery 1995)


def in_unit(place: Array, unit: tuple[float, float], other: tuple[float, float]) -> Array:
    """(c*, κ, ln ω) with c* in another unit of control.

    Args:
        place: The parameters, shape (R, 3).
        unit: Lowest control and range of controls that they are in.
        other: Those that they shall be in.

    Returns:
        The parameters, shape (R, 3).
    """
    place = place.copy()
    place[:, 0] = (unit[0] + unit[1] * place[:, 0] - other[0]) / other[1]
    return place


def exponent_estimates(
    names: list[str], collapse: JointCollapse, heat: JointCollapse | None, draws: Array, heat_draws: Array | None
) -> dict[str, tuple[float, Array]]:
    """Every quantity at the fit and at each draw.

    Args:
        names: The observables of the collapse, in its order.
        collapse: The collapse that gives critical point, κ = 1/ν* and the ratios.
        heat: The one that gives α/ν*, if there is one.
        draws: Parameters of resampled collapses, shape (R, 3 + observables).
        heat_draws: Parameters of the specific heat on each of them, shape (R, 4).

    Returns:
        Value and draws, shape (R,), by name.
    """
    rows = np.vstack([collapse.theta, draws])
    kappa = rows[:, 1]
    found = {"critical_point": collapse.unit[0] + collapse.unit[1] * rows[:, 0], "kappa": kappa}
    for name, exponent, sign in (("order_parameter", "beta", -1), ("susceptibility", "gamma", 1)):
        if name in names:
            found[f"{exponent}_over_nu_star"] = sign * rows[:, 3 + names.index(name)]
    if heat is not None and heat_draws is not None:
        ratio = np.append(heat.theta[3], heat_draws[:, 3])
        # A draw without narrowing has no ν*; it must not turn the sign of what is infinite.
        nu_star = 1 / np.maximum(kappa, 1e-6)
        found |= {"alpha_over_nu_star": ratio, "alpha": ratio * nu_star, "residual": nu_star * (1 + ratio) - 2}
        if {"beta_over_nu_star", "gamma_over_nu_star"} <= set(found):
            both = 2 * found["beta_over_nu_star"] + found["gamma_over_nu_star"]
            found["rushbrooke"] = nu_star * (ratio + both) - 2
    return {name: (float(values[0]), values[1:]) for name, values in found.items()}


def standard_errors(
    curves: dict[str, Curves],
    heat: Curves | None,
    fits: tuple[JointCollapse, JointCollapse | None],
    estimates: dict[str, tuple[float, Array]],
) -> dict[str, float]:
    """Standard errors: of the resampling, of ω, and of what leaving out the smallest size shows.

    Args:
        curves: The observables of the collapse.
        heat: The specific heat, if there is one.
        fits: Their collapses.
        estimates: What `exponent_estimates` gives for these.

    Returns:
        Standard errors by name.
    """
    # About the estimate, not about their own mean: what smoothing shifts once, it shifts again.
    errors = {name: float(np.sqrt(np.mean((draws - value) ** 2))) for name, (value, draws) in estimates.items()}
    for name, drift in _drift_with_omega(curves, heat, fits, estimates).items():
        errors[name] = float(np.hypot(errors[name], drift))
    if any(len(one.first) <= MIN_SIZES for one in curves.values()):
        return errors
    fewer = {name: one.without_smallest() for name, one in curves.items()}
    masters, unit = master_curves(fewer)
    start = fits[0].theta.copy()
    start[:3] = in_unit(start[None, :3], fits[0].unit, unit)[0]
    collapse = joint_collapse(masters, unit, corrected=fits[0].corrected, start=start)
    smaller_heat = None
    if heat is not None and fits[1] is not None and len(heat.first) > MIN_SIZES:
        masters, heat_unit = master_curves({"specific_heat": heat.without_smallest()})
        place = in_unit(collapse.theta[None, :3], unit, heat_unit)[0]
        start = np.append(place, fits[1].theta[3])
        smaller_heat = joint_collapse(masters, heat_unit, corrected=fits[1].corrected, start=start, fixed=(0, 1, 2))
    empty = np.empty((0, len(collapse.theta)))
    moved = exponent_estimates(
        list(curves), collapse, smaller_heat, empty, None if smaller_heat is None else empty[:, :4]
    )
    fewer_variances = _variances(list(curves), collapse, smaller_heat)
    variances = _variances(list(curves), *fits)
    sizes = np.unique(np.concatenate([one.log_size + one.log_size_centre for one in curves.values()]).round(9))
    remaining = REMAINING_CORRECTION[int(fits[0].corrected)]
    share = 1 - np.exp(-remaining * (sizes[1] - sizes[0]))
    for name, (shifted, _) in moved.items():
        shift = abs(shifted - estimates[name][0])
        # The estimate from all sizes is the efficient one: the move has the difference of the variances (Hausman 1978).
        growth = max(fewer_variances[name] / max(variances[name], 1e-300) - 1, 0.2)
        if shift > SIGNIFICANT_SHIFT * errors[name] * np.sqrt(growth):
            errors[name] = float(np.hypot(errors[name], shift / share))
    return errors


def _drift_with_omega(
    curves: dict[str, Curves],
    heat: Curves | None,
    fits: tuple[JointCollapse, JointCollapse | None],
    estimates: dict[str, tuple[float, Array]],
) -> dict[str, float]:
    """How far the estimates move with other exponents of the correction, where the data allow them."""
    drift = dict.fromkeys(estimates, 0.0)
    masters, unit = master_curves(curves)
    for omega in OTHER_OMEGAS if fits[0].corrected else ():
        start = fits[0].theta.copy()
        start[2] = np.log(omega)
        collapse = joint_collapse(masters, unit, corrected=True, start=start, fixed=(2,))
        if collapse.information > fits[0].information + POSSIBLE:
            continue
        other_heat, empty = None, np.empty((0, len(collapse.theta)))
        if heat is not None and fits[1] is not None:
            heat_masters, heat_unit = master_curves({"specific_heat": heat})
            start = np.append(in_unit(collapse.theta[None, :3], unit, heat_unit)[0], fits[1].theta[3])
            form = fits[1].corrected
            other_heat = joint_collapse(heat_masters, heat_unit, corrected=form, start=start, fixed=(0, 1, 2))
        moved = exponent_estimates(
            list(curves), collapse, other_heat, empty, None if other_heat is None else empty[:, :4]
        )
        drift = {name: max(drift[name], abs(moved[name][0] - estimates[name][0])) for name in drift}
    return drift


def _variances(names: list[str], collapse: JointCollapse, heat: JointCollapse | None) -> dict[str, float]:
    """Variances to first order from the curvature of the likelihoods."""
    kappa, variance = collapse.theta[1], np.diag(collapse.covariance)
    found = {"critical_point": variance[0] * collapse.unit[1] ** 2, "kappa": variance[1]}
    for name, exponent in (("order_parameter", "beta"), ("susceptibility", "gamma")):
        if name in names:
            found[f"{exponent}_over_nu_star"] = variance[3 + names.index(name)]
    if heat is not None:
        ratio, own = heat.theta[3], heat.covariance[3, 3]
        found["alpha_over_nu_star"] = own
        found["alpha"] = own / kappa**2 + variance[1] * ratio**2 / kappa**4
        found["residual"] = own / kappa**2 + variance[1] * (1 + ratio) ** 2 / kappa**4
        found["rushbrooke"] = found["residual"]
    return {name: float(value) for name, value in found.items()}
