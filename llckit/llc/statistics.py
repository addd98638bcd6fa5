"""What a trace says: λ̂, its error, and the figures by which both are judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from llckit.sampling import Trace, ess_bulk, mcse_mean, rhat
from llckit.sampling.diagnostics import MIN_DRAWS, controlled, drifts, error_of_mean
from llckit.sampling.diagnostics import Z95 as Z95
from llckit.sampling.stopping import SMALLEST

KNOWN = 1e-3  # of λ̂: no error is smaller, since γ may take as much of it (see `choose_scale`), and rounding its share


@dataclass(frozen=True)
class Statistics:
    """Means, errors and diagnostics of one trace; all NaN if a chain diverged.

    Attributes:
        llc: λ̂, the mean of nβ (L(w) − L(w*)) over all draws, `controlled` by the virial, less `heat`.
        mcse: Standard error of λ̂: Monte Carlo error (see `error_of_mean`) and error of the heat; a thousandth of λ̂ at
            least.
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
        heat: What the noise of minibatches adds to the mean.
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
        if len(excess) < MIN_DRAWS or trace.diverged:
            nan = math.nan
            return cls(nan, nan, np.full(chains, nan), nan, nan, nan, nan, nan, {}, nan, nan, nan, False, nan, nan)
        cooled, doubt = _cooled(trace)
        estimate = cooled if trace.heat.any() else controlled(excess, trace.virial, dim)
        noise2 = np.square(trace.noise)
        variance = float(excess.var(ddof=1) - noise2.mean())
        deviation = excess - excess.mean()
        with_distance = -localization / 2 * deviation * (trace.distance2 - trace.distance2.mean())
        return cls(
            llc=float(estimate.mean()),
            mcse=max(math.hypot(error_of_mean(estimate), doubt), KNOWN * abs(float(estimate.mean()))),
            llc_per_chain=estimate.mean(axis=0),
            llc_variance=variance,
            sensitivity_n_beta=float(excess.mean()) - variance,
            sensitivity_n_beta_mcse=mcse_mean(excess - deviation**2 + noise2),
            sensitivity_localization=float(with_distance.mean()),
            sensitivity_localization_mcse=mcse_mean(with_distance),
            observed={name: (float(x.mean()), mcse_mean(x)) for name, x in trace.observed.items()},
            virial=float(trace.virial.mean()) / dim,
            virial_mcse=mcse_mean(trace.virial) / dim,
            rhat=rhat(cooled),
            drifts=drifts(cooled),
            ess=ess_bulk(cooled),
            heat=float(excess.mean() - cooled.mean()),
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


def _cooled(trace: Trace) -> tuple[np.ndarray, float]:
    """The excess without the heat of minibatches.

    With f the mean excess and c that of chains with twice the noise, noise that is the same everywhere adds heat, and
    the mean without is 2f − c. Noise that vanishes at w* grows with the excess, heat is a factor 1/(1 − rx) of noise x,
    and the mean without is fc/(2c − f). Half of their difference is the doubt that remains.

    Args:
        trace: The draws.

    Returns:
        Draws whose mean is that without heat, shape (draws, chains), and the doubt.
    """
    if not trace.heat.any():
        return trace.excess, 0.0
    hotter = trace.excess + trace.heat
    f, c = trace.excess.mean(), hotter.mean()
    summand = 2 * trace.excess - hotter
    if not (f > 0 and 2 * c > f):
        return summand, 0.0
    factor = f * c / (2 * c - f)
    doubt = abs(factor - summand.mean()) / 2
    if not trace.heat_grows:
        return summand, doubt
    slopes = 2 * c**2 / (2 * c - f) ** 2, -(f**2) / (2 * c - f) ** 2
    return factor + slopes[0] * (trace.excess - f) + slopes[1] * (hotter - c), doubt


def is_precise(llc: float, mcse: float, rel_tol: float) -> bool:
    """Whether a standard error is as small as asked (or a thousandth), relative to λ̂ (taken as at least 0.1)."""
    return mcse <= max(rel_tol, KNOWN) * max(abs(llc), SMALLEST)
