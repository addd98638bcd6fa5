"""Errors that neighbouring checkpoints share, estimated from chains that used the same random numbers at all of them.

Chain k deviates from the mean of the chains by

    d_k(x_i) = s(x_i) [√h g_k(x_i) + √(1 - h) e_ki],   e white,   g a Gaussian process of correlation κ(|x - x'| / ℓ),

independently of the other chains. s is the chains' standard deviation around each checkpoint. The share h, the length ℓ
and the form κ (exponential or Gaussian) are those of the highest likelihood. The mean of C chains then carries an error
of covariance s(x) s(x') h κ / C. A smooth of the mean alone cannot tell that error from what the run does.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["shared_noise"]

Array = NDArray[np.float64]

BLOCK = 200  # checkpoints whose correlations are considered together
REACH = 5  # checkpoints on either side that s is averaged over
LENGTHS = np.geomspace(0.005, 8.0, 14)  # ℓ in lengths of the curve; the longest is a level that hardly moves
FINER = np.geomspace(0.6, 1.6, 8)
SHARES = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99, 0.999])
EVIDENCE = 8.0  # 2 ln of the likelihood ratio that three more parameters need (Akaike's 6, and some for their grid)
KEPT = 0.999  # share of the shared variance that is described; the rest is left to the independent noise
MOST_DIRECTIONS = 150


class _Sharing(NamedTuple):
    """How chains share errors.

    Attributes:
        form: Correlation κ as a function of the distance in lengths ℓ.
        length: Length ℓ, in lengths of the curve.
        variance: Shared variance, in units of that of the deviations.
    """

    form: Callable[[Array], Array]
    length: float
    variance: float


def shared_noise(x: Array, chains: Array) -> Array:
    """A factor B of the covariance B Bᵀ of the error that the mean of the chains shares between checkpoints.

    Args:
        x: Places of the checkpoints, increasing, shape `(checkpoints,)`.
        chains: λ̂ of each chain, shape `(checkpoints, chains)`. Checkpoints with a NaN are left out of the estimate.

    Returns:
        The factor, shape `(checkpoints, directions)`; no directions if nothing is shared or there are fewer than two
        chains.
    """
    known = np.isfinite(chains).all(axis=1)
    if chains.shape[1] < 2 or known.sum() <= 2 * REACH:
        return np.zeros((len(x), 0))
    contrasts = np.linalg.svd(np.ones((1, chains.shape[1])))[2][1:]
    deviations = chains[known] @ contrasts.T
    spread = np.interp(x, x[known], _running_spread(deviations))
    if not (spread > 1e-12 * np.abs(chains[known]).max()).all():  # chains that agree have no errors to share
        return np.zeros((len(x), 0))
    place = (x - x[0]) / (x[-1] - x[0])
    best = _most_likely(place[known], deviations / spread[known, None])
    if best is None:
        return np.zeros((len(x), 0))
    values, vectors = eigh(_correlation(place, best.form, best.length))
    order = np.argsort(values)[::-1][:MOST_DIRECTIONS]
    count = int(np.searchsorted(np.cumsum(values[order]), KEPT * values.sum())) + 1
    kept = order[:count]
    factor = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0) * best.variance / chains.shape[1])
    return spread[:, None] * factor


def _running_spread(deviations: Array) -> Array:
    """The standard deviation around each checkpoint."""
    total = np.cumsum(np.vstack([np.zeros(deviations.shape[1]), deviations**2]), axis=0)
    at = np.arange(len(deviations))
    first, last = np.maximum(at - REACH, 0), np.minimum(at + REACH + 1, len(deviations))
    return np.sqrt(((total[last] - total[first]) / (last - first)[:, None]).mean(axis=1))


def _exponential(distance: Array) -> Array:
    return np.exp(-distance)


def _gaussian(distance: Array) -> Array:
    return np.exp(-0.5 * distance**2)


def _correlation(place: Array, form: Callable[[Array], Array], length: float) -> Array:
    return form(np.abs(place[:, None] - place) / length)


def _most_likely(place: Array, deviations: Array) -> _Sharing | None:
    """The sharing of the highest likelihood; None if there is not enough evidence for any."""
    blocks = np.array_split(np.arange(len(place)), -(-len(place) // BLOCK))
    lowest, best = deviations.size * np.log(np.mean(deviations**2)) - EVIDENCE, None
    for form in (_exponential, _gaussian):
        for length in LENGTHS:
            cost, variance = _cost(place, deviations, blocks, form, length)
            if cost < lowest:
                lowest, best = cost, _Sharing(form, length, variance)
    if best is None:
        return None
    form = best.form
    for length in best.length * FINER:  # a length that is off by a third makes a smooth error look like a move
        cost, variance = _cost(place, deviations, blocks, form, length)
        if cost < lowest:
            lowest, best = cost, _Sharing(form, float(length), variance)
    return best


def _cost(
    place: Array, deviations: Array, blocks: list[NDArray[np.intp]], form: Callable[[Array], Array], length: float
) -> tuple[float, float]:
    """-2 ln(likelihood) of the best share at that length, up to a constant, and the shared variance it means."""
    spectra = [eigh(_correlation(place[block], form, length)) for block in blocks]
    values = np.concatenate([np.maximum(value, 0) for value, _ in spectra])
    power = np.concatenate([(vectors.T @ deviations[b]) ** 2 for (_, vectors), b in zip(spectra, blocks, strict=True)])
    expected = SHARES[:, None] * values + 1 - SHARES[:, None]  # (shares, directions)
    size = (power.sum(axis=1) / expected).mean(axis=1) / deviations.shape[1]
    cost = deviations.size * np.log(size) + deviations.shape[1] * np.log(expected).sum(axis=1)
    return float(cost.min()), float((SHARES * size)[cost.argmin()])
