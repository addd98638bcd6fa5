"""The sample size at which the later of two phases comes to have the lower free energy."""

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

from llckit.checks import check_number, check_seed

__all__ = ["CASES", "Crossover", "crossover_samples"]

Array = NDArray[np.float64]
Case = Literal["never", "always", "between", "outside"]

CASES: tuple[Case, ...] = ("never", "always", "between", "outside")
NEVER, ALWAYS, BETWEEN, OUTSIDE = range(len(CASES))
DRAWS = 4000
LEVELS = (0.05, 0.95)


@dataclass(frozen=True)
class Crossover:
    """Where the later of two phases wins: `ΔF(n) = n ΔL + Δλ ln n < 0`.

    Attributes:
        case: Sample sizes n at which it wins: "never", "always", "between" the roots `lower` and `upper` of ΔF, or
            "outside" of them.
        lower: Lesser root, between 1 and e; None if there is none. The free energy's expansion does not describe so few
            samples: this root completes the case and means nothing by itself.
        upper: Greater root, above e, which is the crossover; None if there is none.
        lower_interval: Central 90 % interval of `lower` over the draws of the same case; None without a root or without
            standard errors.
        upper_interval: Central 90 % interval of `upper`, in the same way.
        probabilities: Share of the draws in each case. Without standard errors `case` has all of it.
    """

    case: Case
    lower: float | None
    upper: float | None
    lower_interval: tuple[float, float] | None
    upper_interval: tuple[float, float] | None
    probabilities: dict[str, float]

    def to_dict(self) -> dict[str, object]:
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
    et al., arXiv 2310.06301). So the later phase wins if `ΔF = n ΔL + Δλ ln n < 0`, where Δ is later minus earlier:

    * ΔL < 0, Δλ ≤ 0: always. ΔL = 0 > Δλ: always, from n = 2 on. ΔL ≥ 0, Δλ ≥ 0: never.
    * ΔL < 0 < Δλ (type A), with r = -Δλ/ΔL: always if r ≤ e, else outside of the roots: from the greater one on.
    * ΔL > 0 > Δλ (type B): never if r ≤ e, else between the roots: up to the greater one.

    The roots solve `n = r ln n`. They are `n = -r W_k(-1/r)` with Lambert's W, k = 0 for the lesser and k = -1 for the
    greater. Errors are propagated by 4000 independent normal draws of ΔL and Δλ.

    Args:
        delta_loss: ΔL, loss of the later phase minus that of the earlier one, per sample.
        delta_llc: Δλ, LLC of the later phase minus that of the earlier one.
        delta_loss_se: Standard error of ΔL; None takes ΔL as exact.
        delta_llc_se: Standard error of Δλ; None takes Δλ as exact.
        seed: Seed of the draws.

    Returns:
        The case, the roots and how certain they are.

    Raises:
        InputError: An argument is not a finite number, a standard error is negative, or the seed is no integer >= 0.
    """
    loss, llc = check_number("delta_loss", delta_loss), check_number("delta_llc", delta_llc)
    loss_se = 0.0 if delta_loss_se is None else check_number("delta_loss_se", delta_loss_se, least=0)
    llc_se = 0.0 if delta_llc_se is None else check_number("delta_llc_se", delta_llc_se, least=0)
    seed = check_seed(seed)

    case, lower, upper = (column[0] for column in _solve(np.array([loss]), np.array([llc])))
    if loss_se == llc_se == 0:
        certain = {name: float(name == CASES[case]) for name in CASES}
        return Crossover(CASES[case], _root(lower), _root(upper), None, None, certain)
    draws = np.random.default_rng(seed).standard_normal((2, DRAWS))
    cases, lowers, uppers = _solve(loss + loss_se * draws[0], llc + llc_se * draws[1])
    return Crossover(
        case=CASES[case],
        lower=_root(lower),
        upper=_root(upper),
        lower_interval=_interval(lowers[cases == case]),
        upper_interval=_interval(uppers[cases == case]),
        probabilities={name: float(np.mean(cases == i)) for i, name in enumerate(CASES)},
    )


def _solve(loss: Array, llc: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """The index of the case and both roots (NaN if there are none) for each pair of ΔL and Δλ."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = -llc / loss
    has_roots = (loss * llc < 0) & (ratio > math.e)
    wins_late = (loss < 0) | ((loss == 0) & (llc < 0))
    case = np.where(has_roots, np.where(loss > 0, BETWEEN, OUTSIDE), np.where(wins_late, ALWAYS, NEVER))
    r = np.where(has_roots, ratio, 2 * math.e)
    lower, upper = (np.where(has_roots, -r * lambertw(-1 / r, k).real, np.nan) for k in (0, -1))
    return case, lower, upper


def _root(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _interval(values: Array) -> tuple[float, float] | None:
    if not len(values) or np.isnan(values).any():
        return None
    low, high = np.quantile(values, LEVELS)
    return float(low), float(high)
