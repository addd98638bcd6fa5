"""How λ̂ sets out over a stage: smoothly, or with a singular onset and its exponent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import OptimizeResult, minimize

from llckit.criticality.arrays import Array

__all__ = ["Onset", "OnsetForm", "fit_onset"]

EXPONENTS = np.geomspace(0.1, 10.0, 41)
PLACES = 12  # a side, of the starting grid
CHI_SQUARE_90 = 2.706  # of one degree of freedom
DECISIVE = 4.0  # of a difference in AIC: odds of 7 to 1

OnsetForm = Literal["smooth", "power law", "undecided"]


@dataclass(frozen=True)
class Onset:
    """Both forms fitted to one stage, and which is better.

    Attributes:
        form: "smooth", "power law" or "undecided", by Akaike's criterion.
        evidence: AIC of the smooth form minus that of the power law.
        exponent: Exponent b of the power law.
        exponent_interval: Central 90 % interval of b by profile likelihood; None at an end that the data leave open.
        critical_step: Step t_c of the onset; None if the best one lies before the fitted checkpoints.
        width: Width of the logistic, in units of ln(step + 1).
    """

    form: OnsetForm
    evidence: float
    exponent: float
    exponent_interval: tuple[float | None, float | None]
    critical_step: float | None
    width: float


@dataclass(frozen=True)
class WeightedCurve:
    """λ̂ over x = ln(step + 1), with weights 1 / standard error; each of shape (n,)."""

    x: Array
    values: Array
    weight: Array

    def squares(self, shape: Array) -> Array:
        """Least sums of squares of a + Δ · shape, for shapes (…, n)."""
        weight = self.weight
        centred = [y - (y * weight**2).sum(-1, keepdims=True) / (weight**2).sum() for y in (shape, self.values)]
        s, v = (one * weight for one in centred)
        return (v**2).sum(-1) - (s * v).sum(-1) ** 2 / np.maximum((s**2).sum(-1), 1e-300)

    def ramp(self, onset: float | Array, arrival: float | Array, exponent: float) -> Array:
        """((x - onset) / (arrival - onset))^exponent between the two, 0 before and 1 after, shape (…, n)."""
        return np.clip((self.x - onset) / np.maximum(arrival - onset, 1e-9), 0, 1) ** exponent


def fit_onset(x: Array, values: Array, errors: Array, low: float, high: float) -> Onset | None:
    """Fit a logistic and a power law to λ̂ around a stage.

    Args:
        x: ln(step + 1) of the checkpoints, shape (n,).
        values: λ̂, shape (n,).
        errors: Standard errors of λ̂, shape (n,); any that is NaN or 0 makes all weights equal.
        low: Where the stage starts.
        high: Where the stage ends.

    Returns:
        The fits, or None if λ̂ does not move.
    """
    weight = 1 / errors if np.isfinite(errors).all() and (errors > 0).all() else np.ones(len(x))
    curve = WeightedCurve(x, values, weight)
    smooth = _best_logistic(curve, low, high)
    profile, places = _ramps(curve, low, high)
    best = int(profile.argmin())
    constant = float(curve.squares(np.zeros(len(x))))
    if not min(smooth.fun, profile[best]) < constant * (1 - 1e-9):
        return None
    free = max(len(x) - 5, 1)
    floor = max(min(profile[best], smooth.fun) / free, 1e-12 * float((weight**2 * values**2).mean()))
    unit = max(floor, 1.0) if (weight != 1).any() else floor
    evidence = float((smooth.fun - profile[best]) / unit - 2)  # the power law has one parameter more
    allowed = np.flatnonzero(profile <= profile[best] + CHI_SQUARE_90 * unit)
    ends = EXPONENTS[[max(allowed[0] - 1, 0), min(allowed[-1] + 1, len(EXPONENTS) - 1)]]
    return Onset(
        form="undecided" if abs(evidence) < DECISIVE else ("power law" if evidence > 0 else "smooth"),
        evidence=evidence,
        exponent=float(EXPONENTS[best]),
        exponent_interval=(
            float(ends[0]) if allowed[0] > 0 else None,
            float(ends[1]) if allowed[-1] < len(EXPONENTS) - 1 else None,
        ),
        critical_step=float(np.expm1(places[best, 0])) if places[best, 0] >= x[0] else None,
        width=float(np.exp(smooth.x[1])),
    )


def _best_logistic(curve: WeightedCurve, low: float, high: float) -> OptimizeResult:
    """The best logistic; its parameters are (centre, ln width)."""

    def misfit(theta: Array) -> float:
        return float(curve.squares(1 / (1 + np.exp(-np.clip((curve.x - theta[0]) / np.exp(theta[1]), -500, 500)))))

    length = high - low
    starts = [(c, np.log(w * length)) for c in np.linspace(low, high, 7)[1:-1] for w in (0.03, 0.1, 0.3)]
    return min((minimize(misfit, start, method="Nelder-Mead") for start in starts), key=lambda one: one.fun)


def _ramps(curve: WeightedCurve, low: float, high: float) -> tuple[Array, Array]:
    """Least sum of squares, shape (exponents,), and best (onset, arrival), shape (exponents, 2), of each exponent."""
    onsets, arrivals = (np.linspace(*ends, PLACES) for ends in ((curve.x[0], high), (low, curve.x[-1])))
    pairs = np.array([(a, b) for a in onsets for b in arrivals if b - a > 0.02 * (high - low)])
    profile, places = np.empty(len(EXPONENTS)), np.empty((len(EXPONENTS), 2))
    for i, exponent in enumerate(EXPONENTS):
        grid = curve.squares(curve.ramp(pairs[:, :1], pairs[:, 1:], exponent))
        found = minimize(
            lambda place, b=exponent: float(curve.squares(curve.ramp(place[0], max(place[1], place[0] + 1e-6), b))),
            pairs[int(grid.argmin())],
            method="Nelder-Mead",
        )
        profile[i], places[i] = found.fun, found.x
    return profile, places
