"""Which samples a gradient takes: all, a fixed subset of them, or a new minibatch each time."""

from __future__ import annotations

import dataclasses

import torch

from llckit.errors import InputError
from llckit.llc.point import Settings
from llckit.llc.settings import RESOLUTION, Scale, choose_num_chains
from llckit.posterior import Guide, LocalPosterior, Point, Task, behavioral_task, curvature, depth_below, saved_bytes
from llckit.sampling import Sampler, hmc, sample

AFFORDABLE = 4096  # samples: the full loss is taken up to here
SMALLEST_SUBSET = 512
SPARING = 4  # a subset is worth it from that many times fewer samples
SHIFT = 0.1  # how far below w* the subset's own minimum may lie, in units of the LLC
SATURATED = 0.01  # relative change of the effective dimension when the subset is doubled
MINIBATCH = 512
GUIDES = 1 / 8  # of all samples: gradients along a trajectory then cost about as much as the energy at its end
PILOT, PILOT_GRADIENTS = 40, 2000  # steps of the warm-up, and draws after it, that show how well a guide does
FOLLOWED = 0.65  # acceptance of short trajectories below which long ones are hardly ever accepted


def choose_gradients(task: Task, point: Point, scale: Scale, settings: Settings) -> Settings:
    """Fill in subset and batch size where sampler and both were left open, and refuse a subset that misleads.

    The full loss is taken up to 4096 samples, or where it does not look at the data. Of more, a fixed subset S, whose
    loss is sampled in place of the full one, if two things hold. Its minimum is w*, too: nβ (L_S(w*) − L_S(ŵ)), about
    ½ nβ gᵀH⁺g for its gradient g, is below 0.1; so it is where single samples have no residual at w*, and with label
    noise it is in the hundreds. And its Hessian has the full one's rank, as far as doubling S can tell: the effective
    dimension Σ th/(th + γ), t = nβ, changes by 1 % at most. S has 512 samples, doubled as long as that is a quarter of
    all. Otherwise minibatches of an eighth of all samples (512 at least) guide trajectories that all samples accept or
    reject (`Guide`), unless 40 short ones after a warm-up of 40 are accepted with a mean probability below 0.65: the
    more weights the loss depends on, the further a minibatch strays, and all samples then cost less in the end. That
    trial takes 2000 gradients a chain at most, beside `max_grad_evals`. Where the loss has no behavioral counterpart
    minibatches of 512 are the gradients themselves, with a control variate.

    Args:
        task: Model, data and loss.
        point: The checkpoint the choice is made at.
        scale: nβ and γ.
        settings: What the user asked for.

    Returns:
        The settings with the choice and, in `gradients`, its reason.

    Raises:
        InputError: The subset given is no smaller than the data, or its minimum lies elsewhere.
    """
    n = point.samples.n
    if settings.subset is not None:
        if settings.subset >= n:
            raise InputError(f"subset is {settings.subset}; expected fewer than the {n} samples there are, or None")
        shift = _shift(task, point, scale, settings.subset, settings.seed)
        if shift > SHIFT:
            raise InputError(
                f"subset is {settings.subset}, but the loss of these samples has its minimum {shift:.3g} below w* (in "
                f"units of the LLC, {SHIFT} is allowed), and the estimate would be off by about that: leave it out, or "
                "use batch_size"
            )
        return dataclasses.replace(settings, gradients="fixed subset, given")
    if isinstance(settings.sampler, Sampler):
        return dataclasses.replace(settings, gradients="all samples" if settings.batch_size is None else "minibatches")
    if settings.batch_size is not None:
        return _minibatches(task, point, scale, settings, "given")
    if n <= AFFORDABLE or not saved_bytes(task, point) or not point.samples.is_indexable:
        return dataclasses.replace(settings, gradients="all samples, which is affordable")
    shift = _shift(task, point, scale, SMALLEST_SUBSET, settings.seed)
    if shift > SHIFT:
        reason = f"since the minimum of a fixed subset lies {shift:.3g} below w*"
        return _minibatches(task, point, scale, settings, reason)
    size = SMALLEST_SUBSET
    smaller = _effective_dimension(task, point, scale, size, settings.seed)
    while SPARING * size <= n:
        larger = _effective_dimension(task, point, scale, 2 * size, settings.seed)
        if abs(larger - smaller) <= SATURATED * larger:
            return dataclasses.replace(settings, subset=size, gradients="fixed subset: it has its minimum at w*")
        size, smaller = 2 * size, larger
    return _minibatches(task, point, scale, settings, "since a fixed subset would have to hold most samples")


def _minibatches(task: Task, point: Point, scale: Scale, settings: Settings, reason: str) -> Settings:
    try:
        if point.samples.is_indexable:
            behavioral_task(task)
            size = settings.batch_size or max(MINIBATCH, int(GUIDES * point.samples.n))
            accepted = _acceptance(task, point, scale, size, settings) if settings.batch_size is None else 1.0
            if accepted < FOLLOWED:
                words = f"all samples, {reason} and trajectories guided by {size} are accepted in {accepted:.0%}"
                return dataclasses.replace(settings, gradients=words)
            words = f"minibatches guide and all samples decide, {reason}"
            return dataclasses.replace(settings, batch_size=size, guided=True, gradients=words)
    except InputError as error:
        reason += f"; they cannot guide: {error}"
    size = settings.batch_size or MINIBATCH
    return dataclasses.replace(settings, batch_size=size, gradients=f"minibatches, {reason}")


def _acceptance(task: Task, point: Point, scale: Scale, size: int, settings: Settings) -> float:
    chains = settings.num_chains or choose_num_chains(task, point)
    posterior = LocalPosterior(task, point, n_beta=scale.n_beta, localization=scale.localization, rows=chains)
    pilot = sample(
        posterior,
        hmc(guide=Guide(posterior, task, size)),
        seed=settings.seed,
        num_burnin=PILOT,
        num_draws=PILOT,
        max_grad_evals=PILOT_GRADIENTS,
        batch_size=size,
    )
    return float(pilot.acceptance.mean())


def _posterior(task: Task, point: Point, scale: Scale, size: int, seed: int) -> LocalPosterior:
    part = point.thinned(size, seed)
    return LocalPosterior(task, part, n_beta=scale.n_beta, localization=scale.localization, rows=1)


def _shift(task: Task, point: Point, scale: Scale, size: int, seed: int) -> float:
    return depth_below(_posterior(task, point, scale, size, seed))[0]


def _effective_dimension(task: Task, point: Point, scale: Scale, size: int, seed: int) -> float:
    spectrum = curvature(_posterior(task, point, scale, size, seed))
    resolved = spectrum.values > RESOLUTION * spectrum.largest  # the rest is rounding, and may be of many directions
    stiffness = scale.n_beta * torch.where(resolved, spectrum.values, 0.0)
    return float((spectrum.weights * stiffness / (stiffness + max(scale.localization, 1e-12))).sum())
