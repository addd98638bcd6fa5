"""nβ and γ: with the data they define what is measured, so they are chosen once and reported beside every value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from llckit.checks import check_number, check_positive
from llckit.errors import InputError
from llckit.llc.cost import MODEST, condition, hmc_gradients
from llckit.llc.scale_reason import LocalizationRule, NBetaRule, ScaleReason
from llckit.posterior import Checkpoint, Spectrum, spectrum_gradients

SPECTRUM_OPERATIONS, SPECTRUM_SHARE = 4e10, 0.1  # that the spectrum may cost: 2 s of a core, and of the estimate
CURVATURE_SAMPLES = 4096  # from which the spectrum that chooses γ is taken
CHAINS = 4  # that are thought of when γ is chosen
SPREAD = 1 / 3  # ‖w − w*‖² along flat directions may reach this share of ‖w*‖²
SHRINKAGE = 1e-3  # share of the LLC's regular part that γ may take where that is possible
FARTHEST = 1e-3  # least share of the γ that keeps the chain near w*
GAP, FARTHEST_WITH_GAP = 0.02, 1e-4  # least share of the largest curvature among those seen, and FARTHEST then
SADDLE = 0.1  # a negative curvature beyond that share of the largest: w* is no minimum, and not held by its curvature
RESOLUTION = 1e-4  # curvature below this share of the largest is noise in float32 differences


class Scale(NamedTuple):
    """Where the posterior looks.

    Attributes:
        n_beta: Inverse temperature times the number of samples.
        localization: γ.
        reason: Why they are what they are.
    """

    n_beta: float
    localization: float
    reason: ScaleReason

    def not_searched(self) -> Scale:
        """The same, with the reason that looking for a plateau would cost too much."""
        return self._replace(reason=dataclasses.replace(self.reason, n_beta=NBetaRule.NOT_SEARCHED))


def choose_scale(
    checkpoint: Checkpoint,
    n: int,
    n_beta: float | None = None,
    localization: float | None = None,
    operations: float = math.inf,
) -> Scale:
    """Fill in what the user left open: nβ = n/ln n (Watanabe 2013), and γ from curvature and size of the weights.

    γ is the smaller of two values:

    * γ = dim / (⅓‖w*‖²) keeps chains near w* in units of the weights: flat directions then spread to a third of ‖w*‖².
      At w* = 0 it is 1.
    * Σ tγh/(th+γ)² = 10⁻³ Σ th/(th+γ), with t = nβ and h the Hessian's eigenvalues from at most 4096 samples, takes no
      more than a thousandth of the LLC in regular directions.

    The first decides alone if w* is a saddle, or if the second would let the chain go 30 times as far along flat
    directions (100 times if the whole spectrum is known and has a gap); also if the spectrum would cost over 4·10¹⁰ or
    a tenth of all, or Hamiltonian trajectories of 4 chains more than 2.2·10¹¹ (`hmc_gradients`): then the reason says
    what regular directions lose to it. Without flat directions the curvature holds the chain, and the second decides
    alone.

    Args:
        checkpoint: Where the choice is made.
        n: Number of samples.
        n_beta: nβ given by the user, or None.
        localization: γ given by the user, or None.
        operations: What the whole estimate may cost.

    Returns:
        Both, and the reason.
    """
    check_scale(n, n_beta, localization)
    n_beta_rule = NBetaRule.DEFAULT if n_beta is None else NBetaRule.GIVEN
    t = default_n_beta(n) if n_beta is None else float(n_beta)
    localization_rule, shrinkage = LocalizationRule.GIVEN, 0.0
    if localization is None:
        few = checkpoint.thinned(CURVATURE_SAMPLES)
        norm2 = float(checkpoint.weights.double().square().sum())
        cost = few.gradient_operations(few.samples.n, spectrum_gradients(checkpoint.dim))
        if cost > min(SPECTRUM_OPERATIONS, SPECTRUM_SHARE * operations):
            localization, localization_rule = _near(checkpoint.dim, norm2)
        else:
            localization, localization_rule = _find_localization(t, few.curvature(), norm2)
            gradients = hmc_gradients(condition(t, few.curvature().largest, localization), few.dim)
            near, _ = _near(checkpoint.dim, norm2)
            if near > localization and gradients * few.gradient_operations(few.samples.n, CHAINS) > MODEST:
                localization, localization_rule = near, LocalizationRule.AFFORDABLE
                shrinkage = _shrinkage(*_seen(t, few.curvature()), near)
    return Scale(t, float(localization), ScaleReason(n_beta_rule, localization_rule, shrinkage))


def default_n_beta(n: int) -> float:
    """n/ln n, for n samples."""
    return n / math.log(n)


def check_scale(n: int, n_beta: float | None, localization: float | None) -> None:
    """Refuse values that define nothing.

    Args:
        n: Number of samples, which says what n/ln n would be.
        n_beta: nβ, or None.
        localization: γ, or None.

    Raises:
        InputError: nβ is not a positive number, or γ not a non-negative one.
    """
    if n_beta is not None:
        check_positive("n_beta", n_beta, f", such as n/ln(n) = {default_n_beta(n):.4g}")
    if localization is not None:
        check_number("localization", localization, 0)


def check_ladder(n_beta: Iterable[float]) -> np.ndarray:
    """Refuse what is no ladder of scales.

    Args:
        n_beta: Positive numbers, ascending.

    Returns:
        The rungs as an array, float64, shape (scales,).

    Raises:
        InputError: There are none, one is not a positive number, or they do not ascend.
    """
    try:
        ladder = np.asarray(list(n_beta), dtype=np.float64)
    except (TypeError, ValueError):
        ladder = np.empty(0)
    if ladder.ndim != 1 or not len(ladder) or not (np.isfinite(ladder) & (ladder > 0)).all():
        raise InputError(f"n_beta is {n_beta!r}; expected positive numbers such as [10, 100, 1000]")
    if (np.diff(ladder) <= 0).any():
        raise InputError(f"n_beta is {ladder.tolist()}; expected ascending numbers, each once")
    return ladder


def _near(dim: float, norm2: float) -> tuple[float, LocalizationRule]:
    """The γ that keeps chains near w* in units of the weights."""
    return (dim / (SPREAD * norm2), LocalizationRule.WEIGHTS) if norm2 > 0 else (1.0, LocalizationRule.ZERO_WEIGHTS)


def _seen(t: float, spectrum: Spectrum) -> tuple[np.ndarray, np.ndarray]:
    """The k = th of directions whose curvature stands out of rounding, and how many there are of each."""
    values, weights = spectrum.values.numpy(), spectrum.weights.numpy()
    is_seen = values > RESOLUTION * spectrum.largest
    return t * values[is_seen], weights[is_seen]


def _shrinkage(k: np.ndarray, share: np.ndarray, gamma: float) -> float:
    """What an e times larger γ takes of ½ Σ k/(k + γ), as a share."""
    return float(np.sum(share * k * gamma / (k + gamma) ** 2) / np.sum(share * k / (k + gamma)))


def _find_localization(t: float, spectrum: Spectrum, norm2: float) -> tuple[float, LocalizationRule]:
    dim = float(spectrum.weights.sum())
    k, share = _seen(t, spectrum)
    near, near_rule = _near(dim, norm2)
    if spectrum.largest == 0 or not len(k) or float(spectrum.values.min()) < -SADDLE * spectrum.largest:
        return near, near_rule

    def excess_shrinkage(log_gamma: float) -> float:
        return _shrinkage(k, share, math.exp(log_gamma)) - SHRINKAGE

    low, high = math.log(k.min() * SHRINKAGE / 10), math.log(k.max() * SHRINKAGE * 10)
    flat = math.exp(float(brentq(excess_shrinkage, low, high)))  # pyright: ignore[reportArgumentType]
    is_regular = dim - float(share.sum()) < 0.5
    has_gap = bool((spectrum.weights == 1).all()) and k.min() >= GAP * k.max()
    if is_regular or (FARTHEST_WITH_GAP if has_gap else FARTHEST) * near <= flat <= near:
        return flat, LocalizationRule.SHRINKAGE
    return near, near_rule
