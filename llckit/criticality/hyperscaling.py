"""The hyperscaling law ν* = 2 - α as a test that can fail: ν* and α from different observables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2, norm

from llckit.criticality.curves import Array, Curves
from llckit.criticality.hyperscaling_errors import exponent_estimates, in_unit, standard_errors
from llckit.criticality.joint_collapse import JointCollapse, joint_collapse, master_curves
from llckit.criticality.order import (
    MIN_SIZES,
    MOST_UNEXPLAINED,
    WORST_QUALITY,
    best_collapse,
    decide_order,
    measured_bimodality,
    measured_curves,
)
from llckit.errors import InputError

__all__ = ["HyperscalingTest", "hyperscaling_test"]

LEVEL = 0.01  # of the test
WIDEST = 0.3  # half-width of the residual's interval from which on the law is not tested
RESAMPLES = 300  # a standard error is then known to 1/√(2 · 300), 4 %
NORMAL_90 = float(norm.ppf(0.95))
OVERFIT_QUALITY, OVERFIT_LEVEL = 0.5, 1e-3
ALPHA_STARTS = (-0.3, 0.0, 0.3, 0.7)

Interval = tuple[float, float]


@dataclass(frozen=True)
class HyperscalingTest:
    """Whether ν* = 2 - α holds. What could not be measured is None; intervals are central 90 % (low, high).

    Attributes:
        verdict: "consistent", "violated" or "inconclusive".
        reason: Why, in a sentence.
        order: "continuous", "first-order", "crossover" or "undetermined".
        critical_point: Critical value of the control.
        nu_star: Exponent ν* of the volume.
        alpha: Exponent α of the specific heat, its growth α/ν* times ν*.
        residual: ν* - (2 - α).
        p_value: Of a residual as far from 0 as this one, were the law true.
        alpha_over_nu_star: Growth of the specific heat with the volume.
        beta_over_nu_star: Decline of the order parameter with the volume.
        gamma_over_nu_star: Growth of the susceptibility with the volume.
        rushbrooke: Residual α + 2β + γ - 2. Where the susceptibility is N times a second moment of the order
            parameter, 2β + γ = ν* by construction, and this residual repeats the one above.
        critical_point_interval: Interval of `critical_point`.
        nu_star_interval: Interval of `nu_star`; None at its upper end where the data set no bound.
        alpha_interval: Interval of `alpha`.
        residual_interval: Interval of `residual`.
        alpha_over_nu_star_interval: Interval of `alpha_over_nu_star`.
        beta_over_nu_star_interval: Interval of `beta_over_nu_star`.
        gamma_over_nu_star_interval: Interval of `gamma_over_nu_star`.
        rushbrooke_interval: Interval of `rushbrooke`.
        specific_heat_form: What its values prefer by information criterion: "power" (α > 0) or "cusp" (α < 0), where
            the interval of α excludes 0, otherwise "logarithm" or "jump" (α = 0).
        correction_exponent: ω of the correction N^(-ω) in the collapse; None where the data need none.
        quality: Reduced chi-square of the collapse that gave ν*.
        smallest_size: Smallest size that took part: smaller ones are left out until the curves collapse.
        sources: The observables that ν* and α came from.
    """

    verdict: str
    reason: str
    order: str
    critical_point: float | None = None
    nu_star: float | None = None
    alpha: float | None = None
    residual: float | None = None
    p_value: float | None = None
    alpha_over_nu_star: float | None = None
    beta_over_nu_star: float | None = None
    gamma_over_nu_star: float | None = None
    rushbrooke: float | None = None
    critical_point_interval: Interval | None = None
    nu_star_interval: tuple[float, float | None] | None = None
    alpha_interval: Interval | None = None
    residual_interval: Interval | None = None
    alpha_over_nu_star_interval: Interval | None = None
    beta_over_nu_star_interval: Interval | None = None
    gamma_over_nu_star_interval: Interval | None = None
    rushbrooke_interval: Interval | None = None
    specific_heat_form: str | None = None
    correction_exponent: float | None = None
    quality: float | None = None
    smallest_size: float | None = None
    sources: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return plain | {"sources": {name: list(observables) for name, observables in self.sources}}


def hyperscaling_test(
    *,
    size: ArrayLike,
    control: ArrayLike,
    observables: Mapping[str, ArrayLike],
    se: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
) -> HyperscalingTest:
    """Test the hyperscaling law in the form that needs no dimension, ν* = 2 - α.

    Sizes are volumes: numbers of degrees of freedom N, such as parameters or neurons or samples. ν* is then dν below
    the upper critical dimension and d_c ν above it (Botet, Jullien and Pfeuty, Phys. Rev. Lett. 49, 478, 1982). With
    lengths in the place of volumes this is another law, which is false.

    What plays which part for a network, over repeated runs (seeds) of one size at one value of the control:

        observable        quantity
        order_parameter   mean of m: test accuracy, or 1 - loss / initial loss
        susceptibility    N · variance of m over seeds
        binder            1 - <m⁴> / (3 <m²>²) over seeds
        specific_heat     Var(nβL), the heat capacity under the tempered posterior, or N · variance of the loss
                          over seeds
        bimodality        (skewness² + 1)/kurtosis of m over seeds (`bimodality`), for m without a sign: of two values
                          it is 1. It decides the order and enters no exponent

    ν*, the critical point and the ratios come from one collapse of order parameter, susceptibility and Binder
    cumulant, which share critical point and ν* (`joint_collapse`). α/ν* comes from the values of the specific heat
    alone, `C = N^(α/ν*) f(x) + b (N^(α/ν*) - 1) / (α/ν*)`: a power and a background, a logarithm at α = 0, a cusp
    below. It takes x from the others. Were ν* taken from the specific heat as well, or α from the others, the law
    would hold or fail by construction. Corrections to scaling `N^(-ω)` enter where Schwarz's criterion asks for them.

    Errors come from 300 resamplings of every observable about its fitted curve, each with its own penalty on the
    roughness of the curve, widened to what the curvature of the likelihood gives where that is more. The specific heat
    is resampled twice at each resampled critical point and ν*, with noise of opposite signs, so that no chance
    correlation of the two gets into the error of the residual. Observables are resampled independently since their
    covariance is not part of the input: those of one simulation are correlated, which this neglects. Where leaving out
    the smallest size moves a result by more than 3 standard errors of that move, the move enters its error too, divided
    by `1 - (N_1 / N_2)^ω`: it is then taken for the share that the smallest size has in a remaining correction, of ω =
    1/2, or of ω = 1 where the collapse is already corrected. The exponent of a correction that is fitted is hardly
    known: what moves with ω = 1/2 or 1 in its place, where that describes the data as well, enters too, and so does the
    move of α with or without a correction to the specific heat, by the probability of the other choice.

    The verdict is "violated" at p < 0.01 and "consistent" otherwise, where the 90 % interval of the residual reaches
    no more than 0.3 to both sides. A first-order transition has ν* = α = 1 and keeps the law trivially: verdict
    "consistent", with that reason. All else is "inconclusive": crossovers and undetermined orders, no specific heat
    or nothing else, fewer than 3 sizes, curves that do not collapse, or that collapse better than their errors allow.

    Args:
        size: Volume N of each measurement, shape (n,), positive. 5 sizes or more are advisable.
        control: Control parameter of each measurement, shape (n,).
        observables: Any of "order_parameter", "susceptibility", "specific_heat", "binder" and "bimodality", each of
            shape (n,), NaN where it was not measured. A size counts for an observable from 4 controls on, for the
            bimodality from one on.
        se: Standard errors by the same names, shape (n,). Without them the scatter about the curve serves.
        seed: Seed of the resampling.

    Returns:
        The exponents with intervals, and the verdict.

    Raises:
        InputError: The arrays do not describe curves at several sizes.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    curves = {name: one for name, one in measured_curves(size, control, observables, se).items() if _enough(one)}
    bimodality = measured_bimodality(size, control, observables, se)
    heat = curves.pop("specific_heat", None)
    if not curves:
        reason = (
            "Nothing but a specific heat is measured at 3 sizes or more: nu* from the same values would make the law "
            "an identity. Measure an order parameter, a susceptibility or a Binder cumulant."
            if heat is not None
            else "No observable is measured at 4 controls of 3 sizes or more: the range of sizes is too short."
        )
        return HyperscalingTest("inconclusive", reason, "undetermined")

    collapse, curves, heat = _collapsed(curves, heat)
    order = decide_order(curves if heat is None else curves | {"specific_heat": heat}, collapse, bimodality)
    if order.order in ("crossover", "undetermined"):
        return HyperscalingTest("inconclusive", order.reason, order.order, quality=collapse.quality)
    random = np.random.default_rng(seed)
    draws = collapse.resampled(RESAMPLES, random)
    fits, samples, forms = (collapse, None), (draws, None), []
    if heat is not None:
        fit, forms, choice = _specific_heat(heat, collapse)
        # Each place twice, with noise of either sign: a chance correlation of the two would enter the residual's error.
        draws = np.vstack([draws, draws])
        heat_draws = fit.resampled(2 * RESAMPLES, random, in_unit(draws[:, :3], collapse.unit, fit.unit))
        chosen = choice * random.standard_normal(RESAMPLES)
        heat_draws[:, 3] += np.concatenate([chosen, -chosen])
        fits, samples = (collapse, fit), (draws, heat_draws)
    estimates = exponent_estimates(list(curves), *fits, *samples)
    errors = standard_errors(curves, heat, fits, estimates)
    # Exact data prefer any power to none; where its interval holds 0, that is what they say.
    if forms and abs(estimates["alpha"][0]) < NORMAL_90 * errors["alpha"]:
        forms = [one for one in forms if one in ("logarithm", "jump")]
    result = HyperscalingTest(
        **_reported(estimates, errors, collapse),
        verdict="inconclusive",
        reason=order.reason,
        order=order.order,
        specific_heat_form=forms[0] if forms else None,
        correction_exponent=float(np.exp(collapse.theta[2])) if collapse.corrected else None,
        quality=collapse.quality,
        smallest_size=min(map(_smallest, curves.values())),
        sources=(("nu_star", tuple(curves)), ("alpha", () if heat is None else ("specific_heat",))),
    )
    verdict, reason = _verdict(result, collapse)
    return replace(result, verdict=verdict, reason=reason)


def _enough(curves: Curves) -> bool:
    return len(curves.first) >= MIN_SIZES


def _collapsed(
    curves: dict[str, Curves], heat: Curves | None
) -> tuple[JointCollapse, dict[str, Curves], Curves | None]:
    """The collapse of all sizes, or of the largest ones where smaller sizes are no part of it; 4 are kept."""
    first = collapse = best_collapse(curves)
    tried = curves
    while _fails(collapse) and all(len(one.first) > MIN_SIZES + 1 for one in tried.values()):
        tried = {name: one.without_smallest() for name, one in tried.items()}
        collapse = best_collapse(tried)
    if _fails(collapse):
        return first, curves, heat
    while heat is not None and len(heat.first) > MIN_SIZES and _smallest(heat) < min(map(_smallest, tried.values())):
        heat = heat.without_smallest()
    return collapse, tried, heat


def _smallest(curves: Curves) -> float:
    # Rounded: the same size must be the same number for every observable.
    return round(float(np.exp(curves.log_size.min() + curves.log_size_centre)), 6)


def _fails(collapse: JointCollapse) -> bool:
    if any(one.known_se for one in collapse.curves):
        return collapse.quality > WORST_QUALITY
    return collapse.unexplained > MOST_UNEXPLAINED


def _specific_heat(heat: Curves, collapse: JointCollapse) -> tuple[JointCollapse, list[str], float]:
    """Growth of the specific heat at the place of the collapse, its forms by preference, and an error of the growth."""
    masters, unit = master_curves({"specific_heat": heat})
    place = in_unit(collapse.theta[None, :3], collapse.unit, unit)[0]
    fits = [
        joint_collapse(masters, unit, corrected=form, start=np.append(place, ratio), fixed=(0, 1, 2))
        for ratio in ALPHA_STARTS
        for form in (False, True)
    ]
    power = min(fits, key=lambda fit: fit.information)
    other = min((fit for fit in fits if fit.corrected != power.corrected), key=lambda fit: fit.information)
    probability = 1 / (1 + np.exp(min((other.information - power.information) / 2, 500.0)))
    # The error of having decided for or against a correction, the other choice as probable as the criterion makes it.
    choice = float(abs(other.theta[3] - power.theta[3]) * np.sqrt(probability))
    shared = {"corrected": power.corrected, "start": np.append(place, 0.0), "fixed": (0, 1, 2, 3)}
    logarithm = joint_collapse(masters, unit, **shared)
    jump = joint_collapse((replace(masters[0], background=False),), unit, **shared)
    forms = {"power" if power.theta[3] > 0 else "cusp": power, "logarithm": logarithm, "jump": jump}
    return power, sorted(forms, key=lambda form: forms[form].information), choice


def _reported(
    estimates: dict[str, tuple[float, Array]], errors: dict[str, float], collapse: JointCollapse
) -> dict[str, Any]:
    """Values, intervals and the p-value under the names of the result."""
    reported: dict[str, Any] = {}
    for name, (value, _) in estimates.items():
        reach = NORMAL_90 * errors[name]
        if name != "kappa":
            reported |= {name: value, f"{name}_interval": (value - reach, value + reach)}
        elif value > 0:
            reported["nu_star"] = 1 / value
            reported["nu_star_interval"] = (1 / (value + reach), 1 / (value - reach) if value > reach else None)
    if "residual" in estimates:
        reported["p_value"] = float(2 * norm.sf(abs(estimates["residual"][0]) / max(errors["residual"], 1e-300)))
    return reported


def _verdict(result: HyperscalingTest, collapse: JointCollapse) -> tuple[str, str]:
    if result.order == "first-order":
        return "consistent", (
            f"The law is satisfied trivially, with nu* = alpha = 1 at a first-order transition. {result.reason}"
        )
    if result.residual is None or result.residual_interval is None or result.p_value is None:
        return "inconclusive", (
            "No specific heat is measured at 4 controls of 3 sizes or more: alpha from the other observables would "
            "make the law an identity."
        )
    squares, freedom = collapse.chi_square.sum(), collapse.freedom.sum()
    overfit = chi2.cdf(squares, freedom) < OVERFIT_LEVEL and collapse.quality < OVERFIT_QUALITY
    if overfit and all(one.known_se for one in collapse.curves):
        return "inconclusive", (
            f"The curves collapse better than their standard errors allow (reduced chi-square {result.quality:.2g}): "
            "the errors are too large, or the measurements depend on each other."
        )
    low, high = result.residual_interval
    if not (high - low) / 2 <= WIDEST:
        return "inconclusive", (
            f"The residual is known to ±{(high - low) / 2:.2g} only, {WIDEST} is needed: measure a longer range of "
            "sizes, or with smaller errors."
        )
    interval = f"90 % interval {low:.3f} to {high:.3f}"
    told = f"nu* - (2 - alpha) is {result.residual:.3f}, {interval}, p = {result.p_value:.2g}."
    return ("violated" if result.p_value < LEVEL else "consistent"), told
