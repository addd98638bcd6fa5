"""The unit of work: one checkpoint with all its chains, at one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping

from llckit.llc.bounds import find_bounds, is_affordable
from llckit.llc.gradients import Gradients
from llckit.llc.how_found import HowFound
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import judge, judge_scale
from llckit.llc.scale import Scale
from llckit.llc.settings import Settings
from llckit.llc.statistics import Statistics
from llckit.posterior import Checkpoint, LocalPosterior, Observable, Task, depth_below, observing
from llckit.sampling import Sampler, Start, sample

DESCENT, SHARE = 25, 0.1  # gradients that the depth takes, and what it may cost of the sampling
SEEN = 512  # samples from which L(w*) and its gradient are told where all of them are never read


def estimate_checkpoint(
    task: Task,
    checkpoint: Checkpoint,
    scale: Scale,
    gradients: Gradients,
    settings: Settings,
    *,
    start: Start | None = None,
    progress: bool = False,
    observe: Mapping[str, Observable] | None = None,
) -> LLCEstimate:
    """The LLC of one checkpoint of a task.

    Args:
        task: Model, data and loss.
        checkpoint: Where the chains begin.
        scale: nβ and γ.
        gradients: Which samples a gradient takes.
        settings: What was asked for.
        start: What the warm-up of another checkpoint found, for the default sampler.
        progress: Whether a bar is shown (on a terminal).
        observe: Functions of the model to evaluate at every draw.

    Returns:
        The estimate.
    """
    at_scale = {"n_beta": scale.n_beta, "localization": scale.localization}
    sampled, chains = gradients.sampled(checkpoint, settings.seed), settings.chains_for(checkpoint)
    user = checkpoint.user if gradients.takes_all else checkpoint.user.thinned(SEEN, settings.seed)
    loss, grad_norm = user.loss, float(user.loss_grad.double().norm())  # refuses a loss that is not finite
    posterior = LocalPosterior(sampled, rows=chains, **at_scale)
    sampler = settings.sampler if isinstance(settings.sampler, Sampler) else gradients.sampler(task, posterior, start)
    size = gradients.batch_size or sampled.samples.n
    trace = sample(
        posterior,
        sampler,
        seed=settings.seed,
        num_burnin=gradients.num_burnin if settings.num_burnin is None else settings.num_burnin,
        stopping=settings.stopping_for(sampled.gradient_operations(size, chains)),
        batch_size=gradients.batch_size,
        control=gradients.control,
        progress=progress,
        observe=None if observe is None else observing(task, checkpoint, observe),
    )
    statistics = Statistics.from_trace(trace, scale.localization, checkpoint.dim)
    cost = chains * trace.grad_evals * size
    has_bounds = gradients.takes_all and is_affordable(sampled, cost)
    depth = _depth(sampled, scale, math.inf if has_bounds else SHARE * cost)
    bounds = find_bounds(task, sampled, depth=depth, **at_scale) if has_bounds else None
    outcome = judge(statistics, trace, dim=checkpoint.dim, is_exact=sampler.is_exact, bounds=bounds)
    return LLCEstimate(
        **statistics.shown(),
        depth=depth,
        outcome=judge_scale(outcome, statistics.llc, statistics.leans) if scale.reason.was_searched else outcome,
        loss=loss,
        grad_norm=grad_norm,
        n_beta=scale.n_beta,
        localization=scale.localization,
        how_found=HowFound.from_trace(
            trace,
            reason=scale.reason,
            gradients=gradients,
            sampler=sampler.name,
            heat=statistics.heat,
            seed=settings.seed,
            behavioral=task.behavioral,
            compiled=task.compiler is not None,
        ),
        grad_evals_total=trace.grad_evals,
        trace=trace,
        bracket=None if bounds is None else bounds.bracket,
        lower_finite=None if bounds is None else bounds.lower_finite,
        bracket_margin=None if bounds is None else bounds.margin,
    )


def _depth(checkpoint: Checkpoint, scale: Scale, most: float) -> float:
    """nβ (L(w*) − L(ŵ)), see `depth_below`; NaN if it would take more gradients of one sample than that."""
    if checkpoint.is_behavioral:
        return 0.0
    if most < DESCENT * checkpoint.samples.n:
        return math.nan
    posterior = LocalPosterior(checkpoint, n_beta=scale.n_beta, localization=scale.localization, rows=1)
    return depth_below(posterior)[0]
