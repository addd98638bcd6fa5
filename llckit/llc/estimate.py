"""From draws to a number: the LLC of one checkpoint, its error, and whether to believe it."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from llckit.errors import EstimationError, InputError
from llckit.llc.settings import Scale, choose_num_chains, choose_scale
from llckit.posterior import LocalPosterior, Observable, Point, Selection, Task, observing
from llckit.sampling import Sampler, Trace, baoab, ess_bulk, hmc, mcse_mean, rhat, sample

REL_TOL = 0.01
MAX_GRAD_EVALS = 30_000  # per chain; a trajectory of the default sampler takes 5.5 on average
Z95 = 1.959963984540054
RHAT_LIMIT = 1.1  # above it the chains tell of different places, and their common error bar is no guide


class Outcome(enum.Enum):
    """How an estimate ended; `advice` says what to do about it."""

    CONVERGED = "converged"
    BUDGET_EXHAUSTED = "budget exhausted"
    NOT_MIXED = "chains not mixed"
    NOT_A_MINIMUM = "not a local minimum"
    DIVERGED = "diverged"

    @property
    def advice(self) -> str:
        """One sentence for the user."""
        return _ADVICE[self]


_ADVICE = {
    Outcome.CONVERGED: "The chains agree and the error bar is as small as asked.",
    Outcome.BUDGET_EXHAUSTED: (
        "The error bar is honest but wider than rel_tol; raise max_grad_evals for a sharper value."
    ),
    Outcome.NOT_MIXED: (
        "The chains disagree (R-hat above 1.1), so the error bar is too small; raise max_grad_evals, or look at a "
        "smaller n_beta or a larger localization."
    ),
    Outcome.NOT_A_MINIMUM: (
        "Chains find lower loss than the checkpoint has, so this is no learning coefficient; use behavioral_task, or a "
        "smaller n_beta, at which the checkpoint counts as a minimum."
    ),
    Outcome.DIVERGED: "A chain left the finite numbers; use the default sampler, or a smaller step_size.",
}


@dataclass(frozen=True)
class LLCEstimate:
    """The LLC of one checkpoint, λ̂ = nβ (E[L(w)] − L(w*)), with nβ and γ that define it.

    Attributes:
        llc: λ̂, the mean over all draws (NaN if a chain diverged).
        mcse: its Monte Carlo standard error.
        llc_per_chain: shape (chains,).
        llc_variance: Var[nβ L], which equals λ near a quasi-homogeneous minimum and needs no L(w*) (Imai 2019).
        sensitivity_n_beta: ∂λ̂/∂ln nβ = λ̂ − Var[nβ L]: by how much λ̂ would grow at an e times larger nβ, to first order.
        sensitivity_localization: ∂λ̂/∂ln γ = −γ/2 Cov(nβ L, ‖w − w*‖²), likewise.
        observed: posterior mean and its standard error of each observed function, by name.
        rhat: split rank-normalised R-hat.
        ess: bulk effective sample size.
        outcome: whether to believe it.
        loss: L(w*) of the user's loss on all samples, also where the behavioral loss was sampled.
        grad_norm: ‖∇L(w*)‖, likewise.
        n_beta: nβ.
        localization: γ.
        settings: what found it: sampler, chains, draws, step, and the rule that chose nβ and γ.
        trace: every draw; None where an estimate was read back from a store.
    """

    llc: float
    mcse: float
    llc_per_chain: np.ndarray
    llc_variance: float
    sensitivity_n_beta: float
    sensitivity_localization: float
    observed: dict[str, tuple[float, float]]
    rhat: float
    ess: float
    outcome: Outcome
    loss: float
    grad_norm: float
    n_beta: float
    localization: float
    settings: dict[str, Any]
    trace: Trace | None = field(repr=False, compare=False)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval, λ̂ ± 1.96 mcse."""
        return self.llc - Z95 * self.mcse, self.llc + Z95 * self.mcse

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
            values: what `to_dict` gave.

        Returns:
            The estimate.
        """
        numbers = {
            "llc",
            "mcse",
            "llc_variance",
            "sensitivity_n_beta",
            "sensitivity_localization",
            "rhat",
            "ess",
            "loss",
            "grad_norm",
        }
        values = {key: math.nan if value is None and key in numbers else value for key, value in values.items()}
        values["llc_per_chain"] = np.array(values["llc_per_chain"], dtype=float)
        values["outcome"] = Outcome(values["outcome"])
        values["observed"] = {name: tuple(found) for name, found in values["observed"].items()}
        return cls(**values, trace=None)

    def to_datatree(self) -> Any:
        """The draws as ArviZ reads them.

        Returns:
            An `xarray.DataTree` with groups `posterior` (excess) and `sample_stats` (distance2, virial, acceptance),
            dimensions (chain, draw).

        Raises:
            InputError: there is no trace, or xarray is not installed.
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
            f"an e times larger n_beta would change it by {self.sensitivity_n_beta:+.2g}, "
            f"an e times larger localization by {self.sensitivity_localization:+.2g}\n"
            f"variance estimate {self.llc_variance:.4g}; loss {self.loss:.6g}; gradient norm {self.grad_norm:.2g}\n"
            f"{self.settings['sampler']}, {len(self.llc_per_chain)} chains x {self.settings['num_draws']} draws, "
            f"R-hat {self.rhat:.3f}, ESS {self.ess:.0f}\n"
            f"{self.outcome.value}: {self.outcome.advice}"
        )


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class Settings:
    """What finds an estimate, apart from nβ and γ; see `estimate_llc` for the meaning of each."""

    num_chains: int | None = None
    num_draws: int | None = None
    num_burnin: int | None = None
    sampler: Sampler | str = "auto"
    rel_tol: float = REL_TOL
    max_grad_evals: int = MAX_GRAD_EVALS
    seed: int = 0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("num_chains", 1), ("num_draws", 4), ("num_burnin", 0), ("max_grad_evals", 1)):
            _check_count(name, getattr(self, name), least)
        _check_count("seed", self.seed, 0)
        _check_count("batch_size", self.batch_size, 1)
        if not (isinstance(self.rel_tol, Real) and 0 < self.rel_tol < 1):
            raise InputError(f"rel_tol is {self.rel_tol!r}; expected a number between 0 and 1, such as 0.01")
        if not isinstance(self.sampler, Sampler) and self.sampler != "auto":
            raise InputError(f'sampler is {self.sampler!r}; expected "auto" or a sampler such as llckit.hmc()')

    def choose_sampler(self) -> Sampler:
        """The sampler given, or for "auto" the one that fits the gradients: exact ones, or those of minibatches."""
        if isinstance(self.sampler, Sampler):
            return self.sampler
        return hmc() if self.batch_size is None else baoab()


def _check_count(name: str, value: Any, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InputError(f"{name} is {value!r}; expected an integer >= {least}")


def estimate_llc(
    model: nn.Module,
    data: Any,
    loss_fn: Any,
    *,
    n_beta: float | None = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = REL_TOL,
    max_grad_evals: int = MAX_GRAD_EVALS,
    batch_size: int | None = None,
    n: int | None = None,
    params: Selection = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
    observe: Mapping[str, Observable] | None = None,
    on_failure: Literal["return", "raise"] = "return",
) -> LLCEstimate:
    """The local learning coefficient of a model at its weights w*; no tuning needed.

    λ̂(w*) = nβ (E[L(w)] − L(w*)), w ~ exp(−nβ L(w) − γ/2 ‖w − w*‖²) (Lau et al., arXiv 2308.12108), with L the mean
    loss over all samples and L(w*) computed on all of them.

    Args:
        model: at w*; it is copied, evaluated in evaluation mode, and left as it is.
        data: tensors, a Dataset or a DataLoader (see `Task`).
        loss_fn: `loss_fn(model, batch)` giving the mean loss or one loss per sample.
        n_beta: nβ; None takes n/ln n.
        localization: γ; None chooses it from the curvature and the size of the weights (see `choose_scale`).
        sampler: "auto" is `hmc()` on the full loss and `baoab()` on minibatches; or what `hmc(...)`, `sgld(...)` …
            give.
        num_chains: chains, all run in one batch; None takes 8, and up to 64 where the model is so small that they are
            free.
        num_draws: draws per chain; None goes on until `rel_tol` or the budget is reached.
        num_burnin: warm-up steps; None takes the sampler's own number.
        rel_tol: standard error to reach, relative to λ̂ (taken as at least ½).
        max_grad_evals: gradients per chain after which sampling ends; the trajectory that crosses it is finished.
        batch_size: samples per gradient for samplers that take minibatches; None uses the full loss.
        n: number of samples, where rows of `data` are not what counts.
        params: what to sample: names or patterns, or boolean masks by name (see `Task`); None samples all that trains.
        seed: of all randomness; row r of any estimate with this seed sees the same noise.
        device: where to compute; None stays where the model is.
        progress: whether a bar is shown (on a terminal).
        observe: functions of the model to evaluate at every draw, by name, each giving a number: `estimate.observed`
            has their posterior means, `estimate.trace.observed` all values.
        on_failure: "raise" turns every outcome but converged and budget exhausted into an `EstimationError`.

    Returns:
        The estimate with its error, diagnostics and outcome.

    Raises:
        InputError: wrong input, before any sampling.
        EstimationError: the estimate failed and `on_failure="raise"`.
    """
    if on_failure not in ("return", "raise"):
        raise InputError(f'on_failure is {on_failure!r}; expected "return" or "raise"')
    settings = Settings(
        num_chains=num_chains,
        num_draws=num_draws,
        num_burnin=num_burnin,
        sampler=sampler,
        rel_tol=rel_tol,
        max_grad_evals=max_grad_evals,
        seed=seed,
        batch_size=batch_size,
    )
    task = Task(model, data, loss_fn, n=n, device=device, params=params)
    point = task.point()
    scale = choose_scale(task, point, n_beta, localization)
    estimate = estimate_point(task, point, scale, settings, progress=progress, observe=observe)
    if on_failure == "raise" and estimate.outcome not in (Outcome.CONVERGED, Outcome.BUDGET_EXHAUSTED):
        raise EstimationError(f"{estimate.outcome.value}: {estimate.outcome.advice}")
    return estimate


def estimate_point(
    task: Task,
    point: Point,
    scale: Scale,
    settings: Settings,
    *,
    progress: bool = False,
    observe: Mapping[str, Observable] | None = None,
) -> LLCEstimate:
    """The LLC of one checkpoint of a task: the unit of work.

    Args:
        task: model, data and loss.
        point: the checkpoint.
        scale: nβ and γ.
        settings: what finds it.
        progress: whether a bar is shown (on a terminal).
        observe: functions of the model to evaluate at every draw.

    Returns:
        The estimate.
    """
    chains = settings.num_chains or choose_num_chains(task, point)
    sampler = settings.choose_sampler()
    posterior = LocalPosterior(task, point, n_beta=scale.n_beta, localization=scale.localization, rows=chains)
    trace = sample(
        posterior,
        sampler,
        seed=settings.seed,
        num_burnin=settings.num_burnin,
        num_draws=settings.num_draws,
        rel_tol=settings.rel_tol,
        max_grad_evals=settings.max_grad_evals,
        batch_size=settings.batch_size,
        progress=progress,
        observe=None if observe is None else observing(task, point, observe),
    )
    reference = posterior
    if task.behavioral:
        of_user = point._replace(samples=task.original.samples)
        reference = LocalPosterior(task.original, of_user, n_beta=1.0, localization=0.0, rows=1)
    excess = trace.excess
    sampled = len(excess) >= 4 and not trace.diverged
    llc = float(excess.mean()) if sampled else math.nan
    mcse = mcse_mean(excess) if sampled else math.nan
    mixing = rhat(excess) if sampled else math.nan
    variance = float(excess.var(ddof=1)) if sampled else math.nan
    deviation = excess - llc
    if trace.diverged:
        outcome = Outcome.DIVERGED
    elif llc + Z95 * mcse < 0:
        outcome = Outcome.NOT_A_MINIMUM  # also where chains have not mixed: they fall further, each its own way
    elif not mixing <= RHAT_LIMIT:
        outcome = Outcome.NOT_MIXED
    elif trace.rel_tol is not None and mcse > trace.rel_tol * max(abs(llc), 0.5):
        outcome = Outcome.BUDGET_EXHAUSTED
    else:
        outcome = Outcome.CONVERGED
    return LLCEstimate(
        llc=llc,
        mcse=mcse,
        llc_per_chain=excess.mean(axis=0) if sampled else np.full(chains, math.nan),
        llc_variance=variance,
        sensitivity_n_beta=llc - variance,
        sensitivity_localization=-scale.localization / 2 * float(np.mean(deviation * trace.distance2)),
        observed={name: (float(x.mean()), mcse_mean(x)) for name, x in trace.observed.items()} if sampled else {},
        rhat=mixing,
        ess=ess_bulk(excess) if sampled else math.nan,
        outcome=outcome,
        loss=reference.loss,
        grad_norm=float(reference.loss_grad.double().norm()),
        n_beta=scale.n_beta,
        localization=scale.localization,
        settings={
            "rule": scale.rule,
            "sampler": sampler.name,
            "num_draws": len(excess),
            "num_burnin": trace.num_burnin,
            "grad_evals": trace.grad_evals,
            "step_size": trace.step_size,
            "acceptance": float(trace.acceptance.mean()),
            "virial": float(trace.virial.mean() / task.dim),
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "behavioral": task.behavioral,
        },
        trace=trace,
    )
