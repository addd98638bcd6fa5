"""Maxima of the marginal likelihood of a joint collapse, for many data sets at once."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.master_curve import MasterCurve

__all__ = ["LOG_OMEGA", "maximise_likelihood", "own_parameters"]

LOG_OMEGA, LOG_OMEGA_SPREAD = float(np.log(0.7)), 0.05  # the prior of ln ω, see `joint_collapse`
LOW, HIGH = np.array([0.0, -0.2, np.log(0.25)]), np.array([1.0, 5.0, np.log(1.5)])  # of (c*, κ, ln ω)
RATIO_BOUND = 4.0
SETTLED = 1e-5  # in units of the log likelihood


def own_parameters(theta: Array, k: int) -> Array:
    """The parameters of one observable, (c*, κ, ln ω, r), from those of all.

    Args:
        theta: (c*, κ, ln ω, r of each observable), shape (…, 3 + observables).
        k: Index of the observable.

    Returns:
        Its parameters, shape (…, 4).
    """
    return theta[..., [0, 1, 2, 3 + k]]


def maximise_likelihood(
    curves: Sequence[MasterCurve], theta: Array, samples: Sequence[Array], free: NDArray[np.bool_], steps: int
) -> tuple[Array, Array]:
    """Maxima of the marginal likelihood of R data sets at once, by Levenberg and Marquardt's method.

    Args:
        curves: The observables, with their splines chosen.
        theta: Where the ascent starts, shape (R, 3 + observables).
        samples: Weighted values of each observable, shape (R, n).
        free: Whether each parameter is fitted, shape (3 + observables,).
        steps: Largest number of steps.

    Returns:
        The parameters, shape (R, 3 + observables), and the curvature in the free ones, shape (R, free, free).
    """
    index = np.flatnonzero(free)
    if not len(index):
        return theta, np.zeros((len(theta), 0, 0))
    reach = np.full(len(curves), RATIO_BOUND)
    low, high = np.concatenate([LOW, -reach]), np.concatenate([HIGH, reach])

    def cost_and_derivatives(at: Array) -> tuple[Array, Array, Array]:
        cost, slope = np.zeros(len(at)), np.zeros(at.shape)
        curvature = np.zeros((len(at), at.shape[1], at.shape[1]))
        for k, (curve, sample) in enumerate(zip(curves, samples, strict=True)):
            own = [0, 1, 2, 3 + k]
            fit = curve.linearise(at[:, own], sample)
            cost += (fit.residual**2).sum(axis=1) + fit.log_determinant
            transposed = np.swapaxes(fit.jacobian, 1, 2)
            slope[:, own] += (transposed @ fit.residual[..., None])[..., 0] - fit.log_determinant_slope
            curvature[:, np.array(own)[:, None], own] += transposed @ fit.jacobian
        off = at[:, 2] - LOG_OMEGA
        cost += off**2 / LOG_OMEGA_SPREAD**2
        slope[:, 2] -= off / LOG_OMEGA_SPREAD**2
        curvature[:, 2, 2] += 1 / LOG_OMEGA_SPREAD**2
        return cost, slope[:, index], curvature[:, index[:, None], index]

    cost, slope, curvature = cost_and_derivatives(theta)
    damping = np.full(len(theta), 1e-4)
    identity = np.eye(len(index))
    for _ in range(steps):
        diagonal = np.einsum("rii->ri", curvature)
        scale = damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-290
        trial = theta.copy()
        trial[:, index] += np.linalg.solve(curvature + scale[..., None] * identity, slope[..., None])[..., 0]
        trial = np.clip(trial, low, high)
        new_cost, new_slope, new_curvature = cost_and_derivatives(trial)
        better = new_cost <= cost
        settled = better & (cost - new_cost < SETTLED)
        theta = np.where(better[:, None], trial, theta)
        cost = np.where(better, new_cost, cost)
        slope[better], curvature[better] = new_slope[better], new_curvature[better]
        damping = np.where(better, damping / 10, damping * 10)
        if (settled | (damping > 1e8)).all():
            break
    return theta, curvature
