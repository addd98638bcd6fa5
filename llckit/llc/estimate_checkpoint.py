"""The unit of work: one checkpoint with all its chains, at one scale."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from llckit.llc.bounds import Bounds, find_bounds, is_affordable
from llckit.llc.gradients import Gradients
from llckit.llc.how_found import HowFound
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import judge, judge_scale
from llckit.llc.scale import Scale
from llckit.llc.settings import Settings
from llckit.llc.statistics import Statistics
from llckit.posterior import Checkpoint, LocalPosterior, Observable, Task, depth_below, observing
from llckit.sampling import Sampler, Sampling, Start, Trace

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
    chains = CheckpointChains(
        task, checkpoint, scale, gradients, settings, start=start, progress=progress, observe=observe
    )
    return chains.estimate(settings)


class CheckpointChains:
    """The chains of one checkpoint at one scale, which give an estimate, and a better one when they are asked again.

    The arguments are those of `estimate_checkpoint`.
    """

    def __init__(
        self,
        task: Task,
        checkpoint: Checkpoint,
        scale: Scale,
        gradients: Gradients,
        settings: Settings,
        *,
        start: Start | None = None,
        progress: bool = False,
        observe: Mapping[str, Observable] | None = None,
    ) -> None:
        self._task, self._checkpoint, self._scale, self._gradients = task, checkpoint, scale, gradients
        self._sampled, self._rows = gradients.sampled(checkpoint, settings.seed), settings.chains_for(checkpoint)
        user = checkpoint.user if gradients.takes_all else checkpoint.user.thinned(SEEN, settings.seed)
        self._loss, self._grad_norm = user.loss, float(user.loss_grad.double().norm())  # refuses one that is not finite
        self._seed, self._depth = settings.seed, math.nan
        self._bounds: Bounds | None = None
        self._has_looked = False
        posterior = LocalPosterior(self._sampled, n_beta=scale.n_beta, localization=scale.localization, rows=self._rows)
        asked = settings.sampler
        self._sampler = asked if isinstance(asked, Sampler) else gradients.sampler(task, posterior, start)
        self._sampling = Sampling(
            posterior,
            self._sampler,
            seed=settings.seed,
            num_burnin=gradients.num_burnin if settings.num_burnin is None else settings.num_burnin,
            batch_size=gradients.batch_size,
            control=gradients.control,
            progress=progress,
            observe=None if observe is None else observing(task, checkpoint, observe),
            may_be_interrupted=settings.may_be_interrupted,
        )

    @property
    def operations(self) -> float:
        """Operations of one gradient in all chains."""
        return self._gradients.operations(self._checkpoint, self._rows)

    def estimate(self, settings: Settings) -> LLCEstimate:
        """The estimate from all draws so far, and as many more as it takes.

        Args:
            settings: The error to reach, and the budget that is left.

        Returns:
            The estimate.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed where that is not allowed, or before there were draws.
        """
        scale, dim = self._scale, self._checkpoint.dim
        sampling, operations = self._sampling, self.operations
        stopping = settings.stopping_for(operations, self._gradients.least(sampling.warm_up), sampling.grad_evals)
        forecast = settings.budget.forecast(operations * (stopping.max_grad_evals - sampling.grad_evals))
        trace = sampling.until(stopping, f"sampling, {forecast}")
        statistics = Statistics.from_trace(trace, scale.localization, dim)
        if not trace.is_interrupted:
            try:
                self._look_around(trace)
            except KeyboardInterrupt:
                if not settings.may_be_interrupted:
                    raise
                trace = dataclasses.replace(trace, is_interrupted=True)
        depth, bounds, reason = self._depth, self._bounds, scale.reason
        outcome = judge(statistics, trace, dim=dim, is_exact=self._sampler.is_exact, bounds=bounds)
        if reason.was_searched:
            outcome = judge_scale(outcome, statistics.llc, statistics.leans, reason.taken)
        return LLCEstimate(
            **statistics.shown(),
            depth=depth,
            outcome=outcome,
            loss=self._loss,
            grad_norm=self._grad_norm,
            n_beta=scale.n_beta,
            localization=scale.localization,
            how_found=HowFound.from_trace(
                trace,
                reason=reason,
                gradients=self._gradients,
                sampler=self._sampler.name,
                heat=statistics.heat,
                seed=self._seed,
                behavioral=self._task.behavioral,
                compiled=self._task.compiler is not None,
            ),
            grad_evals_total=trace.grad_evals,
            trace=trace,
            bracket=None if bounds is None else bounds.bracket,
            lower_finite=None if bounds is None else bounds.lower_finite,
            bracket_margin=None if bounds is None else bounds.margin,
        )

    def _look_around(self, trace: Trace) -> None:
        """How far below w* the loss goes, and between which bounds λ lies, where that is cheap beside the sampling."""
        sampled, gradients = self._sampled, self._gradients
        cost = self._rows * trace.grad_evals * (gradients.batch_size or sampled.samples.n)
        has_bounds = gradients.takes_all and is_affordable(sampled, cost)
        if has_bounds and not self._has_looked:
            self._depth = _depth(sampled, self._scale, math.inf)
            at_scale = {"n_beta": self._scale.n_beta, "localization": self._scale.localization}
            self._bounds = find_bounds(self._task, sampled, depth=self._depth, **at_scale)
            self._has_looked = True
        elif math.isnan(self._depth):
            self._depth = _depth(sampled, self._scale, SHARE * cost)


def _depth(checkpoint: Checkpoint, scale: Scale, most: float) -> float:
    """nβ (L(w*) − L(ŵ)), see `depth_below`; NaN if it would take more gradients of one sample than that."""
    if checkpoint.is_behavioral:
        return 0.0
    if most < DESCENT * checkpoint.samples.n:
        return math.nan
    posterior = LocalPosterior(checkpoint, n_beta=scale.n_beta, localization=scale.localization, rows=1)
    return depth_below(posterior)[0]
