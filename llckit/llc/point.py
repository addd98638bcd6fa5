"""The unit of work: one checkpoint with all its chains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from llckit.errors import InputError
from llckit.llc.bounds import find_bounds, is_affordable
from llckit.llc.outcome import Z95, LLCEstimate, Outcome
from llckit.llc.settings import Scale, choose_num_chains
from llckit.posterior import Guide, LocalPosterior, Observable, Point, Task, depth_below, observing
from llckit.sampling import Sampler, Start, baoab, ess_bulk, hmc, mcse_mean, rhat, sample
from llckit.sampling.driver import SMALLEST

REL_TOL = 0.01
MAX_GRAD_EVALS = 30_000  # per chain
HEAT_ERROR = 0.2  # of the heat of minibatches: how well the first order predicts it
HEAT_LIMIT = 0.25  # of the LLC: more than the first order can take away
VIRIAL_LIMIT = 0.1  # by which the virial may miss 1, three standard errors apart
ERRORS = 2 * Z95  # outside the bracket; at a regular minimum the end itself is the value, so 95 % would miss 1 in 20
RHAT_LIMIT = 1.1  # above it the chains tell of different places, and their common error bar is no guide


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
    subset: int | None = None
    start: Start | None = None  # what another checkpoint's warm-up has found, for `hmc`
    guided: bool = False  # whether minibatches guide trajectories that the full loss accepts or rejects
    gradients: str = ""  # which samples a gradient takes and why, in words

    def __post_init__(self) -> None:
        for name, least in (("num_chains", 1), ("num_draws", 4), ("num_burnin", 0), ("max_grad_evals", 1)):
            _check_count(name, getattr(self, name), least)
        _check_count("seed", self.seed, 0)
        _check_count("batch_size", self.batch_size, 1)
        _check_count("subset", self.subset, 1)
        if self.subset is not None and self.batch_size is not None:
            raise InputError(f"subset is {self.subset} and batch_size {self.batch_size}; expected one of them at most")
        if not (isinstance(self.rel_tol, Real) and 0 < self.rel_tol < 1):
            raise InputError(f"rel_tol is {self.rel_tol!r}; expected a number between 0 and 1, such as 0.01")
        if not isinstance(self.sampler, Sampler) and self.sampler != "auto":
            raise InputError(f'sampler is {self.sampler!r}; expected "auto" or a sampler such as llckit.hmc()')

    def choose_sampler(self) -> Sampler:
        """The sampler given, or for "auto" the one that fits the gradients: exact or guiding ones, or noisy ones."""
        if isinstance(self.sampler, Sampler):
            return self.sampler
        return hmc(start=self.start) if self.batch_size is None or self.guided else baoab()


def _check_count(name: str, value: Any, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InputError(f"{name} is {value!r}; expected an integer >= {least}")


def users_loss(task: Task, point: Point) -> LocalPosterior:
    """L(w*) and ∇L(w*) of the user's own loss; of the behavioral one both are zero, whatever the data.

    Args:
        task: Behavioral or not.
        point: A checkpoint of it.

    Returns:
        A posterior of one row, with `loss` and `loss_grad`.
    """
    of_user = point._replace(samples=task.original.samples)
    return LocalPosterior(task.original, of_user, n_beta=1.0, localization=0.0, rows=1)


def reached(llc: float, mcse: float, rel_tol: float) -> bool:
    """Whether a standard error is as small as asked, relative to λ̂ (taken as at least 0.1)."""
    return mcse <= rel_tol * max(abs(llc), SMALLEST)


def estimate_point(
    task: Task,
    point: Point,
    scale: Scale,
    settings: Settings,
    *,
    progress: bool = False,
    observe: Mapping[str, Observable] | None = None,
    posterior: LocalPosterior | None = None,
) -> LLCEstimate:
    """The LLC of one checkpoint of a task: the unit of work.

    Args:
        task: Model, data and loss.
        point: The checkpoint.
        scale: nβ and γ.
        settings: What finds it.
        progress: Whether a bar is shown (on a terminal).
        observe: Functions of the model to evaluate at every draw.
        posterior: One of all samples there, at any scale, whose L(w*) and recordings are to be used; None makes one.

    Returns:
        The estimate.
    """
    chains = settings.num_chains or choose_num_chains(task, point)
    sampler = settings.choose_sampler()
    at_scale: dict[str, Any] = {"n_beta": scale.n_beta, "localization": scale.localization}
    whole = (
        LocalPosterior(task, point, rows=1, **at_scale) if posterior is None else posterior.scaled(rows=1, **at_scale)
    )
    seen, posterior = point, whole.scaled(rows=chains, **at_scale)
    if settings.subset is not None:
        seen = point.thinned(settings.subset, settings.seed)
        posterior = LocalPosterior(task, seen, rows=chains, **at_scale)
    if settings.guided and settings.batch_size is not None:
        sampler = hmc(guide=Guide(posterior, task, settings.batch_size), start=settings.start)
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
    reference = users_loss(task, point) if task.behavioral else whole
    excess = trace.excess
    sampled = len(excess) >= 4 and not trace.diverged
    heat = float(trace.heat.mean())
    llc = float(excess.mean()) - heat if sampled else math.nan
    heat_error = math.hypot(HEAT_ERROR * heat, trace.heat.std() / math.sqrt(chains))
    mcse = math.hypot(mcse_mean(excess), heat_error) if sampled else math.nan
    mixing = rhat(excess) if sampled else math.nan
    variance = float(excess.var(ddof=1)) if sampled else math.nan
    virial = float(trace.virial.mean()) / task.dim if sampled else math.nan
    virial_error = mcse_mean(trace.virial) / task.dim if sampled else math.nan
    deviation = excess - excess.mean()
    with_distance = -scale.localization / 2 * deviation * (trace.distance2 - trace.distance2.mean())
    # The virial's surplus is twice what heat adds to all directions; where no test rejects it, the LLC may hold it all.
    hottest = VIRIAL_LIMIT * (1.0 if sampler.needs_full_loss else min(1.0, 2 * abs(llc) / task.dim))
    depth, _ = depth_below(whole)
    per_gradient = seen.samples.n if settings.batch_size is None else settings.batch_size
    affordable = is_affordable(task.dim, seen, chains * trace.grad_evals * per_gradient)
    bounds = find_bounds(task, seen, scale, depth) if affordable else None
    if trace.diverged:
        outcome = Outcome.DIVERGED
    elif llc + Z95 * mcse < 0:
        outcome = Outcome.NOT_A_MINIMUM  # also where chains have not mixed: they fall further, each its own way
    elif not mixing <= RHAT_LIMIT:
        outcome = Outcome.NOT_MIXED
    elif virial + 3 * virial_error < 1 - VIRIAL_LIMIT:
        outcome = Outcome.NOT_SPREAD
    elif virial - 3 * virial_error > 1 + hottest or heat > HEAT_LIMIT * abs(llc):
        outcome = Outcome.OVERHEATED
    elif bounds is not None and bounds.exclude(llc, ERRORS * mcse):
        outcome = Outcome.OUTSIDE_BRACKET
    elif trace.rel_tol is not None and not reached(llc, mcse, trace.rel_tol):
        outcome = Outcome.BUDGET_EXHAUSTED
    else:
        outcome = Outcome.CONVERGED
    return LLCEstimate(
        llc=llc,
        mcse=mcse,
        llc_per_chain=excess.mean(axis=0) - heat if sampled else np.full(chains, math.nan),
        llc_variance=variance,
        sensitivity_n_beta=float(excess.mean()) - variance if sampled else math.nan,
        sensitivity_n_beta_mcse=mcse_mean(excess - deviation**2) if sampled else math.nan,
        sensitivity_localization=float(with_distance.mean()) if sampled else math.nan,
        sensitivity_localization_mcse=mcse_mean(with_distance) if sampled else math.nan,
        observed={name: (float(x.mean()), mcse_mean(x)) for name, x in trace.observed.items()} if sampled else {},
        depth=depth,
        virial=virial,
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
            "turn": trace.turn,
            "stretch": trace.stretch,
            "heat": heat,
            "acceptance": float(trace.acceptance.mean()),
            "seed": settings.seed,
            "batch_size": settings.batch_size,
            "subset": settings.subset,
            "gradients": settings.gradients,
            "behavioral": task.behavioral,
            "compile": task.compiler is not None,
        },
        trace=trace,
        bracket=None if bounds is None else (bounds.lower, bounds.upper),
        lower_finite=None if bounds is None else bounds.lower_finite,
        bracket_margin=None if bounds is None or math.isinf(bounds.below) else (bounds.below, bounds.above),
    )
