"""Errors that neighbouring checkpoints share, read off chains that used the same random numbers at all of them.

Chain k strays from the mean of the chains by

    d_k(x_i) = s(x_i) [√h g_k(x_i) + √(1 - h) e_ki],   e white,   g a Gaussian process of correlation κ(|x - x'| / ℓ),

independently of the others. s is the chains' standard deviation around each checkpoint; the share h, the length ℓ and
the form κ (exponential or Gaussian) are those of the highest likelihood. So the mean of C chains carries an error of
covariance s(x) s(x') h κ / C, which no smooth of the mean alone can tell from what the run does.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["shared_noise"]

Array = NDArray[np.float64]

BLOCK = 200  # checkpoints whose correlations are looked at together
REACH = 5  # checkpoints on either side that s is averaged over
LENGTHS = np.geomspace(0.005, 8.0, 14)  # ℓ in lengths of the curve; the longest is a level that hardly moves
FINER = np.geomspace(0.6, 1.6, 8)
SHARES = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.99, 0.999])
EVIDENCE = 8.0  # 2 ln of the likelihood ratio that three more parameters need (Akaike's 6, and some for their grid)
KEPT = 0.999  # of the shared variance; the rest is left to the independent noise
MOST_DIRECTIONS = 150


def shared_noise(x: Array, chains: Array) -> Array:
    """A factor B of the covariance B Bᵀ of the error that the mean of the chains shares between checkpoints.

    Args:
        x: Places of the checkpoints, increasing, shape `(checkpoints,)`.
        chains: One curve a chain, shape `(checkpoints, chains)`; checkpoints where one is NaN are told nothing from.

    Returns:
        Shape `(checkpoints, directions)`; no directions where nothing is shared, or fewer than two chains are given.
    """
    known = np.isfinite(chains).all(axis=1)
    if chains.shape[1] < 2 or known.sum() <= 2 * REACH:
        return np.zeros((len(x), 0))
    contrasts = np.linalg.svd(np.ones((1, chains.shape[1])))[2][1:]
    strays = chains[known] @ contrasts.T
    spread = np.interp(x, x[known], _running_spread(strays))
    if not (spread > 1e-12 * np.abs(chains[known]).max()).all():  # chains that agree have no errors to share
        return np.zeros((len(x), 0))
    place = (x - x[0]) / (x[-1] - x[0])
    best = _most_likely(place[known], strays / spread[known, None])
    if best is None:
        return np.zeros((len(x), 0))
    gaussian, length, variance = best
    values, vectors = eigh(_correlation(place, length, gaussian))
    order = np.argsort(values)[::-1][:MOST_DIRECTIONS]
    count = int(np.searchsorted(np.cumsum(values[order]), KEPT * values.sum())) + 1
    kept = order[:count]
    factor = vectors[:, kept] * np.sqrt(np.maximum(values[kept], 0) * variance / chains.shape[1])
    return spread[:, None] * factor


def _running_spread(strays: Array) -> Array:
    total = np.cumsum(np.vstack([np.zeros(strays.shape[1]), strays**2]), axis=0)
    at = np.arange(len(strays))
    first, last = np.maximum(at - REACH, 0), np.minimum(at + REACH + 1, len(strays))
    return np.sqrt(((total[last] - total[first]) / (last - first)[:, None]).mean(axis=1))


def _correlation(place: Array, length: float, gaussian: bool) -> Array:
    distance = np.abs(place[:, None] - place) / length
    return np.exp(-0.5 * distance**2 if gaussian else -distance)


def _most_likely(place: Array, strays: Array) -> tuple[bool, float, float] | None:
    """The form, the length and the shared variance, in units of that of the strays; None if none is shared."""
    blocks = np.array_split(np.arange(len(place)), -(-len(place) // BLOCK))
    lowest, best = strays.size * np.log(np.mean(strays**2)) - EVIDENCE, None
    for gaussian in (False, True):
        for length in LENGTHS:
            cost, variance = _cost(place, strays, blocks, length, gaussian)
            if cost < lowest:
                lowest, best = cost, (gaussian, length, variance)
    if best is None:
        return None
    gaussian, around, _ = best  # a length that is off by a third makes a smooth error look like a move of the run
    for length in around * FINER:
        cost, variance = _cost(place, strays, blocks, length, gaussian)
        if cost < lowest:
            lowest, best = cost, (gaussian, float(length), variance)
    return best


def _cost(
    place: Array, strays: Array, blocks: list[NDArray[np.intp]], length: float, gaussian: bool
) -> tuple[float, float]:
    """-2 ln(likelihood) of the best share at that length, up to a constant, and the shared variance it means."""
    spectra = [eigh(_correlation(place[block], length, gaussian)) for block in blocks]
    values = np.concatenate([np.maximum(value, 0) for value, _ in spectra])
    power = np.concatenate([(vectors.T @ strays[b]) ** 2 for (_, vectors), b in zip(spectra, blocks, strict=True)])
    expected = SHARES[:, None] * values + 1 - SHARES[:, None]  # (shares, directions)
    size = (power.sum(axis=1) / expected).mean(axis=1) / strays.shape[1]
    cost = strays.size * np.log(size) + strays.shape[1] * np.log(expected).sum(axis=1)
    return float(cost.min()), float((SHARES * size)[cost.argmin()])
