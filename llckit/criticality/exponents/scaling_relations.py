"""Scaling relations: the laws between critical exponents, and how well given exponents keep them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from llckit.checks import check_number, shown
from llckit.errors import InputError

__all__ = ["ScalingRelation", "scaling_relations"]


@dataclass(frozen=True)
class ScalingRelation:
    """One law, and how far the exponents are from it.

    Attributes:
        name: Name of the law.
        law: The law as an equation.
        residual: Left side minus right side of the law, 0 if it holds.
        standard_error: Standard error of the residual; None if no exponent of the law has one.
        z: `residual / standard_error`; None without a positive standard error.
    """

    name: str
    law: str
    residual: float
    standard_error: float | None
    z: float | None


class Law(NamedTuple):
    """A scaling law.

    Attributes:
        name: Name of the law.
        equation: The law as an equation.
        exponents: Names of the exponents in it.
        residual: Left side minus right side, of the exponents in that order.
        gradient: Derivatives of the residual in each of them.
    """

    name: str
    equation: str
    exponents: tuple[str, ...]
    residual: Callable[..., float]
    gradient: Callable[..., Sequence[float]]


LAWS = (
    Law(
        "Rushbrooke",
        "alpha + 2 beta + gamma = 2",
        ("alpha", "beta", "gamma"),
        lambda alpha, beta, gamma: alpha + 2 * beta + gamma - 2,
        lambda alpha, beta, gamma: (1, 2, 1),
    ),
    Law(
        "Widom",
        "gamma = beta (delta - 1)",
        ("beta", "gamma", "delta"),
        lambda beta, gamma, delta: gamma - beta * (delta - 1),
        lambda beta, gamma, delta: (1 - delta, 1, -beta),
    ),
    Law(
        "Fisher",
        "gamma = nu (2 - eta)",
        ("gamma", "nu", "eta"),
        lambda gamma, nu, eta: gamma - nu * (2 - eta),
        lambda gamma, nu, eta: (1, eta - 2, nu),
    ),
    Law(
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
    needs no dimension, `ν* = 2 - α`. The volume exponent ν* is dν below the upper critical dimension d_c and
    d_c·ν above it (Botet, Jullien and Pfeuty, Phys. Rev. Lett. 49, 478, 1982). So this form also holds for
    mean-field systems, for which `dν = 2 - α` fails.

    Standard errors are propagated to first order, with the exponents taken as independent. Exponents from one collapse
    are not independent: they keep some of these laws by construction, which then proves nothing.

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
        One record for each law that can be tested, in the order above.

    Raises:
        InputError: An exponent or a standard error is no finite number, a standard error has no exponent, or the
            exponents complete no law.
    """
    named = {"alpha": alpha, "beta": beta, "gamma": gamma, "delta": delta, "nu": nu, "eta": eta, "nu_star": nu_star}
    exponents = {name: check_number(name, value) for name, value in named.items() if value is not None}
    errors = _checked_errors(standard_errors, exponents)
    relations = []
    for law in LAWS:
        if not set(law.exponents) <= set(exponents):
            continue
        values = [exponents[one] for one in law.exponents]
        slopes = zip(law.exponents, law.gradient(*values), strict=True)
        known = [slope * errors[one] for one, slope in slopes if one in errors]
        standard_error = math.hypot(*known) if known else None
        residual = law.residual(*values)
        z = residual / standard_error if standard_error else None
        relations.append(ScalingRelation(law.name, law.equation, residual, standard_error, z))
    if not relations:
        choices = "; ".join(f"{', '.join(law.exponents)} ({law.name})" for law in LAWS)
        raise InputError(f"exponents are {', '.join(exponents) or 'not given'}; expected those of a law: {choices}")
    return relations


def _checked_errors(standard_errors: Mapping[str, float] | None, exponents: Mapping[str, float]) -> dict[str, float]:
    if not isinstance(standard_errors, Mapping | None):
        raise InputError(f"standard_errors is {shown(standard_errors)}; expected a mapping such as {{'beta': 0.01}}")
    for name in standard_errors or {}:
        if name not in exponents:
            raise InputError(
                f"standard_errors has {name!r}; expected exponents that are given ({', '.join(exponents)}); give that "
                "exponent too, or drop its error"
            )
    return {
        name: check_number(f"standard_errors[{name!r}]", error, 0) for name, error in (standard_errors or {}).items()
    }
