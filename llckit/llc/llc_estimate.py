"""`LLCEstimate`: the LLC of one checkpoint with its error, what it was measured at, and how it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from llckit.errors import InputError
from llckit.llc.how_found import HowFound
from llckit.llc.outcome import Outcome
from llckit.llc.statistics import Z95
from llckit.sampling import Trace

if TYPE_CHECKING:
    from xarray import DataTree

# Fields that are NaN where an estimate failed; JSON knows no NaN.
_NUMBERS = (
    "llc", "mcse", "llc_variance", "sensitivity_n_beta", "sensitivity_n_beta_mcse", "sensitivity_localization",
    "sensitivity_localization_mcse", "depth", "virial", "rhat", "ess", "loss", "grad_norm"
)  # fmt: skip


@dataclass(frozen=True)
class LLCEstimate:
    """The LLC of one checkpoint, λ̂ = nβ (E[L(w)] − L(w*)), with nβ and γ that define it.

    Attributes:
        llc: λ̂, the mean over all draws less the heat of minibatches; NaN if a chain diverged.
        mcse: Its standard error: Monte Carlo error, and error of the heat; a thousandth of λ̂ at least.
        llc_per_chain: λ̂ of each chain, shape (chains,).
        llc_variance: Var[nβ L], equal to λ near a quasi-homogeneous minimum; needs no L(w*) (Imai 2019).
        sensitivity_n_beta: ∂λ̂/∂ln nβ = λ̂ − Var[nβ L]: growth of λ̂ at an e times larger nβ, to first order.
        sensitivity_n_beta_mcse: Its Monte Carlo standard error.
        sensitivity_localization: ∂λ̂/∂ln γ = −γ/2 Cov(nβ L, ‖w − w*‖²): growth of λ̂ at an e times larger γ.
        sensitivity_localization_mcse: Its Monte Carlo standard error.
        observed: Posterior mean and its standard error of each observed function, by name.
        depth: nβ (L(w*) − L(ŵ)), with ŵ the minimum that descent finds near w*; 0 at a minimum.
        virial: E[(w − w*)·∇U] / dim, which is 1 under the posterior: less if flat directions have not been explored,
            more if steps or gradient noise heat the chains.
        rhat: Split rank-normalised R-hat.
        ess: Bulk effective sample size.
        outcome: Whether to believe the value.
        loss: L(w*) of the user's loss on all samples, also if the behavioral loss was sampled.
        grad_norm: ‖∇L(w*)‖ of the user's loss.
        n_beta: nβ.
        localization: γ.
        how_found: Sampler, counts, step size, and the reasons for nβ, γ and the gradients.
        grad_evals_total: Gradients per chain of everything that was done for this number, other scales included.
        trace: Every draw; None if the estimate was read back from a store.
        bracket: ½ rank ∇²L(w*) and ½ (dim − dimension of the symmetry orbit), between which λ lies if w* is a minimum
            (see `llckit.bracket`). None above 512 parameters, if the Hessian would cost more than a tenth of the
            sampling, or if the loss has a kink at w* or is not twice differentiable.
        lower_finite: ½ Σ nβh/(nβh + γ) over the eigenvalues h that count: the lower end at this nβ and γ.
        bracket_margin: How far λ̂ may lie below `lower_finite` and above the upper end, since the loss is not quadratic
            and w* not quite a minimum. None if w* is a saddle, or the loss not finite near it.
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
    depth: float
    virial: float
    rhat: float
    ess: float
    outcome: Outcome
    loss: float
    grad_norm: float
    n_beta: float
    localization: float
    how_found: HowFound
    grad_evals_total: int
    trace: Trace | None = field(repr=False, compare=False)
    bracket: tuple[float, float] | None = None
    lower_finite: float | None = None
    bracket_margin: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, λ̂ ± 1.96 mcse."""
        return self.llc - Z95 * self.mcse, self.llc + Z95 * self.mcse

    @property
    def leans(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The sensitivities to nβ and to γ, each with its standard error."""
        return (
            (self.sensitivity_n_beta, self.sensitivity_n_beta_mcse),
            (self.sensitivity_localization, self.sensitivity_localization_mcse),
        )

    @property
    def bracket_lower(self) -> float:
        """The lower end of the bracket; NaN where there is none."""
        return math.nan if self.bracket is None else self.bracket[0]

    @property
    def bracket_upper(self) -> float:
        """The upper end of the bracket; NaN where there is none."""
        return math.nan if self.bracket is None else self.bracket[1]

    @property
    def llc_about_minimum(self) -> float:
        """nβ (E[L] − L(ŵ)) = λ̂ + depth: the LLC counted from the minimum near w*."""
        return self.llc + self.depth

    def to_dict(self) -> dict[str, object]:
        """Everything but the trace, as JSON types (NaN becomes None).

        Returns:
            A dictionary with the attribute names as keys.
        """
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "trace"}
        values["llc_per_chain"] = self.llc_per_chain.tolist()
        values |= {"outcome": self.outcome.value, "how_found": self.how_found.to_dict()}
        return {name: _without_nan(value) for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> LLCEstimate:
        """The inverse of `to_dict`, without a trace.

        Args:
            values: What `to_dict` gave.

        Returns:
            The estimate.
        """
        known: dict[str, Any] = dict(values)
        known |= {name: math.nan for name in _NUMBERS if known.get(name) is None}  # also those of later versions
        if "settings" in known:  # as version 0.1.0 has it
            known["how_found"] = HowFound.from_settings(known.pop("settings"))
        else:
            known["how_found"] = HowFound.from_dict(known["how_found"])
        known.setdefault("grad_evals_total", known["how_found"].grad_evals)  # earlier versions kept no more
        known["llc_per_chain"] = np.array(known["llc_per_chain"], dtype=float)
        known["outcome"] = Outcome(known["outcome"])
        known["observed"] = {name: tuple(found) for name, found in known["observed"].items()}
        for name in ("bracket", "bracket_margin"):  # of earlier versions there is none
            known[name] = None if known.get(name) is None else tuple(known[name])
        return cls(**known, trace=None)

    def to_datatree(self) -> DataTree:
        """The draws as ArviZ reads them.

        Returns:
            An `xarray.DataTree` with groups `posterior` (excess) and `sample_stats` (distance2, virial, acceptance),
            dimensions (chain, draw).

        Raises:
            InputError: There is no trace, or xarray is not installed.
        """
        if self.trace is None:
            raise InputError("this estimate was read from a store, which keeps no draws; estimate the checkpoint again")
        try:
            import xarray
        except ImportError as error:
            raise InputError("to_datatree needs xarray: pip install llckit[arviz]") from error
        groups = {"posterior": ["excess"], "sample_stats": ["distance2", "virial", "acceptance"]}
        data = {
            group: xarray.Dataset({name: (("chain", "draw"), getattr(self.trace, name).T) for name in names})
            for group, names in groups.items()
        }
        return xarray.DataTree.from_dict(data)

    def summary(self) -> str:
        """A few lines for people.

        Returns:
            Value, error, settings, diagnostics, outcome and advice.
        """
        low, high = self.interval
        return (
            f"LLC {self.llc:.4g} ± {self.mcse:.2g} (95 % interval {low:.4g} … {high:.4g}){self._on_scale()}\n"
            f"at n_beta = {self.n_beta:.4g}, localization = {self.localization:.4g} ({self.how_found.reason})\n"
            f"an e times larger n_beta would change it by {self.sensitivity_n_beta:+.2g} ± "
            f"{self.sensitivity_n_beta_mcse:.1g}, an e times larger localization by "
            f"{self.sensitivity_localization:+.2g} ± {self.sensitivity_localization_mcse:.1g}\n"
            f"variance estimate {self.llc_variance:.4g}; loss {self.loss:.6g}; gradient norm {self.grad_norm:.2g}"
            f"{self._above_minimum()}{self._within()}\n"
            f"{self.how_found.sampler}{', compile=True' if self.how_found.compiled else ''}, "
            f"{len(self.llc_per_chain)} chains x {self.how_found.num_draws} draws, "
            f"R-hat {self.rhat:.3f}, ESS {self.ess:.0f}, virial {self.virial:.3f}\n"
            f"{self.outcome.value}: {self.outcome.advice}"
        )

    def _on_scale(self) -> str:
        if self.outcome is not Outcome.SCALE_DEPENDENT:
            return ""
        n_beta, gamma = self.sensitivity_n_beta / abs(self.llc), self.sensitivity_localization / abs(self.llc)
        taken = self.how_found.reason.taken
        known = f" ({-taken:+.0%} by the curvature)" if taken else ""
        return (
            f"; {self.outcome.value}: {n_beta:+.0%} for an e times larger n_beta, {gamma:+.0%} for an e times larger "
            f"localization{known}"
        )

    def _within(self) -> str:
        if self.bracket is None:
            return ""
        low, high = self.bracket
        text = f"\nbracket of λ {low:g} … {high:g}; at this n_beta and localization "
        if self.lower_finite is None or self.bracket_margin is None:
            return f"{text}it says nothing: w* is no minimum, or the loss not finite near it"
        below, above = self.bracket_margin
        return f"{text}an LLC may be {max(0.0, self.lower_finite - below):.3g} … {high + above:.3g}"

    def _above_minimum(self) -> str:
        if not self.depth > Z95 * self.mcse:
            return ""
        return (
            f"\nw* lies {self.depth:.3g} above a minimum near by; counted from there the LLC is "
            f"{self.llc_about_minimum:.4g}"
        )


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value
