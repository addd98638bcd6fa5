"""Scaling functions of two control variables: which of five forms describes them, by cross-validation."""

import math
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from llckit.criticality.scaling_fit import FOLDS, FormFit, Measurements, ScalingForm
from llckit.criticality.scaling_forms import FORMS, Array
from llckit.errors import InputError

__all__ = ["ScalingForm", "ScalingFunctions", "compare_scaling_functions"]

MIN_POINTS, MIN_VALUES = 40, 4  # four times the parameters of the largest form; enough to see a bend
SIGNIFICANT = 2.0  # standard errors of the difference between two scores


@dataclass(frozen=True)
class ScalingFunctions:
    """Five forms of `V = |(τ - τ_c) / T|^α F(x1, x2)`, compared.

    Attributes:
        best: Name of the form of least score.
        forms: The forms by name, best first.
        excluded: Why a form could not be fitted, by name.
        lead: Score of the second form minus that of the best.
        lead_se: Standard error of `lead`, from the scatter of the paired differences over the measurements.
        significant: Whether the lead is more than two standard errors. If not, the data do not decide between the
            first two forms.
        reference: The constants of the equations: means `m1`, `m2` and standard deviations `s1`, `s2` of the
            controls, geometric means `g1`, `g2` where they are positive, and the range of τ, `T`.
    """

    best: str
    forms: dict[str, ScalingForm]
    excluded: dict[str, str]
    lead: float
    lead_se: float
    significant: bool
    reference: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        plain = asdict(self)
        for form in plain["forms"].values():
            form["undetermined"] = list(form["undetermined"])
        return plain


def compare_scaling_functions(
    x1: ArrayLike,
    x2: ArrayLike,
    tau: ArrayLike,
    value: ArrayLike,
    value_se: ArrayLike | None = None,
    *,
    critical_point: float | None = None,
    alpha: float | None = None,
    seed: int = 0,
) -> ScalingFunctions:
    """Fit five forms of a scaling function of two control variables and compare them by cross-validation.

    `V = |(τ - τ_c) / T|^α F(x1, x2)` with T the range of τ, so that F has the unit of the value, and F one of

        power-law     A (x1/g1)^p1 (x2/g2)^p2
        exponential   A exp(b1 X1 + b2 X2)
        logistic      A / (1 + exp(-(b1 X1 + b2 X2 - m √((b1 s1)² + (b2 s2)²)))),   |m| ≤ 1
        polynomial    c0 + c1 X1 + c2 X2 + c11 X1² + c12 X1 X2 + c22 X2²
        piecewise     c0 + c1 X1 + c2 X2 + d1 max(X1 - k1, 0) + d2 max(X2 - k2, 0)

    X = x - m with m the mean and s the standard deviation of a control, g its geometric mean. On both sides of a knot
    k lies a tenth of the data. A logistic function bends within the data (|m| ≤ 1): outside of them it is an
    exponential, and no form shall contain another. What remains shared are planes (polynomial and piecewise) and
    powers near (1, 1): data like that do not tell the forms apart.

    α, τ_c and the parameters of F are fitted together by least squares, weighted with `value_se`: the coefficients
    that enter linearly are solved for at each trial of the others (variable projection, Golub and Pereyra, SIAM J.
    Numer. Anal. 10, 413, 1973), which start from the best places of a grid. The score is the mean squared error of
    prediction over 10 folds (Stone, J. R. Stat. Soc. B 36, 111, 1974); the best form has the least. The standard error
    of a difference of scores takes measurements as independent, although folds share data: a guide, not a test.

    Args:
        x1: First control variable of each measurement, shape (n,), n ≥ 40, at least 4 different values.
        x2: Second control variable, shape (n,), likewise. The power law needs both positive.
        tau: Variable τ with the critical point, shape (n,), at least 4 different values.
        value: V, shape (n,).
        value_se: Standard error of each value, shape (n,), positive. Without it all values count alike.
        critical_point: τ_c where it is known; None fits it, within the range of τ and half of it beyond either end.
        alpha: α where it is known; None fits it, between -4 and 4.
        seed: Seed of the folds.

    Returns:
        The forms with their scores and parameters, and how far the best one is ahead.

    Raises:
        InputError: The arrays are no such measurements.
    """
    arrays = {"x1": x1, "x2": x2, "tau": tau, "value": value} | ({} if value_se is None else {"value_se": value_se})
    data = Measurements(_check(arrays, critical_point, alpha, seed), critical_point, alpha)
    folds = np.random.default_rng(seed).permutation(len(data.y)) % FOLDS
    outer = data.outer_candidates()
    excluded = {} if data.positive else {"power-law": "x1 and x2 have to be positive"}
    forms: dict[str, ScalingForm] = {}
    errors: dict[str, Array] = {}
    for name, form in FORMS.items():
        if name in excluded:
            continue
        fit = FormFit(data, form, data.log_controls if name == "power-law" else data.controls)
        optima = fit.search(outer)
        errors[name] = fit.errors_of_prediction(optima, folds)
        forms[name] = fit.report(name, optima[0], errors[name])
    first, second = sorted(forms, key=lambda name: forms[name].score)[:2]
    difference = errors[second] - errors[first]
    lead, lead_se = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(len(difference)))
    return ScalingFunctions(
        best=first,
        forms=dict(sorted(forms.items(), key=lambda item: item[1].score)),
        excluded=excluded,
        lead=lead,
        lead_se=lead_se,
        significant=lead > SIGNIFICANT * lead_se,
        reference=data.reference,
    )


def _check(
    given: dict[str, ArrayLike], critical_point: float | None, alpha: float | None, seed: int
) -> dict[str, Array]:
    arrays = {name: np.asarray(one) for name, one in given.items()}
    for name, array in arrays.items():
        if array.ndim != 1 or array.dtype.kind not in "iuf":
            raise InputError(f"{name} has shape {array.shape} and type {array.dtype}, expected a list of numbers.")
        if not np.isfinite(array).all():
            where = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(f"{name}[{where}] is {array[where]}, expected finite numbers: drop that measurement.")
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"Lengths differ: {lengths}. Give one entry per measurement in every array.")
    if lengths["value"] < MIN_POINTS:
        raise InputError(f"Got {lengths['value']} measurements, expected at least {MIN_POINTS}: measure more.")
    for name in ("x1", "x2", "tau"):
        if len(np.unique(arrays[name])) < MIN_VALUES:
            raise InputError(
                f"{name} takes {len(np.unique(arrays[name]))} different value(s), expected at least {MIN_VALUES}: a "
                "form cannot be told from fewer."
            )
    if len(np.unique(arrays["value"])) == 1:
        raise InputError(f"All values are {arrays['value'][0]:g}: there is nothing to fit.")
    if "value_se" in arrays and not (arrays["value_se"] > 0).all():
        raise InputError(f"value_se has the entry {arrays['value_se'].min():g}, expected positive numbers.")
    for name, number in (("critical_point", critical_point), ("alpha", alpha)):
        if number is not None and (
            isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number)
        ):
            raise InputError(f"{name} is {number!r}, expected a finite number, or None to fit it.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    return {name: array.astype(np.float64) for name, array in arrays.items()}
