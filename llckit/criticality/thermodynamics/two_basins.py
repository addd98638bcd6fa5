"""Two basins of different depth and learning coefficient: energy and heat capacity in closed form."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import expit

from llckit.checks import check_number
from llckit.criticality.arrays import Array, check_numbers, check_positive_entries

__all__ = ["TwoBasins", "two_basins"]

LOG_LIMIT = 300.0  # of ln nβ, where equal weights are looked for


@dataclass(frozen=True)
class TwoBasins:
    """The exact mixture of two basins at a ladder of nβ; arrays of shape (scales,).

    Attributes:
        n_beta: nβ, in the order given.
        log_partition: ln Z, up to the constant ln c_1.
        energy: -nβ ∂ ln Z/∂nβ = nβ (E[L] - L_1).
        heat_capacity: (nβ)² ∂² ln Z/∂nβ² = Var[nβ L].
        weight: Weight of each basin, shape (scales, 2).
        equal_weights: All nβ at which both basins weigh one half, ascending: none, one or two.
    """

    n_beta: Array
    log_partition: Array
    energy: Array
    heat_capacity: Array
    weight: Array
    equal_weights: tuple[float, ...]


def two_basins(
    n_beta: ArrayLike, delta_loss: float, llc_1: float, llc_2: float, log_volume_ratio: float = 0.0
) -> TwoBasins:
    """Energy and heat capacity of two basins of different depth and learning coefficient.

    With t = nβ, ΔL_1 = 0, ΔL_2 = ΔL and weights p_i of the basins,

        Z = Σ_i c_i e^(-t ΔL_i) t^(-λ_i),    e_i = t ΔL_i + λ_i,    p_i = Z_i/Z,
        energy = Σ p_i e_i,    heat capacity = Σ p_i λ_i + p_1 p_2 (e_2 - e_1)².

    The heat capacity is what each basin has by itself plus the part of the jumps between them. The jumps are largest
    near the t at which the weights are equal, t ΔL = -Δλ ln t + Δ ln c. There the heat capacity exceeds the energy if
    (e_2 - e_1)² > 2 t ΔL. Each basin's own part is its asymptotic form: exact for a quasi-homogeneous basin without
    walls, up to e^(-t · height of the walls) otherwise.

    Args:
        n_beta: nβ, positive, shape (scales,).
        delta_loss: ΔL, the lowest loss of the second basin minus that of the first, of either sign.
        llc_1: λ_1, positive, or 0 for a flat plateau.
        llc_2: λ_2, positive, or 0 for a flat plateau.
        log_volume_ratio: ln(c_2/c_1). c_i is the prior's density times ∫ e^(-K_i): for a quadratic basin in d
            dimensions of Hessian H, (2π)^(d/2) det(H)^(-1/2).

    Returns:
        The mixture.

    Raises:
        InputError: nβ is not positive, a learning coefficient is negative, or a number is not finite.
    """
    t = check_numbers("n_beta", n_beta)
    check_positive_entries("n_beta", t)
    check_number("delta_loss", delta_loss)
    check_number("llc_1", llc_1, 0)
    check_number("llc_2", llc_2, 0)
    check_number("log_volume_ratio", log_volume_ratio)
    log_z1 = -llc_1 * np.log(t)
    log_z2 = log_volume_ratio - t * delta_loss - llc_2 * np.log(t)
    second, first = expit(log_z2 - log_z1), expit(log_z1 - log_z2)
    jump = t * delta_loss + llc_2 - llc_1
    return TwoBasins(
        n_beta=t,
        log_partition=np.logaddexp(log_z1, log_z2),
        energy=llc_1 + second * jump,
        heat_capacity=first * llc_1 + second * llc_2 + first * second * jump**2,
        weight=np.stack([first, second], axis=1),
        equal_weights=_equal_weights(delta_loss, llc_2 - llc_1, log_volume_ratio),
    )


def _equal_weights(delta_loss: float, delta_llc: float, log_volume_ratio: float) -> tuple[float, ...]:
    """All t > 0 with t ΔL + Δλ ln t = Δ ln c, by bisection in ln t on both sides of the only turning point."""

    def gap(x: float) -> float:
        return delta_loss * math.exp(x) + delta_llc * x - log_volume_ratio

    cuts = [-LOG_LIMIT, LOG_LIMIT]
    if delta_loss * delta_llc < 0:
        cuts.insert(1, min(max(math.log(-delta_llc / delta_loss), -LOG_LIMIT), LOG_LIMIT))
    return tuple(math.exp(float(brentq(gap, a, b))) for a, b in pairwise(cuts) if gap(a) * gap(b) < 0)  # pyright: ignore[reportArgumentType]
