"""What a trace says: λ̂, its error, and the figures by which both are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from llckit.sampling import Trace, ess_bulk, mcse_mean, rhat
from llckit.sampling.diagnostics import MIN_DRAWS, drifts, error_of_mean
from llckit.sampling.diagnostics import Z95 as Z95
from llckit.sampling.stopping import SMALLEST

HEAT_ERROR = 0.2  # relative error of the predicted heat of minibatches, which is of first order only


@dataclass(frozen=True)
class Statistics:
    """Means, errors and diagnostics of one trace; all NaN if a chain diverged.

    Attributes:
        llc: λ̂, the mean of nβ (L(w) − L(w*)) over all draws less `heat`.
        mcse: Standard error of λ̂: Monte Carlo error (see `error_of_mean`) and error of the heat.
        llc_per_chain: Mean of each chain less `heat`, shape (chains,).
        llc_variance: Var[nβ L].
        sensitivity_n_beta: ∂λ̂/∂ln nβ = λ̂ − Var[nβ L], without the heat.
        sensitivity_n_beta_mcse: Its Monte Carlo standard error.
        sensitivity_localization: ∂λ̂/∂ln γ = −γ/2 Cov(nβ L, ‖w − w*‖²).
        sensitivity_localization_mcse: Its Monte Carlo standard error.
        observed: Mean and standard error of each observed function, by name.
        virial: E[(w − w*)·∇U] / dim, 1 under the posterior.
        virial_mcse: Its Monte Carlo standard error.
        rhat: Split rank-normalised R-hat.
        drifts: Whether the mean moves from the first half of the draws to the second.
        ess: Bulk effective sample size.
        heat: What the noise of minibatches adds to the mean, to first order; known even if a chain diverged.
    """

    llc: float
    mcse: float
    llc_per_chain: np.ndarray
    llc_variance: float
    sensitivity_n_beta: float
    sensitivity_n_beta_mcse: float
    sensitivity_localization: float
    sensitivity_localization_mcse: float
    observed: dict[str, tuple[float, float]]
    virial: float
    virial_mcse: float
    rhat: float
    drifts: bool
    ess: float
    heat: float

    @classmethod
    def from_trace(cls, trace: Trace, localization: float, dim: int) -> Statistics:
        """Compute all figures of a trace.

        Args:
            trace: The draws.
            localization: γ they were drawn at.
            dim: Number of sampled parameters.

        Returns:
            The statistics.
        """
        excess, chains = trace.excess, trace.excess.shape[1]
        heat = float(trace.heat.mean())
        if len(excess) < MIN_DRAWS or trace.diverged:
            nan = math.nan
            return cls(nan, nan, np.full(chains, nan), nan, nan, nan, nan, nan, {}, nan, nan, nan, False, nan, heat)
        heat_error = math.hypot(HEAT_ERROR * heat, trace.heat.std() / math.sqrt(chains))
        variance = float(excess.var(ddof=1))
        deviation = excess - excess.mean()
        with_distance = -localization / 2 * deviation * (trace.distance2 - trace.distance2.mean())
        return cls(
            llc=float(excess.mean()) - heat,
            mcse=math.hypot(error_of_mean(excess), heat_error),
            llc_per_chain=excess.mean(axis=0) - heat,
            llc_variance=variance,
            sensitivity_n_beta=float(excess.mean()) - variance,
            sensitivity_n_beta_mcse=mcse_mean(excess - deviation**2),
            sensitivity_localization=float(with_distance.mean()),
            sensitivity_localization_mcse=mcse_mean(with_distance),
            observed={name: (float(x.mean()), mcse_mean(x)) for name, x in trace.observed.items()},
            virial=float(trace.virial.mean()) / dim,
            virial_mcse=mcse_mean(trace.virial) / dim,
            rhat=rhat(excess),
            drifts=drifts(excess),
            ess=ess_bulk(excess),
            heat=heat,
        )

    @property
    def leans(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The sensitivities to nβ and to γ, each with its standard error."""
        return (
            (self.sensitivity_n_beta, self.sensitivity_n_beta_mcse),
            (self.sensitivity_localization, self.sensitivity_localization_mcse),
        )

    def shown(self) -> dict[str, Any]:
        """The figures that an `LLCEstimate` has under the same names."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("virial_mcse", "drifts", "heat")}


def is_precise(llc: float, mcse: float, rel_tol: float) -> bool:
    """Whether a standard error is as small as asked, relative to λ̂ (taken as at least 0.1)."""
    return mcse <= rel_tol * max(abs(llc), SMALLEST)
