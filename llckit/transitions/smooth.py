"""A Gaussian-process smooth of one curve, with posterior draws of its value and of its slope.

The curve is a smoothing spline with locally adapted smoothness (`spline_model`), and jumps between neighbouring
observations where the evidence asks for them (`find_jumps`). The level of the noise is estimated from the scatter
between neighbouring points.

That does not see errors which neighbours share, such as those of chains that use the same random numbers at all
checkpoints. If they are known (`shared_noise`), they are one more Gaussian part of the observations, told apart from
the curve by their covariance.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llckit.transitions.find_jumps import find_jumps
from llckit.transitions.spline_model import SplineModel, spline_basis

__all__ = ["Jump", "Smooth", "fit_smooth"]

Array = NDArray[np.float64]

NUM_DRAWS = 1000
REFIT_WIDENING = 1.15  # for the bias of the smooth, which refits share: 92 % in benchmarks/detector/transitions.py
HEIGHT_WIDENING = 1.06  # for smoothness and noise that were chosen on the same data: benchmarks/detector/jumps.py


@dataclass(frozen=True)
class Jump:
    """A jump of a curve between two neighbouring observations.

    Attributes:
        before: Index of the observation before it.
        low: Place of the observation before it.
        high: Place of the observation after it.
        height: Posterior mean of its height.
        height_draws: Posterior draws of its height, shape `(draws,)`.
        place_draws: Draws of its place, uniform in the gap since nobody looked there, shape `(draws,)`.
    """

    before: int
    low: float
    high: float
    height: float
    height_draws: Array
    place_draws: Array


@dataclass(frozen=True)
class Smooth:
    """The posterior of a curve on a grid.

    Attributes:
        x: The grid, shape `(grid,)`.
        value: Posterior mean of the curve, shape `(grid,)`. A jump is in the middle of its gap.
        slope: Posterior mean of its derivative with respect to `x`, jumps left out, shape `(grid,)`.
        value_draws: Joint posterior draws of the curve, shape `(draws, grid)`.
        slope_draws: The derivatives of the same draws, shape `(draws, grid)`.
        slope_refits: Posterior means of the derivative for noise drawn again, shape `(draws, grid)`.
        noise: Estimated standard deviation of each observation about the curve, shape `(observations,)`.
        jumps: The jumps between neighbouring observations, ascending.
    """

    x: Array
    value: Array
    slope: Array
    value_draws: Array
    slope_draws: Array
    slope_refits: Array
    noise: Array
    jumps: tuple[Jump, ...] = ()

    def peak_draws(self, peak: int, first: int, last: int) -> Array:
        """Where the curve is steepest if the noise is drawn again.

        Posterior draws would not do: they are rougher than runs are, and their steepest points scatter twice as far as
        those of planted transitions are from the truth.

        Args:
            peak: Index of the grid point where it is.
            first: The first grid point that may be it.
            last: The last one.

        Returns:
            Places, shape `(draws,)`.
        """
        inside = np.sign(self.slope[peak]) * self.slope_refits[:, first : last + 1]
        return self.x[peak] + REFIT_WIDENING * (self.x[first + inside.argmax(axis=1)] - self.x[peak])


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
    level = centre / scale
    found = find_jumps(model, x, level, model.most_probable(level, noise_grows))
    fit = found.optimum.fit
    rng = np.random.default_rng(seed)
    draws = fit.weights + rng.standard_normal((NUM_DRAWS, len(fit.weights))) @ fit.inverse_factor
    again = np.sqrt(fit.variance) * rng.standard_normal((NUM_DRAWS, len(x)))
    again += rng.standard_normal((NUM_DRAWS, shared.shape[1])) @ shared.T
    refits = fit.weights + found.model.solve(fit, again)
    z = (grid - low) / (high - low)
    jumps = slice(len(fit.weights) - len(found.before), None)
    spline = slice(len(fit.weights) - len(found.before) - shared.shape[1])  # what is shared is no part of the curve
    values = scale * fit.scales[spline] * basis(z, 0)
    slopes = scale * fit.scales[spline] / (high - low) * basis(z, 1)
    heights = scale * fit.scales[jumps] * np.vstack([fit.weights[jumps], draws[:, jumps]])
    heights[1:] += (HEIGHT_WIDENING - 1) * (heights[1:] - heights[0])
    before, heights = _without_outliers(found.before, heights)
    ends = np.stack([x[before], x[before + 1]], axis=1)
    places = rng.uniform(ends[:, 0], ends[:, 1], (NUM_DRAWS, len(ends)))
    done = (grid[:, None] > ends.mean(axis=1)).astype(np.float64)
    return Smooth(
        x=grid,
        value=centre + values @ fit.weights[spline] + done @ heights[0],
        slope=slopes @ fit.weights[spline],
        value_draws=centre + draws[:, spline] @ values.T + heights[1:] @ done.T,
        slope_draws=draws[:, spline] @ slopes.T,
        slope_refits=refits[:, spline] @ slopes.T,
        noise=scale * np.sqrt(fit.variance),
        jumps=tuple(
            Jump(int(index), float(low), float(high), float(height[0]), height[1:], place)
            for index, (low, high), height, place in zip(before, ends, heights.T, places.T, strict=True)
        ),
    )


def _without_outliers(before: NDArray[np.intp], heights: Array) -> tuple[NDArray[np.intp], Array]:
    """Jumps without those of single observations that leave the curve: what remains when it is back is one jump.

    Args:
        before: Index of the observation before each jump, ascending.
        heights: Heights, shape `(draws, jumps)`; the first row decides.

    Returns:
        The same for the jumps of the curve.
    """
    kept = np.ones(len(before), dtype=bool)
    for i in range(len(before) - 1):
        if before[i + 1] == before[i] + 1 and heights[0, i] * heights[0, i + 1] < 0:
            kept[i] = False
            heights[:, i + 1] += heights[:, i]
    return before[kept], heights[:, kept]
