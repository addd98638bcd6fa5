"""Which samples a gradient takes: chosen from the residuals at w*, the curvature and a short trial run."""

from __future__ import annotations

import dataclasses
import math

import torch

from llckit.errors import InputError
from llckit.llc.cost import Cost
from llckit.llc.gradients import AllSamples, Cause, FixedSubset, Gradients, GradientsReason, Guided, Minibatches
from llckit.llc.scale import RESOLUTION, Scale
from llckit.llc.settings import Settings
from llckit.posterior import Checkpoint, Guide, LocalPosterior, Task, behavioral_task, depth_below
from llckit.sampling import FixedDraws, Sampler, hmc, mcse_mean, sample

SMALLEST_SUBSET = 512
SPARING = 4  # a part of the samples is worth it if it is so many times smaller than all
SHIFT = 0.1  # how far below w* the subset's own minimum may lie, in units of the LLC
SATURATED = 0.01  # relative change of the effective dimension when the subset is doubled
GUIDES = 1 / 8  # of all samples: gradients along a trajectory then cost about as much as the energy at its end
FREE_OF_NOISE = 2  # times as many operations may sampling cost that needs no minibatches
PILOT, PILOT_GRADIENTS = 40, 2000  # steps of the warm-up, and draws after it, that show how well a guide does
FOLLOWED = 0.65  # acceptance of short trajectories below which long ones are hardly ever accepted
SMALLEST, LARGEST = 8, 512  # samples of a minibatch, before its heat is seen
COOL, HEATED_DRAWS, HEATED_CHAINS = 0.05, 40, 2  # share of the LLC that heat may be, and the trial that shows it
TRIAL = 0.1  # of the time that is left: what a trial may take
GROWTH = 16  # by which minibatches grow at most to be cool
SMALLEST_EXCESS = 0.1  # which the heat is compared with at least
CONTROL = 0.1  # of the sampling: what ∇L(w*) of all samples may cost


def choose_gradients(task: Task, checkpoint: Checkpoint, scale: Scale, settings: Settings) -> Gradients:
    """Take what the user asked for, or choose the cheapest that is right where sampler and sizes were left open.

    Costs are predicted in operations (`Cost`), and the first of these is taken that costs no more than the last, or
    than 2.2·10¹¹, or what the time left is good for if that is less:

    * All samples; also if the loss does not look at the data.
    * A fixed subset S, sampled in place of all, if it is safe. Its minimum must be w*, too: nβ (L_S(w*) − L_S(ŵ)),
      about ½ nβ gᵀH⁺g for its gradient g, is below 0.1 (it is in the hundreds with label noise). And its Hessian must
      have the full rank: doubling S changes the effective dimension Σ th/(th + γ), t = nβ, by at most 1 %. S begins
      with 512 samples and is doubled up to a quarter of all.
    * Minibatches of an eighth of all samples that guide trajectories, which all samples accept or reject (`Guide`). A
      trial of 40 + 40 short trajectories must be accepted with a mean probability of at least 0.65.
    * Else Langevin dynamics, on all samples if they cost no more than twice what minibatches do. These hold as many
      samples as a call computes in the time that it takes anyway, and are doubled until their heat, measured by pairs
      of chains in a trial, is below a twentieth of λ̂. w* is their control variate if ∇L(w*) of all samples costs at
      most a tenth of the sampling.

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
    if not checkpoint.bytes_per_sample or not checkpoint.samples.is_indexable:
        if settings.batch_size is None:
            return AllSamples(GradientsReason(Cause.AFFORDABLE))
        return Minibatches(GradientsReason(Cause.GIVEN), settings.batch_size)
    cost = Cost.at(checkpoint, scale.n_beta, scale.localization, settings.chains_for(checkpoint))
    size = settings.batch_size or _natural_size(checkpoint)
    langevin = min(cost.langevin(size), cost.langevin(n))
    affordable = max(settings.budget.affordable, langevin)
    if settings.batch_size is not None:
        if cost.hmc(n) <= affordable and _can_guide(task):
            return Guided(GradientsReason(Cause.GIVEN), size)
        return _minibatches(task, checkpoint, scale, settings, cost, size, Cause.GIVEN)
    if cost.hmc(n) <= affordable:
        return AllSamples(GradientsReason(Cause.AFFORDABLE))
    shift, cause = None, Cause.TOO_LARGE
    if n >= SPARING * SMALLEST_SUBSET and cost.hmc(SMALLEST_SUBSET) <= affordable:
        shift = _shift(checkpoint, scale, SMALLEST_SUBSET, settings.seed)
        subset = None if shift > SHIFT else _saturated(checkpoint, scale, cost, affordable, settings.seed)
        if subset is not None:
            return FixedSubset(GradientsReason(Cause.SAME_MINIMUM), subset)
        cause = Cause.OTHER_MINIMUM if shift > SHIFT else cause
        shift = shift if shift > SHIFT else None
    guides = max(SMALLEST_SUBSET, int(GUIDES * n))
    may_guide = SPARING * guides <= n and cost.hmc(2 * guides) <= affordable and _can_guide(task)
    if may_guide and _acceptance(task, checkpoint, scale, guides, settings) >= FOLLOWED:
        return Guided(GradientsReason(cause, shift), guides)
    if size >= n or cost.langevin(n) <= FREE_OF_NOISE * cost.langevin(size):
        return AllSamples(GradientsReason(cause, shift), warm_up=cost.warm_up)
    return _minibatches(task, checkpoint, scale, settings, cost, size, cause, shift)


def _natural_size(checkpoint: Checkpoint) -> int:
    """As many samples as a call computes in the time that it takes anyway, a power of two."""
    price = checkpoint.price
    size = 2 ** round(math.log2((price.call + price.row) / max(1.0, price.sample)))
    return min(max(SMALLEST, size), LARGEST)


def _saturated(checkpoint: Checkpoint, scale: Scale, cost: Cost, affordable: float, seed: int) -> int | None:
    """The smallest subset whose Hessian has the full rank, as far as one is worth it."""
    size = SMALLEST_SUBSET
    smaller = _effective_dimension(checkpoint, scale, size, seed)
    while SPARING * size <= checkpoint.samples.n and cost.hmc(size) <= affordable:
        larger = _effective_dimension(checkpoint, scale, 2 * size, seed)
        if abs(larger - smaller) <= SATURATED * larger:
            return size
        size, smaller = 2 * size, larger
    return None


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


def _can_guide(task: Task) -> bool:
    try:
        behavioral_task(task)
    except InputError:
        return False
    return True


def _minibatches(
    task: Task,
    checkpoint: Checkpoint,
    scale: Scale,
    settings: Settings,
    cost: Cost,
    size: int,
    cause: Cause,
    shift: float | None = None,
) -> Minibatches:
    n = checkpoint.samples.n
    control = not checkpoint.is_behavioral and cost.gradient(n, 1) <= CONTROL * cost.langevin(size)
    found = Minibatches(GradientsReason(cause, shift), size, has_control=control, warm_up=cost.warm_up)
    if settings.batch_size is not None:
        return found
    heat = _heat(task, checkpoint, scale, settings, found)
    while heat > COOL and 2 * found.size <= min(n, GROWTH * size):
        found, heat = dataclasses.replace(found, size=2 * found.size), heat / 2
    return found


def _heat(task: Task, checkpoint: Checkpoint, scale: Scale, settings: Settings, gradients: Minibatches) -> float:
    """The heat of minibatches as a share of the excess, as far as it is there beyond doubt, from a short run."""
    rows = HEATED_CHAINS
    posterior = LocalPosterior(checkpoint, n_beta=scale.n_beta, localization=scale.localization, rows=rows)
    trial = sample(
        posterior,
        gradients.sampler(task, posterior, None),
        seed=settings.seed,
        num_burnin=min(gradients.warm_up or 0, PILOT),
        stopping=FixedDraws(HEATED_DRAWS, PILOT_GRADIENTS, settings.budget.share(TRIAL).deadline),
        batch_size=gradients.batch_size,
        control=gradients.control,
    )
    heat, error = float(trial.heat.mean()), mcse_mean(trial.heat)
    return (heat - error) / max(float(trial.excess.mean()), SMALLEST_EXCESS)


def _acceptance(task: Task, checkpoint: Checkpoint, scale: Scale, size: int, settings: Settings) -> float:
    chains = settings.chains_for(checkpoint)
    posterior = LocalPosterior(checkpoint, n_beta=scale.n_beta, localization=scale.localization, rows=chains)
    pilot = sample(
        posterior,
        hmc(guide=Guide(posterior, task, size)),
        seed=settings.seed,
        num_burnin=PILOT,
        stopping=FixedDraws(PILOT, PILOT_GRADIENTS, settings.budget.share(TRIAL).deadline),
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
