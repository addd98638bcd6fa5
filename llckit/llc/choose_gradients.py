"""Which samples a gradient takes: chosen from the residuals at w*, the curvature and a short trial run."""

from __future__ import annotations

import torch

from llckit.errors import InputError
from llckit.llc.gradients import (
    AllSamples,
    Cause,
    FixedSubset,
    Gradients,
    GradientsReason,
    Guided,
    GuideTrial,
    Minibatches,
)
from llckit.llc.scale import RESOLUTION, Scale
from llckit.llc.settings import Settings
from llckit.posterior import Checkpoint, Guide, LocalPosterior, Task, behavioral_task, depth_below
from llckit.sampling import FixedDraws, Sampler, hmc, sample

AFFORDABLE = 4096  # samples: the full loss is taken up to here
SMALLEST_SUBSET = 512
SPARING = 4  # a subset is worth it from that many times fewer samples
SHIFT = 0.1  # how far below w* the subset's own minimum may lie, in units of the LLC
SATURATED = 0.01  # relative change of the effective dimension when the subset is doubled
MINIBATCH = 512
GUIDES = 1 / 8  # of all samples: gradients along a trajectory then cost about as much as the energy at its end
PILOT, PILOT_GRADIENTS = 40, 2000  # steps of the warm-up, and draws after it, that show how well a guide does
FOLLOWED = 0.65  # acceptance of short trajectories below which long ones are hardly ever accepted


def choose_gradients(task: Task, checkpoint: Checkpoint, scale: Scale, settings: Settings) -> Gradients:
    """Take what the user asked for, or choose where sampler, subset and batch size were left open.

    * Up to 4096 samples, or if the loss does not look at the data: all samples.
    * Above that, a fixed subset S, sampled in place of all, if it is safe. Its minimum must be w*, too:
      nβ (L_S(w*) − L_S(ŵ)), about ½ nβ gᵀH⁺g for its gradient g, is below 0.1 (it is in the hundreds with label noise).
      And its Hessian must have the full rank: doubling S changes the effective dimension Σ th/(th + γ), t = nβ, by at
      most 1 %. S begins with 512 samples and is doubled up to a quarter of all.
    * Otherwise minibatches of an eighth of all samples (at least 512) guide trajectories, which all samples accept or
      reject (`Guide`). A trial of 40 + 40 short trajectories must be accepted with a mean probability of at least 0.65;
      else all samples cost less in the end. The trial takes at most 2000 gradients a chain, beside `max_grad_evals`.
    * If the loss has no behavioral counterpart: minibatches of 512 with a control variate.

    Args:
        task: Model, data and loss.
        checkpoint: Where the choice is made.
        scale: nβ and γ.
        settings: What the user asked for.

    Returns:
        The kind of gradients, with its reason.

    Raises:
        InputError: The subset given is no smaller than the data, or its minimum lies elsewhere.
    """
    n = checkpoint.samples.n
    if settings.subset is not None:
        return _given_subset(checkpoint, scale, settings.subset, settings.seed)
    if isinstance(settings.sampler, Sampler):
        reason = GradientsReason(Cause.SAMPLER_GIVEN)
        return AllSamples(reason) if settings.batch_size is None else Minibatches(reason, settings.batch_size)
    if settings.batch_size is not None:
        return _minibatches(task, checkpoint, scale, settings, Cause.GIVEN)
    if n <= AFFORDABLE or not checkpoint.bytes_per_sample or not checkpoint.samples.is_indexable:
        return AllSamples(GradientsReason(Cause.AFFORDABLE))
    shift = _shift(checkpoint, scale, SMALLEST_SUBSET, settings.seed)
    if shift > SHIFT:
        return _minibatches(task, checkpoint, scale, settings, Cause.OTHER_MINIMUM, shift)
    size = SMALLEST_SUBSET
    smaller = _effective_dimension(checkpoint, scale, size, settings.seed)
    while SPARING * size <= n:
        larger = _effective_dimension(checkpoint, scale, 2 * size, settings.seed)
        if abs(larger - smaller) <= SATURATED * larger:
            return FixedSubset(GradientsReason(Cause.SAME_MINIMUM), size)
        size, smaller = 2 * size, larger
    return _minibatches(task, checkpoint, scale, settings, Cause.TOO_LARGE)


def _given_subset(checkpoint: Checkpoint, scale: Scale, subset: int, seed: int) -> Gradients:
    n = checkpoint.samples.n
    if subset >= n:
        raise InputError(f"subset is {subset}; expected fewer than the {n} samples there are, or None")
    shift = _shift(checkpoint, scale, subset, seed)
    if shift > SHIFT:
        raise InputError(
            f"subset is {subset}, but the loss of these samples has its minimum {shift:.3g} below w* (in units of the "
            f"LLC, {SHIFT} is allowed), and the estimate would be off by about that: leave it out, or use batch_size"
        )
    return FixedSubset(GradientsReason(Cause.GIVEN), subset)


def _minibatches(
    task: Task, checkpoint: Checkpoint, scale: Scale, settings: Settings, cause: Cause, shift: float | None = None
) -> Gradients:
    trial: GuideTrial | None = None
    try:
        if checkpoint.samples.is_indexable:
            behavioral_task(task)
            if settings.batch_size is not None:
                return Guided(GradientsReason(cause, shift), settings.batch_size)
            size = max(MINIBATCH, int(GUIDES * checkpoint.samples.n))
            acceptance = _acceptance(task, checkpoint, scale, size, settings)
            if acceptance < FOLLOWED:
                return AllSamples(GradientsReason(cause, shift, GuideTrial(size, acceptance)))
            return Guided(GradientsReason(cause, shift), size)
    except InputError as error:
        trial = GuideTrial(error=str(error))
    return Minibatches(GradientsReason(cause, shift, trial), settings.batch_size or MINIBATCH)


def _acceptance(task: Task, checkpoint: Checkpoint, scale: Scale, size: int, settings: Settings) -> float:
    chains = settings.chains_for(checkpoint)
    posterior = LocalPosterior(checkpoint, n_beta=scale.n_beta, localization=scale.localization, rows=chains)
    pilot = sample(
        posterior,
        hmc(guide=Guide(posterior, task, size)),
        seed=settings.seed,
        num_burnin=PILOT,
        stopping=FixedDraws(PILOT, PILOT_GRADIENTS),
        batch_size=size,
    )
    return float(pilot.acceptance.mean())


def _shift(checkpoint: Checkpoint, scale: Scale, size: int, seed: int) -> float:
    part = checkpoint.thinned(size, seed)
    return depth_below(LocalPosterior(part, n_beta=scale.n_beta, localization=scale.localization, rows=1))[0]


def _effective_dimension(checkpoint: Checkpoint, scale: Scale, size: int, seed: int) -> float:
    spectrum = checkpoint.thinned(size, seed).curvature()
    is_resolved = spectrum.values > RESOLUTION * spectrum.largest  # the rest is rounding, and may be of many directions
    stiffness = scale.n_beta * torch.where(is_resolved, spectrum.values, 0.0)
    return float((spectrum.weights * stiffness / (stiffness + max(scale.localization, 1e-12))).sum())
