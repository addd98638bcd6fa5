"""The minimum of a function with many local ones, and a cloud of points that covers the valley around it."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from llckit.criticality.arrays import Array

__all__ = ["descend", "ensemble_search"]

WALKERS = 30
SETTLING_SWEEPS = 30
CLOUD_SWEEPS = 50
TEMPERATURE = 6.0  # of the cloud: the minima of resampled data must lie inside it


def descend(function: Callable[[Array], float], start: Array, step: Array) -> tuple[Array, float]:
    """The nearest local minimum by the simplex method of Nelder and Mead.

    Args:
        function: Function of theta that is minimised.
        start: Where the search starts, shape (3,).
        step: Edges of the first simplex, shape (3,).

    Returns:
        The minimum, shape (3,), and the function's value there.
    """
    simplex = start + np.vstack([np.zeros(3), np.diag(step)])
    options = {"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-7}
    found = minimize(function, start, method="Nelder-Mead", options=options)
    return found.x, float(found.fun)


def ensemble_search(
    function: Callable[[Array], float], start: Array, step: Array, random: np.random.Generator
) -> tuple[Array, Array]:
    """The lowest minimum, and a cloud of theta around it that holds the minima of resampled data.

    The cloud is an affine-invariant ensemble (Goodman and Weare, Commun. Appl. Math. Comput. Sci. 5, 65, 2010) at
    a raised temperature: it follows narrow and curved valleys of any scale without tuning.

    Args:
        function: The deviance of theta, shape (3,); infinite outside the allowed region.
        start: Centre of the walkers' first positions, shape (3,).
        step: Width of the walkers' first positions, shape (3,).
        random: Source of randomness.

    Returns:
        The minimum, shape (3,), and the cloud with the minimum first, shape (m, 3).
    """
    position = start + step * random.uniform(-0.5, 0.5, (WALKERS, 3))
    level = np.array([function(theta) for theta in position])
    best, lowest = start, function(start)
    halves = np.arange(WALKERS // 2), np.arange(WALKERS // 2, WALKERS)
    cloud = []
    for sweep in range(SETTLING_SWEEPS + CLOUD_SWEEPS):
        for movers, others in (halves, halves[::-1]):
            for walker, partner in zip(movers, random.choice(others, len(movers)), strict=True):
                factor = (1 + random.random()) ** 2 / 2  # of the distance to the partner
                theta = position[partner] + factor * (position[walker] - position[partner])
                proposed = function(theta)
                threshold = 2 * TEMPERATURE * (np.log(random.random()) - 2 * np.log(factor))
                if not np.isfinite(proposed) or level[walker] - proposed <= threshold:
                    continue
                position[walker], level[walker] = theta, proposed
                if proposed < lowest:
                    best, lowest = theta, proposed
                if sweep >= SETTLING_SWEEPS:
                    cloud.append(theta)
    best, _ = descend(function, best, position.std(axis=0) / 10)
    return best, np.array([best, *cloud])
