"""λ from a ladder of nβ without a plateau, at a point whose multiplicity is known: what λ̂ tends to."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from llckit.errors import InputError

LEAST = 5  # rungs
MOST = 4  # m
POWERS = (0.25, 0.5, 1.0)  # of nβ, with which λ̂ may approach λ where m = 1
OFFSETS = np.geomspace(2.0, 60.0, 2000)  # what ln nβ + b may be at the lowest rung
TRUNCATION = 0.003  # of λ: how well the laws hold for the toys with a closed form


class Limit(NamedTuple):
    """What λ̂ tends to for nβ → ∞.

    Attributes:
        llc: λ.
        se: Its standard error.
        chi2: Squared distance of the best law from the rungs in standard errors, Σ (λ̂ − law)²/mcse². Laws of other m
            often fit as well, so a good fit is no evidence for m; a bad one is evidence against it.
    """

    llc: float
    se: float
    chi2: float


def ladder_limit(n_beta: np.ndarray, llc: np.ndarray, mcse: np.ndarray, multiplicity: int) -> Limit:
    """λ from a ladder of scales, given m.

    Z(t) = ∫ exp(−tK) φ dw ~ C t^(−λ) (ln t)^(m−1) (Watanabe 2009, chapter 4), so that t E[K] = −∂ ln Z/∂ ln t is
    λ − (m − 1)/(ln t + b) up to powers of 1/t. For m >= 2 least squares give λ at 2000 values of b, for m = 1 they give
    λ and c in λ − c t^(−a) at a = ¼, ½ and 1; these are averaged with weights exp(−χ²/2), and their spread is part of
    the error, as are 0.3 % of λ for what the laws leave out.

    m cannot be left open: over four decades and at errors of 1 % logarithms and slow powers fit equally well, while
    their limits differ by 10 % (w₁²w₂²: 0.50 for m = 2, 0.44 for m = 1).

    Args:
        n_beta: t, ascending, shape (rungs,).
        llc: λ̂, likewise.
        mcse: Its standard error.
        multiplicity: m, 1 to 4.

    Returns:
        The limit.

    Raises:
        InputError: Fewer than five rungs, values that are not finite, or an m that is none of 1 to 4.
    """
    if len(n_beta) < LEAST or not np.isfinite([n_beta, llc, mcse]).all() or (np.asarray(mcse) <= 0).any():
        raise InputError(f"{len(n_beta)} rungs; expected at least {LEAST}, with finite λ̂ and positive errors")
    if multiplicity not in range(1, MOST + 1):
        raise InputError(f"multiplicity is {multiplicity!r}; expected an integer from 1 to {MOST}")
    t = np.asarray(n_beta) / n_beta[0]
    if multiplicity == 1:
        found = []
        for power in POWERS:
            design = np.stack([np.ones_like(t), -(t**-power)], axis=1) / mcse[:, None]
            covariance = np.linalg.inv(design.T @ design)
            fit = covariance @ design.T @ (llc / mcse)
            found.append((fit[0], covariance[0, 0], np.square(llc / mcse - design @ fit).sum()))
        means, variances, chi2 = np.array(found).T
    else:
        weights = 1 / np.square(mcse)
        values = llc + (multiplicity - 1) / (np.log(t) + OFFSETS[:, None])
        means = values @ weights / weights.sum()
        variances = np.full_like(means, 1 / weights.sum())
        chi2 = np.square(values - means[:, None]) @ weights
    share = np.exp((chi2.min() - chi2) / 2)
    share /= share.sum()
    mean = float(share @ means)
    variance = share @ (variances + np.square(means - mean)) + (TRUNCATION * mean) ** 2
    return Limit(mean, math.sqrt(variance), float(chi2.min()))
