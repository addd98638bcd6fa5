"""Every exponent of the hyperscaling test, at the fitted collapses and at each of their resamplings."""

import numpy as np

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.joint_collapse import JointCollapse

__all__ = ["exponent_estimates"]


def exponent_estimates(
    names: list[str], collapse: JointCollapse, heat: JointCollapse | None, draws: Array, heat_draws: Array | None
) -> dict[str, tuple[float, Array]]:
    """Every quantity at the fit and at each draw.

    Args:
        names: The observables of the collapse, in its order.
        collapse: The collapse that gives critical point, κ = 1/ν* and the ratios.
        heat: The collapse of the specific heat, which gives α/ν*; None without one.
        draws: Parameters of resampled collapses, shape (R, 3 + observables).
        heat_draws: Parameters of the specific heat at each of these draws, shape (R, 4); None without one.

    Returns:
        Value and draws, shape (R,), by name.
    """
    rows = np.vstack([collapse.theta, draws])
    kappa = rows[:, 1]
    found = {"critical_point": collapse.unit.low + collapse.unit.width * rows[:, 0], "kappa": kappa}
    for name, exponent, sign in (("order_parameter", "beta", -1), ("susceptibility", "gamma", 1)):
        if name in names:
            found[f"{exponent}_over_nu_star"] = sign * rows[:, 3 + names.index(name)]
    if heat is not None and heat_draws is not None:
        ratio = np.append(heat.theta[3], heat_draws[:, 3])
        # A draw without narrowing has no ν*; the bound keeps the sign of an infinite ν*.
        nu_star = 1 / np.maximum(kappa, 1e-6)
        found |= {"alpha_over_nu_star": ratio, "alpha": ratio * nu_star, "residual": nu_star * (1 + ratio) - 2}
        if {"beta_over_nu_star", "gamma_over_nu_star"} <= set(found):
            both = 2 * found["beta_over_nu_star"] + found["gamma_over_nu_star"]
            found["rushbrooke"] = nu_star * (ratio + both) - 2
    return {name: (float(values[0]), values[1:]) for name, values in found.items()}
