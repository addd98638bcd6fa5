"""λ and its multiplicity from a ladder of nβ that has no plateau: what λ̂ tends to."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from llckit.errors import InputError

LEAST = 5  # rungs
MULTIPLICITIES = (1, 2, 3, 4)
POWERS = (0.25, 0.5, 1.0)  # of nβ, with which λ̂ may approach λ where m = 1
OFFSETS = np.geomspace(2.0, 60.0, 100)  # what ln nβ + b may be at the lowest rung


class Limit(NamedTuple):
    """What λ̂ tends to for nβ → ∞.

    Attributes:
        llc: λ, averaged over the laws below by how well each fits.
        se: its standard error, the choice between the laws included.
        multiplicity: the most probable m.
        probability: of m = 1, 2, 3, 4.
    """

    llc: float
    se: float
    multiplicity: int
    probability: tuple[float, ...]


def ladder_limit(n_beta: np.ndarray, llc: np.ndarray, mcse: np.ndarray, multiplicity: int | None = None) -> Limit:
    """λ and m from a ladder of scales.

    Z(t) = ∫ exp(−tK) φ dw ~ C t^(−λ) (ln t)^(m−1) (Watanabe 2009, chapter 4), so that t E[K] = −∂ ln Z/∂ ln t is
    λ − (m − 1)/(ln t + b) up to powers of 1/t. For each m = 2, 3, 4 a least-squares fit gives λ at 100 values of b;
    for m = 1 one gives λ and c in λ − c t^(−a) for a = ¼, ½ and 1. They are averaged with weights exp(−χ²/2) 2^(−m),
    equal for all b and a of the same m. A slow power looks like a
    logarithm: to tell m = 1 from m = 2 takes errors below 0.3 % over three decades, and where m is known from theory it
    is better given.

    Args:
        n_beta: t, ascending, shape (rungs,).
        llc: λ̂, likewise.
        mcse: its standard error.
        multiplicity: m where it is known, 1 to 4; None averages over all.

    Returns:
        The limit.

    Raises:
        InputError: fewer than five rungs, values that are not finite, or an m that is none of 1 to 4.
    """
    if len(n_beta) < LEAST or not np.isfinite([n_beta, llc, mcse]).all() or (np.asarray(mcse) <= 0).any():
        raise InputError(f"{len(n_beta)} rungs; expected at least {LEAST}, with finite λ̂ and positive errors")
    if multiplicity is not None and multiplicity not in MULTIPLICITIES:
        raise InputError(f"multiplicity is {multiplicity!r}; expected one of {MULTIPLICITIES}, or None")
    t = np.asarray(n_beta) / n_beta[0]
    found: list[tuple[int, float, float, float]] = []  # m, ln weight, λ, variance
    for power in POWERS:
        design = np.stack([np.ones_like(t), -(t**-power)], axis=1) / mcse[:, None]
        covariance = np.linalg.inv(design.T @ design)
        fit = covariance @ design.T @ (llc / mcse)
        chi2 = float(np.square(llc / mcse - design @ fit).sum())
        found.append((1, -chi2 / 2 - math.log(len(POWERS)), float(fit[0]), float(covariance[0, 0])))
    weights = 1 / np.square(mcse)
    for m in MULTIPLICITIES[1:]:
        values = llc + (m - 1) / (np.log(t) + OFFSETS[:, None])
        means = values @ weights / weights.sum()
        chi2 = np.square(values - means[:, None]) @ weights
        prior = math.log(len(OFFSETS)) + (m - 1) * math.log(2)
        found += [
            (m, -c / 2 - prior, mean, 1 / weights.sum()) for c, mean in zip(chi2.tolist(), means.tolist(), strict=True)
        ]
    table = np.array([row for row in found if multiplicity in (None, row[0])])
    share = np.exp(table[:, 1] - table[:, 1].max())
    share /= share.sum()
    mean = float(share @ table[:, 2])
    variance = float(share @ (table[:, 3] + np.square(table[:, 2] - mean)))
    probability = tuple(float(share[table[:, 0] == m].sum()) for m in MULTIPLICITIES)
    return Limit(mean, math.sqrt(variance), MULTIPLICITIES[int(np.argmax(probability))], probability)
