"""What one run says of a transition as a critical point: local exponents over training time, and what it cannot say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from llckit.criticality.curves import Array, vector
from llckit.errors import InputError

__all__ = ["LocalExponents", "local_exponents"]

MARGIN = 0.5  # of the stage's length in ln(step + 1): how much of the rests on both sides is fitted along
MIN_INSIDE = 6  # checkpoints
EXPONENTS = np.geomspace(0.1, 10.0, 41)
PLACES = 12  # a side, of the starting grid
CHI_SQUARE_90 = 2.706  # of one degree of freedom
DECISIVE = 4.0  # of a difference in AIC: odds of 7 to 1
NEAR = 0.1  # of the stage's length: how far before its start and after its end λ̂ is averaged
HEAT_ERRORS = 3.0
SEEDS, SIZES, SPAN = 20, 5, 10.0
WELL_SAMPLED = 12

Interval = tuple[float, float]


@dataclass(frozen=True)
class LocalExponents:
    """A transition of one run, read as a critical point in training time. Intervals are central 90 %.

    Attributes:
        effective_dimension_before: d_eff = 2 λ̂ at its start.
        effective_dimension_before_se: Standard error of that.
        effective_dimension_after: 2 λ̂ at its end.
        effective_dimension_after_se: Standard error of that.
        form: What λ̂ prefers by Akaike's criterion: "smooth" (a logistic in ln(step + 1)), "power law" (a singular
            onset) or "undecided"; None where fewer than 6 checkpoints lie inside, or λ̂ does not move.
        evidence: AIC of the smooth form less that of the power law.
        exponent: b of the onset, |λ̂ - λ̂_before| ~ (ln t - ln t_c)^b.
        exponent_interval: Its interval by profile likelihood; None at an end that the data leave open.
        critical_step: t_c; None where the best one lies before the checkpoints that were fitted.
        width: Of the logistic, in units of ln(step + 1).
        heat_excess: Largest Var[nβL] / λ̂ - 1 of the checkpoints inside, None without variances. In one basin it is 0.
        heat_excess_se: Standard error of that.
        heat_step: The step it is at.
        verdict: "inconclusive": one run has one size.
        reason: Why, in a sentence.
        needed: The runs that would decide.
    """

    effective_dimension_before: float
    effective_dimension_before_se: float
    effective_dimension_after: float
    effective_dimension_after_se: float
    form: str | None
    evidence: float | None
    exponent: float | None
    exponent_interval: tuple[float | None, float | None] | None
    critical_step: float | None
    width: float | None
    heat_excess: float | None
    heat_excess_se: float | None
    heat_step: float | None
    verdict: str
    reason: str
    needed: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def local_exponents(
    *,
    step: ArrayLike,
    llc: ArrayLike,
    start: float,
    end: float,
    llc_se: ArrayLike | None = None,
    llc_variance: ArrayLike | None = None,
    ess: ArrayLike | None = None,
) -> LocalExponents:
    """Local exponents of a transition over training time, the effective dimension on both sides, and what is missing.

    Two forms are fitted to λ̂ over x = ln(step + 1), within the stage and half its length on both sides:

        smooth       a + Δ / (1 + e^(-(x - c)/w))
        power law    a + Δ ((x - x_c) / (x_e - x_c))^b  from x_c to x_e, constant before and after

    The exponent b is that of an order parameter over training time, |λ̂ - λ̂_before|; its interval comes from the profile
    likelihood. A smooth form says that nothing singular is seen at this size, as none can be at any finite size.
    Beside it stands the heat capacity Var[nβL], which is λ̂ in one basin and more where chains see two of them
    (`thermodynamics`); its standard error is that of the variance of a Gamma(λ, 1) variable, C √((2 + 6/λ)/ESS), and
    the largest excess counts where it is above 3 of them.

    Neither is an exponent of the hyperscaling law: ν*, α, β and γ say how a transition changes with the number of
    degrees of freedom. The verdict is therefore always "inconclusive", with the runs that `hyperscaling_test` needs:
    5 sizes over a decade, 8 controls and 20 seeds (variances over R seeds are known to √(2/(R - 1)), a third for 20;
    over five sizes of a decade that makes an error of the residual of about 0.3 at ν* = 2 and one control, and 0.1
    with eight).

    Args:
        step: Training steps, ascending, shape (n,).
        llc: λ̂ at each, shape (n,); NaN is a gap.
        start: Step at which the transition begins.
        end: Step at which it ends.
        llc_se: Standard error of each λ̂, shape (n,); without them the scatter about the better form serves.
        llc_variance: Var[nβL] at each, shape (n,).
        ess: Effective sample size of each estimate, shape (n,); needed with `llc_variance`.

    Returns:
        What this run says.

    Raises:
        InputError: Arrays of different lengths, steps that do not ascend, a stage that is empty or outside the run,
            or variances without effective sample sizes.
    """
    steps, values = vector("step", step), vector("llc", llc, missing=True)
    columns = {"llc": values}
    for name, column in (("llc_se", llc_se), ("llc_variance", llc_variance), ("ess", ess)):
        if column is not None:
            columns[name] = vector(name, column, missing=True)
            if (columns[name] < 0).any():
                raise InputError(f"{name} has the entry {np.nanmin(columns[name]):g}, expected positive numbers.")
    for name, column in columns.items():
        if column.shape != steps.shape:
            raise InputError(f"{name} has shape {column.shape}, step {steps.shape}; give one entry per checkpoint.")
    if not (np.diff(steps) > 0).all() or steps[0] < 0:
        raise InputError("step does not ascend, or is negative; give each checkpoint once, in order.")
    if not (isinstance(start, Real) and isinstance(end, Real) and steps[0] <= start < end <= steps[-1]):
        raise InputError(
            f"The transition runs from step {start} to {end}; expected a start before an end, inside "
            f"{steps[0]:g} to {steps[-1]:g}."
        )
    if (llc_variance is None) != (ess is None):
        raise InputError("Only one of llc_variance and ess was given; give both, or neither.")
    known = np.isfinite(values)
    if not known.any():
        raise InputError("llc has no finite entry.")
    x, (low, high) = np.log1p(steps), np.log1p([start, end])
    errors = columns.get("llc_se", np.full(len(steps), np.nan))
    around = x[known], values[known], errors[known]
    reach = NEAR * (high - low)
    before, after = _level(*around, low - reach, low), _level(*around, high, high + reach)
    inside = known & (x >= low) & (x <= high)
    near = known & (x >= low - MARGIN * (high - low)) & (x <= high + MARGIN * (high - low))
    fit = _forms(x[near], values[near], errors[near], low, high) if inside.sum() >= MIN_INSIDE else _NO_FORM
    heat = (
        _heat(steps[inside], values[inside], columns["llc_variance"][inside], columns["ess"][inside])
        if (llc_variance is not None)
        else (None, None, None)
    )
    return LocalExponents(
        effective_dimension_before=2 * before[0],
        effective_dimension_before_se=2 * before[1],
        effective_dimension_after=2 * after[0],
        effective_dimension_after_se=2 * after[1],
        **fit,
        heat_excess=heat[0],
        heat_excess_se=heat[1],
        heat_step=heat[2],
        verdict="inconclusive",
        reason=_reason(fit["form"], heat),
        needed=_needed(int(inside.sum()), low, high, fit["form"]),
    )


_NO_FORM: dict[str, Any] = dict.fromkeys(
    ("form", "evidence", "exponent", "exponent_interval", "critical_step", "width")
)


def _level(x: Array, values: Array, errors: Array, low: float, high: float) -> tuple[float, float]:
    """λ̂ within bounds or, if no checkpoint is, at the nearest one, and its standard error."""
    distance = np.maximum(np.maximum(low - x, x - high), 0)
    near = distance == distance.min()
    here, error = values[near], errors[near]
    scatter = float(here.std(ddof=1) / np.sqrt(len(here))) if len(here) > 1 else np.nan
    given = float(np.sqrt((error**2).mean() / len(here)))
    return float(here.mean()), float(np.nanmax([scatter, given])) if not np.isnan([scatter, given]).all() else np.nan


def _forms(x: Array, values: Array, errors: Array, low: float, high: float) -> dict[str, Any]:
    """Both forms fitted, and which is better."""
    weight = 1 / errors if np.isfinite(errors).all() and (errors > 0).all() else np.ones(len(x))

    def squares(shape: Array) -> Array:
        """Least sum of squares of a + Δ · shape, for shapes (…, n)."""
        centred = [y - (y * weight**2).sum(-1, keepdims=True) / (weight**2).sum() for y in (shape, values)]
        s, v = (one * weight for one in centred)
        return (v**2).sum(-1) - (s * v).sum(-1) ** 2 / np.maximum((s**2).sum(-1), 1e-300)

    def logistic(theta: Array) -> float:
        return float(squares(1 / (1 + np.exp(-np.clip((x - theta[0]) / np.exp(theta[1]), -500, 500)))))

    def ramp(onset: Any, arrival: Any, exponent: Any) -> Array:
        return np.clip((x - onset) / np.maximum(arrival - onset, 1e-9), 0, 1) ** exponent

    length = high - low
    starts = [(c, np.log(w * length)) for c in np.linspace(low, high, 7)[1:-1] for w in (0.03, 0.1, 0.3)]
    smooth = min((minimize(logistic, start, method="Nelder-Mead") for start in starts), key=lambda one: one.fun)

    onsets, arrivals = (np.linspace(*ends, PLACES) for ends in ((x[0], high), (low, x[-1])))
    pairs = np.array([(a, b) for a in onsets for b in arrivals if b - a > 0.02 * length])
    profile, places = np.empty(len(EXPONENTS)), np.empty((len(EXPONENTS), 2))
    for i, exponent in enumerate(EXPONENTS):
        grid = squares(ramp(pairs[:, :1], pairs[:, 1:], exponent))
        found = minimize(
            lambda place, b=exponent: float(squares(ramp(place[0], max(place[1], place[0] + 1e-6), b))),
            pairs[int(grid.argmin())],
            method="Nelder-Mead",
        )
        profile[i], places[i] = found.fun, found.x
    best = int(profile.argmin())
    constant = float(squares(np.zeros(len(x))))
    if not min(smooth.fun, profile[best]) < constant * (1 - 1e-9):
        return _NO_FORM  # nothing moves
    free = max(len(x) - 5, 1)
    floor = max(min(profile[best], smooth.fun) / free, 1e-12 * float((weight**2 * values**2).mean()))
    unit = max(floor, 1.0) if (weight != 1).any() else floor
    evidence = float((smooth.fun - profile[best]) / unit - 2)  # the power law has one parameter more
    held = np.flatnonzero(profile <= profile[best] + CHI_SQUARE_90 * unit)
    ends = EXPONENTS[[max(held[0] - 1, 0), min(held[-1] + 1, len(EXPONENTS) - 1)]]
    return {
        "form": "undecided" if abs(evidence) < DECISIVE else ("power law" if evidence > 0 else "smooth"),
        "evidence": evidence,
        "exponent": float(EXPONENTS[best]),
        "exponent_interval": (
            float(ends[0]) if held[0] > 0 else None,
            float(ends[1]) if held[-1] < len(EXPONENTS) - 1 else None,
        ),
        "critical_step": float(np.expm1(places[best, 0])) if places[best, 0] >= x[0] else None,
        "width": float(np.exp(smooth.x[1])),
    }


def _heat(steps: Array, values: Array, variance: Array, ess: Array) -> tuple[float | None, float | None, float | None]:
    """The largest excess of the heat capacity in units of its error; the excess, its error, where."""
    usable = np.isfinite(variance) & np.isfinite(ess) & (ess > 1) & (values > 0)
    if not usable.any():
        return None, None, None
    ratio = variance[usable] / values[usable]
    error = ratio * np.sqrt((2 + 6 / values[usable]) / ess[usable])
    at = int(((ratio - 1) / np.maximum(error, 1e-300)).argmax())
    return float(ratio[at] - 1), float(error[at]), float(steps[usable][at])


def _reason(form: str | None, heat: tuple[float | None, float | None, float | None]) -> str:
    seen = {
        None: "Too few checkpoints lie inside, or the LLC rests there: its form cannot be told.",
        "smooth": "The LLC changes smoothly.",
        "power law": "The LLC has a singular onset rather than a smooth one.",
        "undecided": "A smooth change and a singular onset describe the LLC equally well.",
    }[form]
    if heat[0] is not None and heat[1] is not None and heat[0] > HEAT_ERRORS * heat[1]:
        seen += f" The heat capacity exceeds the LLC at step {heat[2]:.0f}: chains see more than one basin."
    return f"One run has one size, and exponents say how a transition changes with size. {seen}"


def _needed(inside: int, low: float, high: float, form: str | None) -> tuple[str, ...]:
    places = np.unique(np.round(np.expm1(np.linspace(low, high, 8)))).astype(int)
    sizes = ", ".join(f"{factor:.2g}" for factor in np.geomspace(1 / np.sqrt(SPAN), np.sqrt(SPAN), SIZES))
    runs = [
        f"{SIZES} sizes over a factor of {SPAN:g}: {sizes} times the parameters or samples of this run",
        f"{SEEDS} seeds of each, so that means, variances and Binder cumulants have standard errors",
        "8 values of the control at each size: training time, at steps "
        f"{', '.join(map(str, places))} here, or better what moves the transition, such as the share of data",
    ]
    if form is None or inside < WELL_SAMPLED:
        runs.append(f"{WELL_SAMPLED} checkpoints or more between steps {np.expm1(low):.0f} and {np.expm1(high):.0f}")
    runs.append("estimates at several nβ there: a peak of the heat capacity would tell a first-order transition")
    return tuple(runs)
