"""Standard errors of the hyperscaling test: of resampling, of ω, and of leaving out the smallest size."""

import numpy as np

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.joint_collapse import JointCollapse, joint_collapse
from llckit.criticality.collapse.master_curve import master_curves
from llckit.criticality.exponents.exponent_estimates import exponent_estimates
from llckit.criticality.exponents.order_rules import FEWEST_SIZES
from llckit.criticality.exponents.specific_heat import refit_specific_heat

__all__ = ["standard_errors"]

SIGNIFICANT_SHIFT = 3.0
REMAINING_CORRECTION = (0.5, 1.0)  # exponents of N that a collapse without and with a correction leaves
OTHER_OMEGAS = (0.5, 1.0)  # the range of ω in volumes, see `joint_collapse`
POSSIBLE = 10.0  # of Schwarz's criterion: what is worse by more is no alternative (Kass and Raftery 1995)

Fits = tuple[JointCollapse, JointCollapse | None]  # the collapse, and the specific heat at its place


def standard_errors(
    curves: dict[str, Curves],
    heat: Curves | None,
    fits: Fits,
    estimates: dict[str, tuple[float, Array]],
) -> dict[str, float]:
    """Standard errors of the resampling, of ω, and of leaving out the smallest size; see docs/notes/hyperscaling.md.

    Args:
        curves: The observables of the collapse.
        heat: The specific heat, if there is one.
        fits: Their collapses.
        estimates: Value and draws by name, from `exponent_estimates` for these collapses.

    Returns:
        Standard errors by name.
    """
    # About the estimate, not about their own mean: smoothing shifts the draws as it has shifted the estimate.
    errors = {name: float(np.sqrt(np.mean((draws - value) ** 2))) for name, (value, draws) in estimates.items()}
    for name, drift in _drift_with_omega(curves, heat, fits, estimates).items():
        errors[name] = float(np.hypot(errors[name], drift))
    if any(len(one.first) <= FEWEST_SIZES for one in curves.values()):
        return errors
    fewer = {name: one.without_smallest() for name, one in curves.items()}
    masters, unit = master_curves(fewer)
    start = fits[0].theta.copy()
    start[:3] = fits[0].unit.converted(start[None, :3], unit)[0]
    collapse = joint_collapse(masters, unit, corrected=fits[0].corrected, start=start)
    fewer_heat = None
    if heat is not None and fits[1] is not None and len(heat.first) > FEWEST_SIZES:
        fewer_heat = refit_specific_heat(heat.without_smallest(), collapse, fits[1])
    moved = _values(list(curves), collapse, fewer_heat)
    fewer_variances = _variances(list(curves), collapse, fewer_heat)
    variances = _variances(list(curves), *fits)
    sizes = np.unique(np.concatenate([one.log_size + one.log_size_centre for one in curves.values()]).round(9))
    remaining = REMAINING_CORRECTION[int(fits[0].corrected)]
    share = 1 - np.exp(-remaining * (sizes[1] - sizes[0]))
    for name, value in moved.items():
        shift = abs(value - estimates[name][0])
        # The estimate from all sizes is efficient, so the shift has the difference of the variances (Hausman 1978).
        growth = max(fewer_variances[name] / max(variances[name], 1e-300) - 1, 0.2)
        if shift > SIGNIFICANT_SHIFT * errors[name] * np.sqrt(growth):
            errors[name] = float(np.hypot(errors[name], shift / share))
    return errors


def _drift_with_omega(
    curves: dict[str, Curves],
    heat: Curves | None,
    fits: Fits,
    estimates: dict[str, tuple[float, Array]],
) -> dict[str, float]:
    """How far the estimates move with another exponent ω of the correction, if the data allow it."""
    drift = dict.fromkeys(estimates, 0.0)
    masters, unit = master_curves(curves)
    for omega in OTHER_OMEGAS if fits[0].corrected else ():
        start = fits[0].theta.copy()
        start[2] = np.log(omega)
        collapse = joint_collapse(masters, unit, corrected=True, start=start, fixed=(2,))
        if collapse.information > fits[0].information + POSSIBLE:
            continue
        other_heat = None
        if heat is not None and fits[1] is not None:
            other_heat = refit_specific_heat(heat, collapse, fits[1])
        moved = _values(list(curves), collapse, other_heat)
        drift = {name: max(drift[name], abs(moved[name] - estimates[name][0])) for name in drift}
    return drift


def _values(names: list[str], collapse: JointCollapse, heat: JointCollapse | None) -> dict[str, float]:
    """The estimates at a fit, without draws."""
    empty = np.empty((0, len(collapse.theta)))
    found = exponent_estimates(names, collapse, heat, empty, None if heat is None else empty[:, :4])
    return {name: value for name, (value, _) in found.items()}


def _variances(names: list[str], collapse: JointCollapse, heat: JointCollapse | None) -> dict[str, float]:
    """Variances of the estimates, to first order, from the curvature of the likelihoods."""
    kappa, variance = collapse.theta[1], np.diag(collapse.covariance)
    found = {"critical_point": variance[0] * collapse.unit.width**2, "kappa": variance[1]}
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
