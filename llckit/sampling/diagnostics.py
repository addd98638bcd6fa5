"""R-hat, effective sample size and Monte Carlo standard error of draws from several chains.

They follow Vehtari, Gelman, Simpson, Carpenter & Bürkner (Bayesian Analysis 16, 2021; arXiv 1903.08008) and agree with
ArviZ to rounding. Draws are arrays of shape (draws, chains), float64. Every chain is split in two first.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from llckit.errors import InputError

MIN_DRAWS = 4
RHAT_GOAL = 1.05  # chains with a larger R-hat are warmed up again
VIRIAL_TOLERANCE = 0.05  # of (w − w*)·∇U against dim: chains below have yet to spread along flat directions
FALLEN = 5.0  # standard errors below zero
DRIFT_LIMIT = 4.0  # standard errors between the means of the first and the second half


def rhat(draws: np.ndarray) -> float:
    """Split rank-normalised R̂ = √(((N−1)/N W + B/N)/W), the larger of bulk and folded.

    Args:
        draws: Shape (draws, chains).

    Returns:
        About 1 if chains agree; NaN if a draw is not finite or all are equal.
    """
    split = _split(draws)
    folded = np.abs(split - np.median(split))
    return max(_plain_rhat(_rank_normal(split)), _plain_rhat(_rank_normal(folded)))


def ess_bulk(draws: np.ndarray) -> float:
    """Effective sample size of the rank-normalised draws.

    Args:
        draws: Shape (draws, chains).

    Returns:
        Number of independent draws that are worth as much; NaN if a draw is not finite or all are equal.
    """
    return _ess(_rank_normal(_split(draws)))


def ess_mean(draws: np.ndarray) -> float:
    """Effective sample size for the mean.

    Args:
        draws: Shape (draws, chains).

    Returns:
        Number of independent draws that estimate the mean as well; NaN if a draw is not finite or all are equal.
    """
    return _ess(_split(draws))


def mcse_mean(draws: np.ndarray) -> float:
    """Monte Carlo standard error of the mean, sd/√ESS.

    Args:
        draws: Shape (draws, chains).

    Returns:
        The standard error, in the unit of the draws; NaN if a draw is not finite or all are equal.
    """
    ess = ess_mean(draws)
    return float(np.std(draws, ddof=1) / np.sqrt(ess)) if ess > 0 else float("nan")


def _split(draws: np.ndarray) -> np.ndarray:
    draws = np.asarray(draws, dtype=float)
    if draws.ndim != 2 or len(draws) < MIN_DRAWS:
        raise InputError(f"shape of draws is {draws.shape}; expected (draws, chains) with at least {MIN_DRAWS} draws")
    half = len(draws) // 2
    return np.hstack([draws[:half], draws[-half:]])


def _rank_normal(draws: np.ndarray) -> np.ndarray:
    if not np.isfinite(draws).all():
        return np.full_like(draws, np.nan)
    ranks = stats.rankdata(draws).reshape(draws.shape)
    return stats.norm.ppf((ranks - 3 / 8) / (draws.size + 1 / 4))


def _plain_rhat(chains: np.ndarray) -> float:
    n = len(chains)
    within = chains.var(axis=0, ddof=1).mean()
    between = n * chains.mean(axis=0).var(ddof=1)
    if not within > 0:
        return float("nan")
    return float(np.sqrt((between / within + n - 1) / n))


def _ess(chains: np.ndarray) -> float:
    n, m = chains.shape
    if not np.isfinite(chains).all() or np.ptp(chains) == 0:
        return float("nan")
    centred = chains - chains.mean(axis=0)
    size = 2 ** math.ceil(math.log2(2 * n))
    power = np.abs(np.fft.rfft(centred, size, axis=0)) ** 2
    autocov = np.fft.irfft(power, size, axis=0)[:n].mean(axis=1) / n
    variance = autocov[0] + chains.mean(axis=0).var(ddof=1)
    rho = 1 - (autocov[0] * n / (n - 1) - autocov) / variance
    # Geyer's initial sequences: the pairs ρ(2t) + ρ(2t+1) while they are positive, then made monotone.
    kept = np.zeros(n)
    kept[0], kept[1] = even, odd = 1.0, rho[1]
    t = 1
    while t < n - 3 and even + odd > 0:
        even, odd = rho[t + 1], rho[t + 2]
        if even + odd >= 0:
            kept[t + 1], kept[t + 2] = even, odd
        t += 2
    last = t - 2
    if even > 0:
        kept[last + 1] = even
    pairs = np.minimum.accumulate(kept[0 : last + 1 : 2] + kept[1 : last + 2 : 2])
    tau = -1 + 2 * pairs.sum() + kept[last + 1]
    return float(n * m / max(tau, 1 / np.log10(n * m)))


def fallen(excess: np.ndarray) -> bool:
    """Whether chains have found lower losses than L(w*), so that w* is no minimum.

    This is so if the mean of their means is negative by more than five standard errors.

    Args:
        excess: nβ (L(w) − L(w*)), shape (draws, chains).

    Returns:
        Whether they have; never for a single chain, whose error is not known.
    """
    means = excess.mean(axis=0)
    return len(means) > 1 and means.mean() < -FALLEN * means.std(ddof=1) / math.sqrt(len(means))


def settled(excess: np.ndarray, virial: np.ndarray, dim: int) -> bool:
    """Whether chains that all started at w* have forgotten it, as far as their draws can tell.

    * R-hat of the excess is at most 1.05.
    * The mean of the excess does not drift: the change from the first half of each chain to the second, averaged over
      chains, is zero within four standard errors.
    * The virial E[(w − w*)·∇U], which is `dim` under the posterior, is not below it by more than 5 % and three standard
      errors.

    Args:
        excess: nβ (L(w) − L(w*)), shape (draws, chains).
        virial: (w − w*)·∇U(w), shape (draws, chains).
        dim: Number of sampled parameters.

    Returns:
        Whether all three hold.
    """
    half = len(excess) // 2
    change = excess[-half:].mean(axis=0) - excess[:half].mean(axis=0)
    chains = len(change)
    drifts = chains > 1 and abs(change.mean()) > DRIFT_LIMIT * change.std(ddof=1) / math.sqrt(chains)
    return rhat(excess) <= RHAT_GOAL and not drifts and spread(virial, dim) > 1 - VIRIAL_TOLERANCE


def spread(virial: np.ndarray, dim: int) -> float:
    """Upper bound on the share of the posterior's spread that chains have reached.

    It is E[(w − w*)·∇U]/dim plus three standard errors.

    Args:
        virial: (w − w*)·∇U(w), shape (draws, chains).
        dim: Number of sampled parameters.

    Returns:
        The bound; 1 or more if they may have reached all of it.
    """
    error = mcse_mean(virial)
    return float(virial.mean() + 3 * (error if math.isfinite(error) else 0.0)) / dim
