"""What an estimate is: its value, its error, and how it ended."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from llckit.errors import InputError
from llckit.sampling import Trace

Z95 = 1.959963984540054


class Outcome(enum.Enum):
    """How an estimate ended; `advice` says what to do about it."""

    CONVERGED = "converged"
    BUDGET_EXHAUSTED = "budget exhausted"
    NOT_MIXED = "chains not mixed"
    NOT_SPREAD = "flat directions not explored"
    OVERHEATED = "chains too hot"
    OUTSIDE_BRACKET = "outside its bracket"
    NOT_A_MINIMUM = "not a local minimum"
    DIVERGED = "diverged"

    @property
    def trusted(self) -> bool:
        """Whether the value is an LLC and its error bar honest, however wide."""
        return self in (Outcome.CONVERGED, Outcome.BUDGET_EXHAUSTED)

    @property
    def advice(self) -> str:
        """One sentence for the user."""
        return _ADVICE[self]


_ADVICE = {
    Outcome.CONVERGED: "The chains agree and the error bar is as small as asked.",
    Outcome.BUDGET_EXHAUSTED: (
        "The error bar is honest but wider than rel_tol; raise max_grad_evals for a sharper value, on minibatches "
        "batch_size too."
    ),
    Outcome.NOT_MIXED: (
        "The chains disagree (R-hat above 1.1), so the error bar is too small; raise max_grad_evals, or look at a "
        "smaller n_beta or a larger localization."
    ),
    Outcome.NOT_SPREAD: (
        "Chains have not reached the spread that the localization allows (the virial is below 0.9), so the value is "
        "that of a neighbourhood only partly seen; raise max_grad_evals or the localization."
    ),
    Outcome.OVERHEATED: (
        "Large steps or the noise of minibatches heat the chains (the virial says by more than a tenth, or the heat is "
        "above a quarter of the value), and no correction can be trusted; leave sampler and step_size to the tool, or "
        "lower step_size and raise batch_size."
    ),
    Outcome.OUTSIDE_BRACKET: (
        "No learning coefficient of this checkpoint has this value: below its bracket, chains have left for a more "
        "singular place (raise the localization) or have not explored all directions (use the default sampler, raise "
        "max_grad_evals); above it, they are too hot (lower step_size) or n_beta is too small."
    ),
    Outcome.NOT_A_MINIMUM: (
        "Chains find lower loss than the checkpoint has, so this is no learning coefficient; use behavioral_task "
        "(behavioral=True), or a smaller n_beta, at which the checkpoint counts as a minimum."
    ),
    Outcome.DIVERGED: "A chain left the finite numbers; use the default sampler, or a smaller step_size.",
}


@dataclass(frozen=True)
class LLCEstimate:
    """The LLC of one checkpoint, λ̂ = nβ (E[L(w)] − L(w*)), with nβ and γ that define it.

    On minibatches the mean over draws is too high by what their noise heats the chains; for `baoab` that is predicted
    from the noise along the way (`settings["heat"]`) and taken off, and a fifth of it goes into the error.

    Attributes:
        llc: λ̂, the mean over all draws less the heat (NaN if a chain diverged).
        mcse: Its standard error: Monte Carlo, and of the heat.
        llc_per_chain: Shape (chains,).
        llc_variance: Var[nβ L], which equals λ near a quasi-homogeneous minimum and needs no L(w*) (Imai 2019).
        sensitivity_n_beta: ∂λ̂/∂ln nβ = λ̂ − Var[nβ L]: by how much λ̂ would grow at an e times larger nβ, to first order.
        sensitivity_n_beta_mcse: Its Monte Carlo standard error.
        sensitivity_localization: ∂λ̂/∂ln γ = −γ/2 Cov(nβ L, ‖w − w*‖²), likewise.
        sensitivity_localization_mcse: Its Monte Carlo standard error.
        observed: Posterior mean and its standard error of each observed function, by name.
        depth: nβ (L(w*) − L(ŵ)) with ŵ the minimum that descent finds near w*, in the unit of the LLC; 0 at a minimum.
        virial: E[(w − w*)·∇U] / dim, which is 1 under the posterior: less where flat directions have not been explored,
            more where steps or gradient noise heat the chains.
        rhat: Split rank-normalised R-hat.
        ess: Bulk effective sample size.
        outcome: Whether to believe it.
        loss: L(w*) of the user's loss on all samples, also where the behavioral loss was sampled.
        grad_norm: ‖∇L(w*)‖, likewise.
        n_beta: nβ.
        localization: γ.
        settings: What found it: sampler, chains, draws, step, and the rule that chose nβ and γ.
        trace: Every draw; None where an estimate was read back from a store.
        bracket: ½ rank ∇²L(w*) and ½ (dim − dimension of the symmetry orbit), between which λ lies if w* is a minimum
            of what was sampled (see `llckit.bracket`); None above 512 parameters, where the Hessian would cost more
            than a tenth of the sampling, or where the loss has a kink at w* or is not twice differentiable.
        lower_finite: ½ Σ nβh/(nβh + γ) over the eigenvalues h that count in the rank, the lower end at this nβ and γ.
        bracket_margin: How far λ̂ may lie below `lower_finite` and above the upper end, since the loss is not quadratic
            and w* not quite a minimum: beyond that, and twice the 95 % interval, it is outside its bracket. None where
            w* is a saddle or the loss not finite near it, of which the bracket says nothing.
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
    settings: dict[str, Any]
    trace: Trace | None = field(repr=False, compare=False)
    bracket: tuple[float, float] | None = None
    lower_finite: float | None = None
    bracket_margin: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, λ̂ ± 1.96 mcse."""
        return self.llc - Z95 * self.mcse, self.llc + Z95 * self.mcse

    @property
    def bracket_lower(self) -> float:
        """The lower end of the bracket; NaN where there is none."""
        return math.nan if self.bracket is None else self.bracket[0]

    @property
    def bracket_upper(self) -> float:
        """Its upper end; likewise."""
        return math.nan if self.bracket is None else self.bracket[1]

    @property
    def llc_about_minimum(self) -> float:
        """nβ (E[L] − L(ŵ)) = λ̂ + depth: the LLC counted from the minimum near w*."""
        return self.llc + self.depth

    def to_dict(self) -> dict[str, Any]:
        """Everything but the trace, as JSON types (NaN becomes None).

        Returns:
            A dictionary with the attribute names as keys.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "trace"}
        values["llc_per_chain"] = self.llc_per_chain.tolist()
        values["outcome"] = self.outcome.value
        return _without_nan(values)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LLCEstimate:
        """The inverse of `to_dict`, without a trace.

        Args:
            values: What `to_dict` gave.

        Returns:
            The estimate.
        """
        numbers = {
            "llc",
            "mcse",
            "llc_variance",
            "sensitivity_n_beta",
            "sensitivity_n_beta_mcse",
            "sensitivity_localization",
            "sensitivity_localization_mcse",
            "depth",
            "virial",
            "rhat",
            "ess",
            "loss",
            "grad_norm",
        }
        values = {key: math.nan if value is None and key in numbers else value for key, value in values.items()}
        values["llc_per_chain"] = np.array(values["llc_per_chain"], dtype=float)
        values["outcome"] = Outcome(values["outcome"])
        values["observed"] = {name: tuple(found) for name, found in values["observed"].items()}
        for name in ("bracket", "bracket_margin"):  # of earlier versions there is none
            values[name] = None if values.get(name) is None else tuple(values[name])
        return cls(**values, trace=None)

    def to_datatree(self) -> Any:
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
            f"LLC {self.llc:.4g} ± {self.mcse:.2g} (95 % interval {low:.4g} … {high:.4g})\n"
            f"at n_beta = {self.n_beta:.4g}, localization = {self.localization:.4g} ({self.settings['rule']})\n"
            f"an e times larger n_beta would change it by {self.sensitivity_n_beta:+.2g} ± "
            f"{self.sensitivity_n_beta_mcse:.1g}, an e times larger localization by "
            f"{self.sensitivity_localization:+.2g} ± {self.sensitivity_localization_mcse:.1g}\n"
            f"variance estimate {self.llc_variance:.4g}; loss {self.loss:.6g}; gradient norm {self.grad_norm:.2g}"
            f"{self._above_minimum()}{self._within()}\n"
            f"{self.settings['sampler']}{', compile=True' if self.settings.get('compile') else ''}, "
            f"{len(self.llc_per_chain)} chains x {self.settings['num_draws']} draws, "
            f"R-hat {self.rhat:.3f}, ESS {self.ess:.0f}, virial {self.virial:.3f}\n"
            f"{self.outcome.value}: {self.outcome.advice}"
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
