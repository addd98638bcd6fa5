"""How accurate estimates are on toys whose answer is known in closed form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from llckit.llc import Z95

__all__ = ["Accuracy", "ToyResult", "accuracy_of"]


class ToyResult(NamedTuple):
    """The estimate of one toy beside its closed form.

    Attributes:
        name: Name of the toy.
        llc_limit: λ, the limit of λ̂ at large n_beta.
        multiplicity: Multiplicity m of λ.
        exact: E[nβ (L − L*)] at the n_beta and localization used; None if it has no closed form.
        llc: λ̂.
        mcse: Standard error of λ̂.
        n_beta: nβ of the estimate.
        localization: γ of the estimate.
        outcome: Value of the outcome.
        seconds: Wall time.
    """

    name: str
    llc_limit: float
    multiplicity: int
    exact: float | None
    llc: float
    mcse: float
    n_beta: float
    localization: float
    outcome: str
    seconds: float

    @property
    def z(self) -> float | None:
        """Distance of λ̂ from the exact value in standard errors; None if there is no exact value."""
        return None if self.exact is None else (self.llc - self.exact) / self.mcse

    @property
    def error(self) -> float:
        """Relative distance of λ̂ from its limit at large n_beta."""
        return self.llc / self.llc_limit - 1

    def to_dict(self) -> dict[str, str | int | float | None]:
        """One entry of `llckit bench --json`.

        Returns:
            The values by name; `llc_limit` is called "lambda" there.
        """
        return {
            "name": self.name,
            "lambda": self.llc_limit,
            "multiplicity": self.multiplicity,
            "exact": self.exact,
            "llc": self.llc,
            "mcse": self.mcse,
            "z": self.z,
            "error": self.error,
            "n_beta": self.n_beta,
            "localization": self.localization,
            "outcome": self.outcome,
            "seconds": self.seconds,
        }


class Accuracy(NamedTuple):
    """Relative errors against the exact value at each estimate's own n_beta and localization.

    Attributes:
        cases: Number of toys with an exact value.
        median: Median of the absolute relative errors.
        percentile_95: Their 95th percentile.
        worst: The largest.
        covered: Share of the 95 % intervals that hold the exact value.
    """

    cases: int
    median: float
    percentile_95: float
    worst: float
    covered: float


def accuracy_of(results: Iterable[ToyResult]) -> Accuracy:
    """Summarise the results that have an exact value.

    Args:
        results: Results of toys; at least one must have an exact value.

    Returns:
        The summary.
    """
    cases = [(result.llc, result.exact, result.z) for result in results]
    exact_cases = [(llc, exact, z) for llc, exact, z in cases if exact is not None and z is not None]
    errors = [abs(llc / exact - 1) for llc, exact, _ in exact_cases]
    return Accuracy(
        cases=len(exact_cases),
        median=float(np.median(errors)),
        percentile_95=float(np.percentile(errors, 95)),
        worst=max(errors),
        covered=float(np.mean([abs(z) <= Z95 for *_, z in exact_cases])),
    )
