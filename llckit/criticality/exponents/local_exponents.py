"""One run's transition read as a critical point: local exponents over training time, and what one run cannot say."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import is_finite_number, shown
from llckit.criticality.arrays import Array, check_numbers
from llckit.criticality.exponents.onset import Onset, OnsetForm, fit_onset
from llckit.errors import InputError

__all__ = ["LocalExponents", "local_exponents"]

MARGIN = 0.5  # share of the stage's length in ln(step + 1) that is fitted on both sides of it
FEWEST_INSIDE = 6  # checkpoints
NEAR = 0.1  # share of the stage's length before its start and after its end over which λ̂ is averaged
HEAT_ERRORS = 3.0
SEEDS, SIZES, SPAN = 20, 5, 10.0
WELL_SAMPLED = 12
FORM_IN_WORDS: dict[OnsetForm | None, str] = {
    None: "Too few checkpoints lie inside, or the LLC rests there: its form cannot be told.",
    "smooth": "The LLC changes smoothly.",
    "power law": "The LLC has a singular onset rather than a smooth one.",
    "undecided": "A smooth change and a singular onset describe the LLC equally well.",
}


@dataclass(frozen=True)
class LocalExponents:
    """A transition of one run, read as a critical point in training time. Intervals are central 90 %.

    Attributes:
        effective_dimension_before: d_eff = 2 λ̂ at the start.
        effective_dimension_before_se: Standard error of `effective_dimension_before`.
        effective_dimension_after: d_eff = 2 λ̂ at the end.
        effective_dimension_after_se: Standard error of `effective_dimension_after`.
        form: Form of λ̂ by Akaike's criterion: "smooth" (a logistic in ln(step + 1)), "power law" (a singular onset) or
            "undecided"; None if fewer than 6 checkpoints lie inside, or λ̂ does not move.
        evidence: AIC of the smooth form minus that of the power law.
        exponent: Exponent b of the onset, |λ̂ - λ̂_before| ~ (ln t - ln t_c)^b.
        exponent_interval: Interval of `exponent` by profile likelihood; None at an end that the data leave open.
        critical_step: Step t_c; None if the best one lies before the fitted checkpoints.
        width: Width of the logistic, in units of ln(step + 1).
        heat_excess: Largest Var[nβL] / λ̂ - 1 of the checkpoints inside, 0 in one basin; None without variances.
        heat_excess_se: Standard error of `heat_excess`.
        heat_step: Step of `heat_excess`.
        verdict: "inconclusive": one run has one size.
        reason: Why it has this verdict, in a sentence.
        needed: Runs that would decide, each in a phrase.
    """

    effective_dimension_before: float
    effective_dimension_before_se: float
    effective_dimension_after: float
    effective_dimension_after_se: float
    form: OnsetForm | None
    evidence: float | None
    exponent: float | None
    exponent_interval: tuple[float | None, float | None] | None
    critical_step: float | None
    width: float | None
    heat_excess: float | None
    heat_excess_se: float | None
    heat_step: float | None
    verdict: Literal["inconclusive"]
    reason: str
    needed: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
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

    The exponent b is that of an order parameter over training time, |λ̂ - λ̂_before|. The heat capacity Var[nβL] is λ̂
    in one basin and more if chains see two basins (`thermodynamics`); its largest excess counts above 3 standard
    errors.

    Neither is an exponent of the hyperscaling law: ν*, α, β and γ say how a transition changes with the number of
    degrees of freedom. So the verdict is always "inconclusive", with the runs that `hyperscaling_test` needs. See
    docs/notes/local_exponents.md.

    Args:
        step: Training steps, ascending, shape (n,).
        llc: λ̂ at each step, NaN for a gap, shape (n,).
        start: Step at which the transition starts.
        end: Step at which the transition ends.
        llc_se: Standard error of each λ̂, shape (n,). None: the scatter about the better form serves.
        llc_variance: Var[nβL] at each step, shape (n,).
        ess: Effective sample size of each estimate, shape (n,); needed with `llc_variance`.

    Returns:
        The local exponents, and what is missing.

    Raises:
        InputError: The arrays differ in length, the steps do not ascend, the stage is empty or outside the run, or
            only one of variances and effective sample sizes is given.
    """
    steps, columns = _checked_columns(
        step, {"llc": llc, "llc_se": llc_se, "llc_variance": llc_variance, "ess": ess}, start, end
    )
    values, known = columns["llc"], np.isfinite(columns["llc"])
    x, (low, high) = np.log1p(steps), np.log1p([start, end])
    errors = columns.get("llc_se", np.full(len(steps), np.nan))
    around = x[known], values[known], errors[known]
    reach = NEAR * (high - low)
    before, after = _level(*around, low - reach, low), _level(*around, high, high + reach)
    inside = known & (x >= low) & (x <= high)
    near = known & (x >= low - MARGIN * (high - low)) & (x <= high + MARGIN * (high - low))
    onset = fit_onset(x[near], values[near], errors[near], low, high) if inside.sum() >= FEWEST_INSIDE else None
    heat = None
    if "llc_variance" in columns:
        heat = _heat_excess(*(array[inside] for array in (steps, values, columns["llc_variance"], columns["ess"])))
    return LocalExponents(
        effective_dimension_before=2 * before[0],
        effective_dimension_before_se=2 * before[1],
        effective_dimension_after=2 * after[0],
        effective_dimension_after_se=2 * after[1],
        form=onset and onset.form,
        evidence=onset and onset.evidence,
        exponent=onset and onset.exponent,
        exponent_interval=onset and onset.exponent_interval,
        critical_step=onset and onset.critical_step,
        width=onset and onset.width,
        heat_excess=heat and heat.excess,
        heat_excess_se=heat and heat.se,
        heat_step=heat and heat.step,
        verdict="inconclusive",
        reason=_reason(onset, heat),
        needed=_needed(int(inside.sum()), low, high, onset),
    )


def _checked_columns(
    step: ArrayLike, given: dict[str, ArrayLike | None], start: float, end: float
) -> tuple[Array, dict[str, Array]]:
    """The steps, and the columns that were given, by name."""
    steps = check_numbers("step", step)
    columns = {name: check_numbers(name, one, missing=True) for name, one in given.items() if one is not None}
    for name, column in columns.items():
        if column.shape != steps.shape:
            raise InputError(f"{name} has shape {column.shape}; expected that of step, {steps.shape}")
        if name != "llc" and (column < 0).any():
            raise InputError(f"{name} has the entry {np.nanmin(column):g}; expected numbers >= 0")
    if not (np.diff(steps) > 0).all() or steps[0] < 0:
        raise InputError("step has entries below 0 or out of order; expected steps that ascend from 0 or later")
    if not (is_finite_number(start) and is_finite_number(end) and steps[0] <= start < end <= steps[-1]):
        raise InputError(
            f"start is {shown(start)} and end is {shown(end)}; expected a start before an end, inside {steps[0]:g} to "
            f"{steps[-1]:g}"
        )
    if ("llc_variance" in columns) != ("ess" in columns):
        missing = "ess" if "llc_variance" in columns else "llc_variance"
        raise InputError(f"{missing} is None; expected both llc_variance and ess, or neither")
    if not np.isfinite(columns["llc"]).any():
        raise InputError("llc has no finite entry; expected at least one")
    return steps, columns


def _level(x: Array, values: Array, errors: Array, low: float, high: float) -> tuple[float, float]:
    """λ̂ and its standard error within the bounds; if no checkpoint lies there, at the nearest one."""
    distance = np.maximum(np.maximum(low - x, x - high), 0)
    near = distance == distance.min()
    here, error = values[near], errors[near]
    scatter = float(here.std(ddof=1) / np.sqrt(len(here))) if len(here) > 1 else np.nan
    given = float(np.sqrt((error**2).mean() / len(here)))
    return float(here.mean()), float(np.nanmax([scatter, given])) if not np.isnan([scatter, given]).all() else np.nan


class _HeatExcess(NamedTuple):
    excess: float
    se: float
    step: float


def _heat_excess(steps: Array, values: Array, variance: Array, ess: Array) -> _HeatExcess | None:
    """The excess of the heat capacity that is largest in units of its error."""
    usable = np.isfinite(variance) & np.isfinite(ess) & (ess > 1) & (values > 0)
    if not usable.any():
        return None
    ratio = variance[usable] / values[usable]
    error = ratio * np.sqrt((2 + 6 / values[usable]) / ess[usable])
    at = int(((ratio - 1) / np.maximum(error, 1e-300)).argmax())
    return _HeatExcess(float(ratio[at] - 1), float(error[at]), float(steps[usable][at]))


def _reason(onset: Onset | None, heat: _HeatExcess | None) -> str:
    words = FORM_IN_WORDS[None if onset is None else onset.form]
    if heat is not None and heat.excess > HEAT_ERRORS * heat.se:
        words += f" The heat capacity exceeds the LLC at step {heat.step:.0f}: chains see more than one basin."
    return f"One run has one size, and exponents say how a transition changes with size. {words}"


def _needed(inside: int, low: float, high: float, onset: Onset | None) -> tuple[str, ...]:
    places = np.unique(np.round(np.expm1(np.linspace(low, high, 8)))).astype(int)
    sizes = ", ".join(f"{factor:.2g}" for factor in np.geomspace(1 / np.sqrt(SPAN), np.sqrt(SPAN), SIZES))
    runs = [
        f"{SIZES} sizes over a factor of {SPAN:g}: {sizes} times the parameters or samples of this run",
        f"{SEEDS} seeds of each, so that means, variances and Binder cumulants have standard errors",
        "8 values of the control at each size: training time, at steps "
        f"{', '.join(map(str, places))} here, or better what moves the transition, such as the share of data",
    ]
    if onset is None or inside < WELL_SAMPLED:
        runs.append(f"{WELL_SAMPLED} checkpoints or more between steps {np.expm1(low):.0f} and {np.expm1(high):.0f}")
    runs.append("estimates at several nβ there: a peak of the heat capacity would tell a first-order transition")
    return tuple(runs)
