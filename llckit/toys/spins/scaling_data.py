"""Observables of a system over sizes and values of a control parameter, from moments of independent replicas."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Array", "ScalingData", "from_moments"]

Array = NDArray[np.float64]


class ScalingData(NamedTuple):
    """Observables of one system over sizes and values of a control parameter: arrays of equal length, one row a point.

    N is the number of sites and not the length of a lattice's side, since ν* belongs to N. A column is NaN if the
    system has no such observable; an `_se` is NaN if the value is exact. The susceptibility is N<m²> and not the
    variance N(<m²> − <|m|>²), for reasons in docs/notes/scaling_data.md. Both are moments of the same m, so γ/ν* = 1 −
    2β/ν* tests nothing if γ/ν* comes from this column.

    Attributes:
        size: Number of sites N.
        control: Control parameter: temperature T, occupation probability, or what the function that made the data says.
        order_parameter: <|m|>.
        susceptibility: N<m²>.
        specific_heat: N(<e²> − <e>²)/T², with e the energy per site.
        binder: 1 − d<m⁴>/((d + 2)<m²>²) for m with d components; at d = 1 Binder's 1 − <m⁴>/(3<m²>²)
            (Z. Phys. B 43, 1981). It is 0 for a Gaussian m and 2/(d + 2) for |m| without fluctuations.
        energy: <e>.
        order_parameter_se: Standard error of `order_parameter`.
        susceptibility_se: Standard error of `susceptibility`.
        specific_heat_se: Standard error of `specific_heat`.
        binder_se: Standard error of `binder`.
        energy_se: Standard error of `energy`.
    """

    size: Array
    control: Array
    order_parameter: Array
    susceptibility: Array
    specific_heat: Array
    binder: Array
    energy: Array
    order_parameter_se: Array
    susceptibility_se: Array
    specific_heat_se: Array
    binder_se: Array
    energy_se: Array


def from_moments(
    size: ArrayLike, control: ArrayLike, moments: Array, temperature: ArrayLike = 1.0, components: int = 1
) -> ScalingData:
    """Observables from moments of independent replicas, with jackknife errors (Efron, Ann. Stat. 7, 1979).

    se² = (R − 1)/R Σ_r (θ_r − mean θ)², where θ_r is the observable of the moments averaged over all replicas but r.

    Args:
        size: Number of sites N, shape (points,).
        control: Control parameter, shape (points,).
        moments: <|m|>, <m²>, <m⁴>, <e>, <e²> in each replica, shape (points, replicas, 5); one replica counts as exact.
        temperature: Temperature T of the specific heat, shape (points,) or a scalar.
        components: Number of components d of the order parameter.

    Returns:
        The data.
    """
    size, control, temperature = (np.asarray(array, dtype=np.float64) for array in (size, control, temperature))
    replicas = moments.shape[1]
    values = _observables(size, temperature, moments.mean(axis=1), components)
    if replicas == 1:
        return ScalingData(size, control, *values, *np.full_like(values, np.nan))
    without = (moments.sum(axis=1, keepdims=True) - moments) / (replicas - 1)
    left_out = np.stack([_observables(size, temperature, without[:, r], components) for r in range(replicas)])
    errors = np.sqrt((replicas - 1) * left_out.var(axis=0))
    return ScalingData(size, control, *values, *errors)


def _observables(size: Array, temperature: Array, moments: Array, components: int) -> Array:
    m1, m2, m4, e1, e2 = moments.T
    with np.errstate(invalid="ignore"):  # without a cumulant where m is 0 throughout
        cumulant = 1 - components * m4 / ((components + 2) * m2**2)
    return np.stack([m1, size * m2, size * (e2 - e1**2) / temperature**2, cumulant, e1])
