"""A Gaussian-process smooth of one curve, with posterior draws of its value and of its slope.

The curve is a smoothing spline with locally adapted smoothness (`spline_model`). The level of the noise is estimated
from the scatter between neighbouring points.

That does not see errors which neighbours share, such as those of chains that use the same random numbers at all
checkpoints. If they are known (`shared_noise`), they are one more Gaussian part of the observations, told apart from
the curve by their covariance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.spline_model import SplineModel, spline_basis

__all__ = ["Smooth", "fit_smooth"]

Array = NDArray[np.float64]

NUM_DRAWS = 1000


@dataclass(frozen=True)
class Smooth:
    """The posterior of a curve on a grid.

    Attributes:
        x: The grid, shape `(grid,)`.
        value: Posterior mean of the curve, shape `(grid,)`.
        slope: Posterior mean of its derivative with respect to `x`, shape `(grid,)`.
        value_draws: Joint posterior draws of the curve, shape `(draws, grid)`.
        slope_draws: The derivatives of the same draws, shape `(draws, grid)`.
        slope_refits: Posterior means of the derivative for noise drawn again, shape `(draws, grid)`.
        noise: Estimated standard deviation of each observation about the curve, shape `(observations,)`.
    """

    x: Array
    value: Array
    slope: Array
    value_draws: Array
    slope_draws: Array
    slope_refits: Array
    noise: Array


def fit_smooth(
    x: Array,
    y: Array,
    grid: Array,
    seed: int = 0,
    *,
    errors: Array | None = None,
    shared: Array | None = None,
    noise_grows: bool = True,
) -> Smooth:
    """Smooth `y` over `x` and draw from the posterior.

    Args:
        x: Places of the observations, not decreasing, shape `(observations,)`.
        y: Observations, finite, shape `(observations,)`.
        grid: Places at which the smooth is wanted, increasing, shape `(grid,)`.
        seed: Seed of the posterior draws.
        errors: Standard errors of the observations up to a common factor, shape `(observations,)`.
        shared: A factor B of the covariance B Bᵀ of errors that observations share, shape `(observations, directions)`.
        noise_grows: Whether the noise may grow with the level, as that of λ̂ and of a loss does. It should be False for
            a curve that rests at 0 before it rises: noise that vanishes there would be so much more probable that the
            rise would pass for noise too.

    Returns:
        The posterior on the grid.
    """
    centre, scale = float(y.mean()), float(y.std())
    if scale <= 1e-12 * np.abs(y).max():  # constant: there is nothing to estimate
        still = np.zeros((NUM_DRAWS, len(grid)))
        return Smooth(grid, still[0] + centre, still[0], still + centre, still, still, np.zeros(len(x)))
    shared = np.zeros((len(x), 0)) if shared is None else shared / scale
    low, high = min(x[0], grid[0]), max(x[-1], grid[-1])
    basis = spline_basis(num_intervals=int(np.clip(2 * len(x), 40, 200)))
    model = SplineModel(basis((x - low) / (high - low), 0), (y - centre) / scale, errors, shared)
    fit = model.most_probable(centre / scale, noise_grows)
    rng = np.random.default_rng(seed)
    draws = fit.weights + rng.standard_normal((NUM_DRAWS, len(fit.weights))) @ fit.inverse_factor
    again = np.sqrt(fit.variance) * rng.standard_normal((NUM_DRAWS, len(x)))
    again += rng.standard_normal((NUM_DRAWS, shared.shape[1])) @ shared.T
    refits = fit.weights + model.solve(fit, again)
    z = (grid - low) / (high - low)
    own = slice(len(fit.weights) - shared.shape[1])  # what observations share is no part of the curve
    values = scale * fit.scales[own] * basis(z, 0)
    slopes = scale * fit.scales[own] / (high - low) * basis(z, 1)
    return Smooth(
        x=grid,
        value=centre + values @ fit.weights[own],
        slope=slopes @ fit.weights[own],
        value_draws=centre + draws[:, own] @ values.T,
        slope_draws=draws[:, own] @ slopes.T,
        slope_refits=refits[:, own] @ slopes.T,
        noise=scale * np.sqrt(fit.variance),
    )
