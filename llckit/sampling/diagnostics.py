"""R-hat, effective sample size and Monte Carlo standard error of draws from several chains.

They follow Vehtari, Gelman, Simpson, Carpenter & Bürkner (Bayesian Analysis 16, 2021; arXiv 1903.08008) and agree with
ArviZ to rounding. Draws are arrays of shape (draws, chains), float64. Every chain is split in two first.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from llckit.errors import InputError

Z95 = 1.959963984540054
MIN_DRAWS = 4
RHAT_LIMIT = 1.4  # √2: means of chains scatter as much as single draws
VIRIAL_TOLERANCE = 0.05  # of (w − w*)·∇U against dim: chains below have yet to spread along flat directions
FALLEN = 5.0  # standard errors below zero
DRIFT_LIMIT = 4.0  # standard errors between the means of the first and the second half
FEW = 40.0  # effective draws, below which their number of degrees of freedom counts
STRETCHES = 5  # of time, whose means are compared
SURE = 0.99  # of how widely means scatter by chance: beyond that the autocorrelation does not explain it
REGULAR = 0.99  # of the variance of the excess that the virial explains, from which on the posterior is regular
SEEN = 1 / 6  # standard error of the virial at which one direction that is not explored shows beyond doubt
EXPLORED = 200  # steps with long trajectories after which flat directions that are still not crossed matter no more


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


def error_of_mean(draws: np.ndarray) -> float:
    """Standard error of the mean that allows for what the autocorrelation does not explain.

    It is `mcse_mean`, unless means of chains, or of five stretches of time, scatter more than that explains (99 % of
    χ²). Then it is the error of their mean s/√k. Chains scatter more if they have not mixed; stretches do if something
    moves all chains alike: a drift, or the lengths of trajectories, which they share.

    For k such means, and for fewer than 40 effective draws, the error is multiplied by t/1.96, with the 97.5 % point t
    of Student's law for k − 1 (or one less than their number) degrees of freedom: ± 1.96 errors are his 95 % interval.

    Args:
        draws: Shape (draws, chains).

    Returns:
        The standard error, in the unit of the draws; NaN if a draw is not finite or all are equal.
    """
    explained, ess = mcse_mean(draws), ess_mean(draws)
    error = explained * (_student(max(ess - 1, 1.0)) if ess < FEW else 1.0)
    stretches = [stretch.mean() for stretch in np.array_split(draws, min(STRETCHES, len(draws)))]
    for means in (draws.mean(axis=0), np.array(stretches)):
        freedom = len(means) - 1
        scatter = float(means.std(ddof=1)) / math.sqrt(len(means)) if freedom else 0.0
        if scatter > explained * math.sqrt(stats.chi2.ppf(SURE, max(freedom, 1)) / max(freedom, 1)):
            error = max(error, scatter * _student(freedom))
    return error


def controlled(excess: np.ndarray, virial: np.ndarray, dim: int) -> np.ndarray:
    """The excess with the virial as its control variate, where the posterior is regular.

    (w − w*)·∇U has the mean `dim` under the posterior, by partial integration, so that e − b ((w − w*)·∇U − dim) has
    the mean of the excess e at any b, and least variance at b = Cov/Var. About a regular minimum nothing is left of the
    variance, nor where L − L(w*) is homogeneous. Elsewhere flat directions that chains explore slowly are missing from
    both means, and a bias would take the place of the variance. So it is used if the virial explains 99 % of the
    variance, is known to ±1/6, and equals `dim` within three standard errors: a direction that chains have not seen
    would be missing from it by 1.

    Args:
        excess: nβ (L(w) − L(w*)), shape (draws, chains).
        virial: (w − w*)·∇U(w), shape (draws, chains).
        dim: Number of sampled parameters.

    Returns:
        Draws whose mean is λ̂, shape (draws, chains); the excess itself where the virial is not used.
    """
    if not (np.isfinite(virial).all() and np.ptp(virial) > 0 and np.ptp(excess) > 0):
        return excess
    deviation = virial - virial.mean()
    slope = float((deviation * excess).mean() / np.square(deviation).mean())
    left = excess - slope * (virial - dim)
    if not left.var() <= (1 - REGULAR) * excess.var():
        return excess
    error = mcse_mean(virial)
    return left if error <= SEEN and abs(float(virial.mean()) - dim) <= 3 * error else excess


def _student(freedom: float) -> float:
    return float(stats.t.ppf(0.975, freedom)) / Z95


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


def drifts(excess: np.ndarray) -> bool:
    """Whether the mean of the excess changes from the first half of the draws to the second by four standard errors.

    Args:
        excess: nβ (L(w) − L(w*)), shape (draws, chains).

    Returns:
        Whether it does; never for a single chain.
    """
    half = len(excess) // 2
    change = excess[-half:].mean(axis=0) - excess[:half].mean(axis=0)
    chains = len(change)
    return chains > 1 and abs(change.mean()) > DRIFT_LIMIT * change.std(ddof=1) / math.sqrt(chains)


def mixed(excess: np.ndarray) -> bool:
    """Whether the mean of the excess shows no longer that all chains started at w*: R-hat is at most 1.4, and no drift.

    Args:
        excess: nβ (L(w) − L(w*)), shape (draws, chains).

    Returns:
        Whether both hold.
    """
    return rhat(excess) <= RHAT_LIMIT and not drifts(excess)


def settled(excess: np.ndarray, virial: np.ndarray, dim: int) -> bool:
    """Whether chains that all started at w* have forgotten it, as far as their draws can tell.

    They have `mixed`, and the virial E[(w − w*)·∇U], which is `dim` under the posterior, is not below it by more than
    5 % and three standard errors.

    Args:
        excess: nβ (L(w) − L(w*)), shape (draws, chains).
        virial: (w − w*)·∇U(w), shape (draws, chains).
        dim: Number of sampled parameters.

    Returns:
        Whether both hold.
    """
    return mixed(excess) and spread(virial, dim) > 1 - VIRIAL_TOLERANCE


def explored(steps: int, turning_length: float, virial: float, llc: float) -> bool:
    """Whether chains have gone so far along flat directions that what is left of them does not change λ̂.

    Chains spread along a direction at a rate proportional to its precision, so those that γ alone holds come last. In
    deep linear nets at nβ = 1086 and γ = 1 the virial is a tenth to a half of `dim` when λ̂ has long been right. It was
    wrong after warm-ups that had been cut short, or while the virial was below twice what the loss alone gives, 2 λ̂.

    Args:
        steps: Steps before the draws.
        turning_length: Leapfrogs after which chains turn back; 0 if the sampler has no long trajectories.
        virial: E[(w − w*)·∇U].
        llc: λ̂.

    Returns:
        Whether they have made at least 200 steps, with long trajectories among them, and the virial is at least 4 λ̂.
    """
    return steps >= EXPLORED and turning_length > 0 and virial >= 4 * abs(llc)


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
