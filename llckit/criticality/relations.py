"""Scaling relations: the laws that tie critical exponents together, and how well given exponents keep them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

from llckit.errors import InputError

__all__ = ["ScalingRelation", "scaling_relations"]


@dataclass(frozen=True)
class ScalingRelation:
    """One law and how far the exponents are from it.

    Attributes:
        name: Name of the law.
        law: The law as an equation.
        residual: Left side minus right side of the law, 0 where it holds.
        standard_error: Standard error of the residual; None when no exponent of the law has one.
        z: `residual / standard_error`; None without a positive standard error.
    """

    name: str
    law: str
    residual: float
    standard_error: float | None
    z: float | None


# Each law: its exponents, the residual, and the derivatives of the residual, in the order of the exponents.
_LAWS = (
    (
        "Rushbrooke",
        "alpha + 2 beta + gamma = 2",
        ("alpha", "beta", "gamma"),
        lambda alpha, beta, gamma: alpha + 2 * beta + gamma - 2,
        lambda alpha, beta, gamma: (1, 2, 1),
    ),
    (
        "Widom",
        "gamma = beta (delta - 1)",
        ("beta", "gamma", "delta"),
        lambda beta, gamma, delta: gamma - beta * (delta - 1),
        lambda beta, gamma, delta: (1 - delta, 1, -beta),
    ),
    (
        "Fisher",
        "gamma = nu (2 - eta)",
        ("gamma", "nu", "eta"),
        lambda gamma, nu, eta: gamma - nu * (2 - eta),
        lambda gamma, nu, eta: (1, eta - 2, nu),
    ),
    (
        "Josephson",
        "nu_star = 2 - alpha",
        ("alpha", "nu_star"),
        lambda alpha, nu_star: nu_star - (2 - alpha),
        lambda alpha, nu_star: (1, 1),
    ),
)


def scaling_relations(
    *,
    alpha: float | None = None,
    beta: float | None = None,
    gamma: float | None = None,
    delta: float | None = None,
    nu: float | None = None,
    eta: float | None = None,
    nu_star: float | None = None,
    standard_errors: Mapping[str, float] | None = None,
) -> list[ScalingRelation]:
    """Residuals of the scaling laws whose exponents are all given.

    Rushbrooke `α + 2β + γ = 2`, Widom `γ = β(δ - 1)`, Fisher `γ = ν(2 - η)`, and Josephson in the form that
    needs no dimension, `ν* = 2 - α`: the volume exponent ν* is dν below the upper critical dimension d_c and
    d_c·ν above it (Botet, Jullien and Pfeuty, Phys. Rev. Lett. 49, 478, 1982), so that this form also holds for
    mean-field systems, where `dν = 2 - α` fails.

    Standard errors are propagated to first order, the exponents taken as independent. Exponents that come from
    one collapse are not: they keep some of these laws by construction, which then proves nothing.

    Args:
        alpha: Exponent α of the specific heat.
        beta: Exponent β of the order parameter.
        gamma: Exponent γ of the susceptibility.
        delta: Exponent δ of the order parameter against the field, at the critical point.
        nu: Exponent ν of the correlation length.
        eta: Exponent η of the correlations at the critical point.
        nu_star: Exponent ν* of the volume, as `finite_size_scaling` measures it with a volume as size.
        standard_errors: Standard errors by name of the exponent, e.g. `{"beta": 0.01}`; exponents without one
            count as exact.

    Returns:
        One record per law that can be tested, in the order above.

    Raises:
        InputError: An exponent or a standard error is no finite number, a standard error has no exponent, or
            the exponents do not complete any law.
    """
    named = {"alpha": alpha, "beta": beta, "gamma": gamma, "delta": delta, "nu": nu, "eta": eta, "nu_star": nu_star}
    exponents = {name: _number(name, value) for name, value in named.items() if value is not None}
    if not isinstance(standard_errors, Mapping | None):
        raise InputError(f"standard_errors is {standard_errors!r}, expected a mapping such as {{'beta': 0.01}}.")
    errors = {name: _number(f"standard_errors[{name!r}]", error) for name, error in (standard_errors or {}).items()}
    for name, error in errors.items():
        if name not in exponents:
            raise InputError(
                f"standard_errors has {name!r}, which is not among the exponents given ({', '.join(exponents)}): "
                "give that exponent too, or drop its error."
            )
        if error < 0:
            raise InputError(f"standard_errors[{name!r}] is {error:g}, expected 0 or more.")

    relations = []
    for name, law, needed, residual, gradient in _LAWS:
        if not set(needed) <= set(exponents):
            continue
        values = [exponents[one] for one in needed]
        known = [slope * errors[one] for one, slope in zip(needed, gradient(*values), strict=True) if one in errors]
        standard_error = math.hypot(*known) if known else None
        distance = residual(*values)
        z = distance / standard_error if standard_error else None
        relations.append(ScalingRelation(name, law, distance, standard_error, z))
    if not relations:
        choices = "; ".join(f"{name} {', '.join(needed)}" for name, _, needed, *_ in _LAWS)
        raise InputError(f"Got {', '.join(exponents) or 'no exponent'}, which completes no law. Needed: {choices}.")
    return relations


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise InputError(f"{name} is {value!r}, expected a finite number.")
    return float(value)
