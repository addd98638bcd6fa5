"""The unit of work: one checkpoint with all its chains, at one scale."""

from __future__ import annotations

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
from llckit.sampling import Start, sample


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
    whole = LocalPosterior(checkpoint, rows=1, **at_scale)  # refuses a loss that is not finite
    sampled, chains = gradients.sampled(checkpoint, settings.seed), settings.chains_for(checkpoint)
    posterior = LocalPosterior(sampled, rows=chains, **at_scale)
    sampler = settings.sampler if settings.sampler != "auto" else gradients.sampler(task, posterior, start)
    trace = sample(
        posterior,
        sampler,
        seed=settings.seed,
        num_burnin=settings.num_burnin,
        stopping=settings.stopping,
        batch_size=gradients.batch_size,
        progress=progress,
        observe=None if observe is None else observing(task, checkpoint, observe),
    )
    statistics = Statistics.from_trace(trace, scale.localization, checkpoint.dim)
    depth, _ = depth_below(whole)
    cost = chains * trace.grad_evals * (gradients.batch_size or sampled.samples.n)
    bounds = find_bounds(task, sampled, depth=depth, **at_scale) if is_affordable(sampled, cost) else None
    outcome = judge(statistics, trace, dim=checkpoint.dim, is_exact=sampler.is_exact, bounds=bounds)
    return LLCEstimate(
        **statistics.shown(),
        depth=depth,
        outcome=judge_scale(outcome, statistics.llc, statistics.leans) if scale.reason.was_searched else outcome,
        loss=checkpoint.user.loss,
        grad_norm=float(checkpoint.user.loss_grad.double().norm()),
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
