"""Scaling functions of two control variables: which of five forms describes them, by cross-validation."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_number, check_seed
from llckit.criticality.arrays import Array, check_equal_lengths, check_numbers, check_positive_entries
from llckit.criticality.exponents.form_fit import FOLDS, FormFit, Measurements, ScalingForm
from llckit.criticality.exponents.scaling_forms import FORMS
from llckit.errors import InputError

__all__ = ["ScalingFunctions", "compare_scaling_functions"]

FEWEST_POINTS = 40  # four times the parameters of the largest form
FEWEST_VALUES = 4  # enough to see a bend
SIGNIFICANT = 2.0  # standard errors of the difference between two scores


@dataclass(frozen=True)
class ScalingFunctions:
    """Five forms of `V = |(τ - τ_c) / T|^α F(x1, x2)`, compared.

    Attributes:
        best: Name of the form of least score.
        forms: All fitted forms by name, best first.
        excluded: Reason for each form that could not be fitted, by name.
        lead: Score of the second form minus that of the best.
        lead_se: Standard error of `lead`, from the scatter of the paired differences over the measurements.
        significant: Whether the lead is more than two standard errors. If not, the data do not decide between the
            first two forms.
        reference: Constants of the equations: means `m1`, `m2` and standard deviations `s1`, `s2` of the controls,
            geometric means `g1`, `g2` if all controls are positive, and the range of τ, `T`.
    """

    best: str
    forms: dict[str, ScalingForm]
    excluded: dict[str, str]
    lead: float
    lead_se: float
    significant: bool
    reference: dict[str, float]

    def to_dict(self) -> dict[str, object]:
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

    with X = x - m, m the mean, s the standard deviation and g the geometric mean of a control. α, τ_c and the
    parameters of F are fitted together by least squares, weighted with `value_se`. The score is the mean squared error
    of prediction over 10 folds (Stone, J. R. Stat. Soc. B 36, 111, 1974); the best form has the least. The standard
    error of a difference of scores takes measurements as independent, although folds share data: a guide, not a test.
    See docs/notes/scaling_functions.md.

    Args:
        x1: First control variable of each measurement, at least 4 different values, shape (n,), n ≥ 40.
        x2: Second control variable, at least 4 different values, shape (n,). The power law needs both positive.
        tau: Variable τ with the critical point, at least 4 different values, shape (n,).
        value: V, shape (n,).
        value_se: Standard error of each value, positive, shape (n,). None: all values count alike.
        critical_point: τ_c if it is known; None fits it, within the range of τ and half of it beyond either end.
        alpha: α if it is known; None fits it, between -4 and 4.
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
    excluded = {
        name: "x1 and x2 have to be positive" for name, form in FORMS.items() if form.logarithmic and not data.positive
    }
    forms: dict[str, ScalingForm] = {}
    errors: dict[str, Array] = {}
    for name, form in FORMS.items():
        if name in excluded:
            continue
        fit = FormFit(data, form)
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
    arrays = {name: check_numbers(name, one) for name, one in given.items()}
    check_equal_lengths(arrays)
    if len(arrays["value"]) < FEWEST_POINTS:
        raise InputError(f"value has {len(arrays['value'])} entries; expected at least {FEWEST_POINTS}; measure more")
    for name in ("x1", "x2", "tau"):
        different = len(np.unique(arrays[name]))
        if different < FEWEST_VALUES:
            raise InputError(
                f"{name} has {different} different value(s); expected at least {FEWEST_VALUES}, to tell the forms apart"
            )
    if len(np.unique(arrays["value"])) == 1:
        raise InputError(f"value is {arrays['value'][0]:g} throughout; expected values that differ")
    if "value_se" in arrays:
        check_positive_entries("value_se", arrays["value_se"])
    for name, number in (("critical_point", critical_point), ("alpha", alpha)):
        if number is not None:
            check_number(name, number, hint=", or None to fit it")
    check_seed(seed)
    return arrays
