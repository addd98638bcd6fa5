"""The sample size at which the later of two phases has the lower free energy."""

import math
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

from llckit.errors import InputError

__all__ = ["CASES", "Crossover", "crossover_samples"]

Array = NDArray[np.float64]
Case = Literal["never", "always", "between", "outside"]

CASES: tuple[Case, ...] = ("never", "always", "between", "outside")
DRAWS = 4000
LEVELS = (0.05, 0.95)


@dataclass(frozen=True)
class Crossover:
    """Where the later of two phases wins: `ΔF(n) = n ΔL + Δλ ln n < 0`.

    Attributes:
        case: `never`, `always`, `between` the sizes `lower` and `upper`, or `outside` of them.
        lower: The lesser root of ΔF, between 1 and e; None where there is none. So few samples are beyond what the
            free energy's expansion describes: it completes the case and means nothing by itself.
        upper: The greater root, above e: the crossover. None where there is none.
        lower_interval: Central 90 % interval of `lower` over the draws of the same case; None without a root or
            without standard errors.
        upper_interval: Likewise of `upper`.
        probabilities: Share of the draws in each case; all of it in `case` without standard errors.
    """

    case: Case
    lower: float | None
    upper: float | None
    lower_interval: tuple[float, float] | None
    upper_interval: tuple[float, float] | None
    probabilities: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def crossover_samples(
    delta_loss: float,
    delta_llc: float,
    *,
    delta_loss_se: float | None = None,
    delta_llc_se: float | None = None,
    seed: int = 0,
) -> Crossover:
    """The number of samples n at which the later of two phases comes to win.

    The free energy of a phase is `F = n L + λ ln n + O(ln ln n)` (Watanabe 2009; its use for phases of training: Chen
    et al., arXiv 2310.06301), so the later phase wins where `ΔF = n ΔL + Δλ ln n < 0`, with Δ later minus earlier:

    * ΔL < 0, Δλ ≤ 0: always; ΔL = 0 > Δλ: always, from n = 2 on; ΔL ≥ 0, Δλ ≥ 0: never;
    * ΔL < 0 < Δλ (type A), r = -Δλ/ΔL: always for r ≤ e, else outside of the roots: from the greater one on;
    * ΔL > 0 > Δλ (type B): never for r ≤ e, else between the roots: up to the greater one.

    The roots solve `n = r ln n`: `n = -r W_k(-1/r)` with Lambert's W, k = 0 for the lesser and k = -1 for the greater.
    Errors are propagated by 4000 independent normal draws of ΔL and Δλ.

    Args:
        delta_loss: ΔL, loss of the later phase minus that of the earlier one, per sample.
        delta_llc: Δλ, LLC of the later phase minus that of the earlier one.
        delta_loss_se: Standard error of ΔL; None takes it as exact.
        delta_llc_se: Standard error of Δλ; None takes it as exact.
        seed: Seed of the draws.

    Returns:
        The case, the roots and how certain they are.

    Raises:
        InputError: An argument is no finite number, a standard error is negative, or the seed is no integer from 0.
    """
    loss, llc = _number("delta_loss", delta_loss), _number("delta_llc", delta_llc)
    errors = {
        name: 0.0 if se is None else _number(name, se)
        for name, se in (("delta_loss_se", delta_loss_se), ("delta_llc_se", delta_llc_se))
    }
    for name, se in errors.items():
        if se < 0:
            raise InputError(f"{name} is {se:g}, expected 0 or more.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")

    kind, lower, upper = _solve(np.array([loss]), np.array([llc]))
    case = CASES[kind[0]]
    if not any(errors.values()):
        probabilities, intervals = {name: float(name == case) for name in CASES}, (None, None)
    else:
        rng = np.random.default_rng(seed)
        draws = rng.standard_normal((2, DRAWS))
        kinds, *roots = _solve(
            loss + errors["delta_loss_se"] * draws[0],
            llc + errors["delta_llc_se"] * draws[1],
        )
        probabilities = {name: float(np.mean(kinds == i)) for i, name in enumerate(CASES)}
        intervals = tuple(_interval(one[kinds == kind[0]]) for one in roots)
    return Crossover(case, _root(lower[0]), _root(upper[0]), intervals[0], intervals[1], probabilities)


def _solve(loss: Array, llc: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """Index of the case, and both roots (NaN where there are none), of each pair."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = -llc / loss
    rooted = (loss * llc < 0) & (ratio > math.e)
    wins_late = (loss < 0) | ((loss == 0) & (llc < 0))
    kind = np.where(rooted, np.where(loss > 0, 2, 3), np.where(wins_late, 1, 0))
    r = np.where(rooted, ratio, 2 * math.e)
    lower, upper = (np.where(rooted, -r * lambertw(-1 / r, k).real, np.nan) for k in (0, -1))
    return kind, lower, upper


def _root(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(values: Array) -> tuple[float, float] | None:
    if not len(values) or np.isnan(values).any():
        return None
    low, high = np.quantile(values, LEVELS)
    return float(low), float(high)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}, expected a finite number.")
    return float(value)
