"""The hyperscaling law ν* = 2 - α as a test that can fail: ν* and α from different observables."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from llckit.checks import check_seed
from llckit.criticality.collapse.curves import Curves
from llckit.criticality.collapse.joint_collapse import JointCollapse
from llckit.criticality.exponents.decisions import Order, OrderDecision, Verdict, VerdictDecision, VerdictReason
from llckit.criticality.exponents.exponent_estimates import exponent_estimates
from llckit.criticality.exponents.observables import measured_bimodality, measured_curves
from llckit.criticality.exponents.order import best_collapse, collapse_misfit, decide_order
from llckit.criticality.exponents.order_rules import FEWEST_SIZES
from llckit.criticality.exponents.specific_heat import SpecificHeat, SpecificHeatForm, fit_specific_heat
from llckit.criticality.exponents.standard_errors import standard_errors
from llckit.criticality.exponents.verdict import Exponents, Interval, decide_verdict

__all__ = ["HyperscalingTest", "hyperscaling_test"]

RESAMPLES = 300  # a standard error is then known to 1/√(2 · 300), 4 %


@dataclass(frozen=True)
class HyperscalingTest:
    """Whether ν* = 2 - α holds. An attribute that was not measured is None; intervals are central 90 % (low, high).

    Attributes:
        verdict: "consistent", "violated" or "inconclusive".
        reason: Why it has this verdict, in a sentence.
        order: "continuous", "first-order", "crossover" or "undetermined".
        critical_point: Critical value of the control.
        nu_star: Exponent ν* of the volume.
        alpha: Exponent α of the specific heat, its growth α/ν* times ν*.
        residual: ν* - (2 - α).
        p_value: Probability of a residual as far from 0 as this one, if the law holds.
        alpha_over_nu_star: Growth of the specific heat with the volume.
        beta_over_nu_star: Decline of the order parameter with the volume.
        gamma_over_nu_star: Growth of the susceptibility with the volume.
        rushbrooke: Residual α + 2β + γ - 2. If the susceptibility is N times a second moment of the order parameter,
            2β + γ = ν* by construction, and this residual repeats the one above.
        critical_point_interval: Interval of `critical_point`.
        nu_star_interval: Interval of `nu_star`; its upper end is None if the data set no bound.
        alpha_interval: Interval of `alpha`.
        residual_interval: Interval of `residual`.
        alpha_over_nu_star_interval: Interval of `alpha_over_nu_star`.
        beta_over_nu_star_interval: Interval of `beta_over_nu_star`.
        gamma_over_nu_star_interval: Interval of `gamma_over_nu_star`.
        rushbrooke_interval: Interval of `rushbrooke`.
        specific_heat_form: Form that the specific heat prefers by information criterion: "power" (α > 0) or "cusp"
            (α < 0) if the interval of α excludes 0, otherwise "logarithm" or "jump" (α = 0).
        correction_exponent: Exponent ω of the correction N^(-ω) in the collapse; None if the data need none.
        quality: Reduced chi-square of the collapse that gave ν*.
        smallest_size: Smallest size that took part; smaller ones are left out until the curves collapse.
        sources: Observables that ν* and α came from.
    """

    verdict: Verdict
    reason: str
    order: Order
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
    specific_heat_form: SpecificHeatForm | None = None
    correction_exponent: float | None = None
    quality: float | None = None
    smallest_size: float | None = None
    sources: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The attributes as plain Python values, ready for JSON."""
        plain: dict[str, object] = {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }
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

    Sizes are volumes: numbers of degrees of freedom N, such as parameters, neurons or samples. Then ν* is dν below the
    upper critical dimension and d_c ν above it (Botet, Jullien and Pfeuty, Phys. Rev. Lett. 49, 478, 1982). With
    lengths instead of volumes this is another law, which is false. For a network, over repeated runs (seeds):

        order_parameter   mean of m: test accuracy, or 1 - loss / initial loss
        susceptibility    N · variance of m over seeds
        binder            1 - <m⁴> / (3 <m²>²) over seeds
        specific_heat     Var(nβL) under the tempered posterior, or N · variance of the loss over seeds
        bimodality        `bimodality` of m over seeds; it decides the order and enters no exponent

    ν* and the critical point come from one collapse of order parameter, susceptibility and Binder cumulant; α/ν* comes
    from the specific heat alone, at the place of that collapse. If either came from the other's values, the law would
    hold or fail by construction. The verdict is "violated" at p < 0.01 and otherwise "consistent", provided the 90 %
    interval of the residual reaches at most 0.3 to both sides; else it is "inconclusive". A first-order transition
    keeps the law trivially. See docs/notes/hyperscaling.md for the errors, the verdict and their sources.

    Args:
        size: Volume N of each measurement, positive, shape (n,). 5 sizes or more are advisable.
        control: Control parameter of each measurement, shape (n,).
        observables: Any of the five above, NaN if not measured, each shape (n,). A size counts for an observable if it
            has 4 controls or more, for the bimodality if it has one.
        se: Standard errors by the same names, shape (n,). None: the scatter about the curve serves.
        seed: Seed of the resampling.

    Returns:
        The exponents with intervals, and the verdict.

    Raises:
        InputError: The arrays do not describe curves at several sizes.
    """
    check_seed(seed)
    curves = {name: one for name, one in measured_curves(size, control, observables, se).items() if _enough(one)}
    bimodality = measured_bimodality(size, control, observables, se)
    heat = curves.pop("specific_heat", None)
    if not curves:
        reason = VerdictReason.TOO_FEW_SIZES if heat is None else VerdictReason.ONLY_SPECIFIC_HEAT
        decision = VerdictDecision(reason)
        return HyperscalingTest(decision.verdict, decision.sentence(), "undetermined")
    collapse, curves, heat = _collapsed(curves, heat)
    order = decide_order(curves if heat is None else curves | {"specific_heat": heat}, collapse, bimodality)
    if order.order in ("crossover", "undetermined"):
        decision = VerdictDecision(VerdictReason.NO_CRITICAL_POINT, order)
        return HyperscalingTest(decision.verdict, decision.sentence(), order.order, quality=collapse.quality)
    return _tested(curves, heat, collapse, order, np.random.default_rng(seed))


def _tested(
    curves: dict[str, Curves],
    heat: Curves | None,
    collapse: JointCollapse,
    order: OrderDecision,
    random: np.random.Generator,
) -> HyperscalingTest:
    """Exponents with their errors, and the verdict, for a transition that has a critical point."""
    draws = collapse.resampled(RESAMPLES, random)
    specific = None if heat is None else fit_specific_heat(heat, collapse)
    heat_draws = None
    if specific is not None:
        # Each place twice, with noise of either sign: a chance correlation of the two would enter the residual's error.
        draws = np.vstack([draws, draws])
        place = collapse.unit.converted(draws[:, :3], specific.fit.unit)
        heat_draws = specific.fit.resampled(2 * RESAMPLES, random, place)
        chosen = specific.choice_se * random.standard_normal(RESAMPLES)
        heat_draws[:, 3] += np.concatenate([chosen, -chosen])
    fits = collapse, None if specific is None else specific.fit
    estimates = exponent_estimates(list(curves), *fits, draws, heat_draws)
    errors = standard_errors(curves, heat, fits, estimates)
    exponents = Exponents({name: value for name, (value, _) in estimates.items()}, errors)
    decision = decide_verdict(exponents, order, collapse)
    return HyperscalingTest(
        verdict=decision.verdict,
        reason=decision.sentence(),
        order=order.order,
        critical_point=exponents.value("critical_point"),
        nu_star=exponents.nu_star,
        alpha=exponents.value("alpha"),
        residual=exponents.value("residual"),
        p_value=exponents.p_value,
        alpha_over_nu_star=exponents.value("alpha_over_nu_star"),
        beta_over_nu_star=exponents.value("beta_over_nu_star"),
        gamma_over_nu_star=exponents.value("gamma_over_nu_star"),
        rushbrooke=exponents.value("rushbrooke"),
        critical_point_interval=exponents.interval("critical_point"),
        nu_star_interval=exponents.nu_star_interval,
        alpha_interval=exponents.interval("alpha"),
        residual_interval=exponents.interval("residual"),
        alpha_over_nu_star_interval=exponents.interval("alpha_over_nu_star"),
        beta_over_nu_star_interval=exponents.interval("beta_over_nu_star"),
        gamma_over_nu_star_interval=exponents.interval("gamma_over_nu_star"),
        rushbrooke_interval=exponents.interval("rushbrooke"),
        specific_heat_form=None if specific is None else _form(specific, exponents),
        correction_exponent=float(np.exp(collapse.theta[2])) if collapse.corrected else None,
        quality=collapse.quality,
        smallest_size=min(map(_smallest, curves.values())),
        sources=(("nu_star", tuple(curves)), ("alpha", () if heat is None else ("specific_heat",))),
    )


def _form(specific: SpecificHeat, exponents: Exponents) -> SpecificHeatForm:
    """The preferred form; one with α = 0 if the interval of α holds 0, since exact data prefer any power to none."""
    low, high = exponents.interval("alpha") or (0.0, 0.0)
    return min(("logarithm", "jump"), key=specific.forms.index) if low < 0 < high else specific.forms[0]


def _enough(curves: Curves) -> bool:
    return len(curves.first) >= FEWEST_SIZES


def _collapsed(
    curves: dict[str, Curves], heat: Curves | None
) -> tuple[JointCollapse, dict[str, Curves], Curves | None]:
    """The collapse of all sizes; if they do not collapse, of the largest ones that do, 4 at least."""
    first = collapse = best_collapse(curves)
    tried = curves
    while collapse_misfit(collapse) and all(len(one.first) > FEWEST_SIZES + 1 for one in tried.values()):
        tried = {name: one.without_smallest() for name, one in tried.items()}
        collapse = best_collapse(tried)
    if collapse_misfit(collapse):
        return first, curves, heat
    while heat is not None and len(heat.first) > FEWEST_SIZES and _smallest(heat) < min(map(_smallest, tried.values())):
        heat = heat.without_smallest()
    return collapse, tried, heat


def _smallest(curves: Curves) -> float:
    # Rounded: the same size must be the same number for every observable.
    return round(float(np.exp(curves.log_size.min() + curves.log_size_centre)), 6)
