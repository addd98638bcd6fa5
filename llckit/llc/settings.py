"""nβ and γ: with the data they define what is measured, so they are chosen once and reported beside every value."""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Point, Spectrum, Task, curvature, saved_bytes

CURVATURE_SAMPLES = 4096  # from which the spectrum that chooses γ is taken
SPREAD = 1 / 3  # ‖w − w*‖² along flat directions may reach this share of ‖w*‖²
SHRINKAGE = 1e-3  # what γ may take from the LLC's regular part where that is possible
FARTHEST = 1e-3  # … without going below this share of the γ that keeps the chain near w*
GAP, FARTHEST_WITH_GAP = 0.02, 1e-4  # … where all curvature seen is above that share of the largest, below this one
SADDLE = 0.1  # a negative curvature beyond that share of the largest: w* is no minimum, and not held by its curvature
RESOLUTION = 1e-4  # curvature below this share of the largest is noise in float32 differences


FEWEST, MOST = 8, 256  # chains
SMALL_STATE, SMALL_PASS = 2**16, 2**18  # numbers and bytes below which more chains cost next to nothing


class Scale(NamedTuple):
    """Where the posterior looks.

    Attributes:
        n_beta: Inverse temperature times the number of samples.
        localization: γ.
        rule: How they were chosen, in words.
    """

    n_beta: float
    localization: float
    rule: str


def choose_scale(task: Task, point: Point, n_beta: float | None = None, localization: float | None = None) -> Scale:
    """Fill in what the user left open.

    nβ = n/ln n (Watanabe 2013). γ is the smaller of two: the one that keeps chains near w* in units of the weights,
    γ = dim / (⅓‖w*‖²) (flat directions then spread to a third of ‖w*‖²), and the one that takes no more than a
    thousandth of the LLC in regular directions, Σ tγh/(th+γ)² = 10⁻³ Σ th/(th+γ), t = nβ, over the Hessian's
    eigenvalues h, of 4096 samples at most. Where the second would let the chain go 30 times as far along flat
    directions (100 times, where the whole spectrum is known and has a gap), or w* is a saddle, the first decides;
    without flat directions the curvature holds the chain, and the second does. At w* = 0 the first is γ = 1.

    Args:
        task: Model, data and loss.
        point: The checkpoint the choice is made at.
        n_beta: Given by the user, or None.
        localization: Likewise.

    Returns:
        Both, and the rule.
    """
    check_scale(task, n_beta, localization)
    rules = ["n_beta given" if n_beta is not None else "n_beta = n/ln(n)"]
    t = _default_n_beta(task.n) if n_beta is None else float(n_beta)
    if localization is None:
        few = point.thinned(CURVATURE_SAMPLES)
        posterior = LocalPosterior(task, few, n_beta=t, localization=0.0, rows=1)
        localization, rule = _find_localization(t, curvature(posterior), float(point.weights.double().square().sum()))
        rules.append(rule)
    else:
        rules.append("localization given")
    return Scale(t, float(localization), "; ".join(rules))


def check_scale(task: Task, n_beta: float | None, localization: float | None) -> None:
    """Refuse values that define nothing.

    Args:
        task: Says what n/ln n would be.
        n_beta: nβ, or None.
        localization: γ, or None.

    Raises:
        InputError: nβ is not a positive number, or γ not a non-negative one.
    """
    if n_beta is not None and not (_is_number(n_beta) and n_beta > 0):
        raise InputError(
            f"n_beta is {n_beta!r}; expected a positive number, such as n/ln(n) = {_default_n_beta(task.n):.4g}"
        )
    if localization is not None and not (_is_number(localization) and localization >= 0):
        raise InputError(f"localization is {localization!r}; expected a number >= 0")


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def choose_num_chains(task: Task, point: Point) -> int:
    """8 chains, or up to 256 while one batched gradient is so small that its cost is the call, not the arithmetic.

    Args:
        task: Model, data and loss.
        point: A checkpoint.

    Returns:
        The number of chains.
    """
    pass_bytes = max(1, task.samples.n * saved_bytes(task, point))
    return int(np.clip(min(SMALL_STATE // task.dim, SMALL_PASS // pass_bytes), FEWEST, MOST))


def _default_n_beta(n: int) -> float:
    return n / math.log(n)


def _find_localization(t: float, spectrum: Spectrum, norm2: float) -> tuple[float, str]:
    dim = float(spectrum.weights.sum())
    values, weights = spectrum.values.numpy(), spectrum.weights.numpy()
    seen = values > RESOLUTION * spectrum.largest
    near = dim / (SPREAD * norm2) if norm2 > 0 else 1.0
    near_rule = "localization from the size of the weights" if norm2 > 0 else "localization 1, as all weights are 0"
    if spectrum.largest == 0 or not seen.any() or values.min() < -SADDLE * spectrum.largest:
        return near, near_rule
    k, share = t * values[seen], weights[seen]

    def excess_shrinkage(log_gamma: float) -> float:
        gamma = math.exp(log_gamma)
        return float(np.sum(share * k * gamma / (k + gamma) ** 2) / np.sum(share * k / (k + gamma))) - SHRINKAGE

    low, high = math.log(k.min() * SHRINKAGE / 10), math.log(k.max() * SHRINKAGE * 10)
    flat = math.exp(float(brentq(excess_shrinkage, low, high)))  # pyright: ignore[reportArgumentType]
    regular = dim - float(share.sum()) < 0.5
    has_gap = bool((weights == 1).all()) and k.min() >= GAP * k.max()
    if regular or (FARTHEST_WITH_GAP if has_gap else FARTHEST) * near <= flat <= near:
        return flat, "localization shrinks regular directions by 0.1 %"
    return near, near_rule
