"""Hamiltonian Monte Carlo with trajectories short and long: the default sampler where the full loss is affordable."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy
from llckit.sampling.adaptation import StepSize
from llckit.sampling.base import Info, Noise, Potential, Sampler, check_step_size
from llckit.sampling.metric import Metric
from llckit.sampling.metropolis import acceptance_of, kinetic, metropolis

SHORT, LONGEST = 10, 512  # leapfrogs
TARGET_ACCEPTANCE = 0.85
SHORTEST = 16.0  # a step is at least ε divided by this
GUIDED_DRAWS = 400  # before the first look: fewer are accepted, and R-hat needs some independent ones
FIRST_SEARCH, SEARCH_EVERY = 40, 15  # steps of the warm-up
BURNIN, SHORTER_BURNIN = 150, 20  # the second where step size and length are known beforehand
DRAWS, FEWER_DRAWS = 150, 60  # before the first look; likewise


class Start(NamedTuple):
    """What a warm-up has found elsewhere, in a potential where no metric was used: it holds no scales.

    Attributes:
        step_size: ε.
        turn: Leapfrogs after which chains turn back.
    """

    step_size: float
    turn: float


class HMCState(NamedTuple):
    """Position, its energy, the step size with what steers it, and how long long trajectories are.

    `turn` is the number of leapfrogs after which chains turn back (0 while it is not known), `adapted` counts the
    warm-up's steps, `searching` says whether the next one measures `turn`, `crossing` whether all are long, and
    `accuracy` is what the acceptance of the last one would be in the potential that it followed; `metric` holds the
    scales of the weights.
    """

    weights: Tensor
    energy: Energy
    step_size: StepSize
    turn: float = 0.0
    adapted: int = 0
    searching: bool = False
    crossing: bool = False
    accuracy: float = 1.0
    metric: Metric = Metric()


Guides = Callable[[Callable[[int, int], Tensor]], Callable[[Tensor], Energy]]


def hmc(
    *,
    step_size: float | None = None,
    max_leapfrogs: int | None = None,
    guide: Guides | None = None,
    start: Start | None = None,
) -> Sampler:
    """Hamiltonian Monte Carlo (Duane et al. 1987; Neal, arXiv 1206.1901), exact for every step size.

    A trajectory of ℓ leapfrogs p ← p − ε/2 ∇U(w), w ← w + εp, p ← p − ε/2 ∇U(w) from p ~ N(0, 1) is accepted with
    probability min(1, exp(−ΔH)), H = U + ½‖p‖². Stiff directions, which make up the loss, want short trajectories and
    many of them; flat ones want such as cross them, and the loss does not show it while they are not crossed. So ℓ,
    one number for all chains, is uniform on 1 … 10 or on ¼ … 1 of the length at which chains turn back, half of the
    gradients going to either kind. That length is measured during the warm-up: trajectories go on until
    (w − w₀)·p < 0 for half of the chains (Hoffman & Gelman 2014), 512 leapfrogs at most, and their geometric mean is
    taken, the later ones counting more. A step that the user has not fixed varies from one trajectory to the next,
    ε 16^(−u³) with uniform u: valleys that narrow away from w* are entered by the shorter ones.

    Before every second trajectory chains jump, where that pays (see `llckit.sampling.jumps`) and neither a guide nor
    `max_leapfrogs` is given.

    Where weights live on very different scales, each moves on its own, w ← w + ε s² p with p ~ N(0, 1/s²): `Metric`
    finds s in the first steps of the warm-up and says when. Neither a guide nor a start, a fixed step or
    `max_leapfrogs` allows it.

    With a guide a trajectory follows a potential Ũ that is chosen anew for each, without regard to where chains are,
    and is accepted by U: leapfrogs of any potential keep volume and can be reversed, so the result is exact for every
    guide (Neal, arXiv 1206.1901, "Using approximations to compute the trajectory"), and costs gradients of Ũ and one
    energy of U a trajectory. The step is then adapted to the energy error in Ũ.

    Args:
        step_size: ε, fixed; None finds it: first 1/√k with k the largest curvature of U, then dual averaging during
            the warm-up to an acceptance of 0.85, pooled over chains.
        max_leapfrogs: Takes ℓ uniform on 1 … `max_leapfrogs` instead.
        guide: Gives Ũ, drawing integers for all chains by what it is called with, such as `llckit.posterior.Guide`;
            None follows U.
        start: ε and the length, found in a potential much like this one. The warm-up is then 20 steps in place of 150,
            all of them long, and corrects ε; a further one, where chains have not mixed, searches both.

    Returns:
        The sampler.

    Raises:
        InputError: A step size or length that is not positive.
    """
    check_step_size(step_size)
    if start is not None:
        check_step_size(start.step_size)
    if max_leapfrogs is not None and (not isinstance(max_leapfrogs, int) or max_leapfrogs < 1):
        raise InputError(f"max_leapfrogs is {max_leapfrogs!r}; expected an integer of at least 1, or None")
    short = max_leapfrogs or SHORT
    alone = guide is None and max_leapfrogs is None

    def init(weights: Tensor, potential: Potential, curvature: Callable[[], float]) -> HMCState:
        energy = potential(weights)
        if start is None:
            metric = Metric.start(weights[0]) if alone and step_size is None else Metric()
            first = StepSize.start(step_size or 1 / math.sqrt(curvature()))
            return HMCState(weights, energy, first, metric=metric)
        turn = start.turn if max_leapfrogs is None else 0.0
        return HMCState(weights, energy, StepSize.start(step_size or start.step_size), turn, crossing=True)

    def choose_length(turn: float, crossing: bool, noise: Noise) -> int:
        often = (1 + short) / 2  # leapfrogs of the mean short trajectory
        seldom = 0.625 * turn  # and of the mean long one
        if turn > short and (crossing or noise.common() * (often + seldom) < often):
            return max(1, round(turn * (0.25 + 0.75 * noise.common())))
        return 1 + int(noise.common() * short)

    def step(state: HMCState, potential: Potential, noise: Noise) -> tuple[HMCState, Info]:
        size = state.step_size.value
        if state.searching:
            size, length = state.step_size.settle().value, LONGEST
        else:
            length = choose_length(state.turn, state.crossing, noise)
            if step_size is None:
                size *= SHORTEST ** -(noise.common() ** 3)
        follow = potential if guide is None else guide(noise.common_integers)
        first = state.energy if guide is None else follow(state.weights)
        momentum = noise.normal(state.weights.shape[1])
        kick = kinetic(momentum)
        weights, energy, began = state.weights.clone(), first, first.potential
        del first  # with its gradient
        scale = state.metric.scale
        leapfrogs = 0
        while leapfrogs < length:
            momentum = _move(momentum, energy.grad, scale, -size / 2)
            weights = _move(weights, momentum, scale, size)
            del energy  # makes room for the next gradient
            energy = follow(weights)
            momentum = _move(momentum, energy.grad, scale, -size / 2)
            leapfrogs += 1
            if state.searching and _turned(weights - state.weights, momentum, scale):
                break
        if state.searching:
            state = state._replace(turn=math.sqrt((state.turn or leapfrogs) * leapfrogs))
        gained = kinetic(momentum) - kick
        accuracy = float(acceptance_of(energy.potential - began + gained).mean())
        if guide is not None:
            energy, leapfrogs = potential(weights), leapfrogs + 1  # … and the gradient that the first one began with
        change = energy.potential - state.energy.potential + gained
        weights, energy, acceptance = metropolis(state.weights, state.energy, weights, energy, change, noise)
        state = state._replace(weights=weights, energy=energy, accuracy=accuracy)
        told = (leapfrogs, state.step_size.value, state.turn, state.metric.stretch)
        return state, Info(energy, weights, acceptance, *told)

    def adapt(state: HMCState, info: Info) -> HMCState:
        if step_size is None:
            adapted = state.step_size.corrected if state.crossing else state.step_size.update
            state = state._replace(step_size=adapted(state.accuracy, TARGET_ACCEPTANCE))
        metric = state.metric.update(state.adapted + 1, info.weights, info.energy.grad)
        if metric.scale is not None and state.metric.scale is None:  # other units: the search begins anew
            state = state._replace(step_size=state.step_size.settle())
        state = state._replace(metric=metric)
        since = state.adapted + 1 - FIRST_SEARCH
        searching = max_leapfrogs is None and since >= 0 and since % SEARCH_EVERY == 0
        return state._replace(adapted=state.adapted + 1, searching=searching)

    def freeze(state: HMCState) -> HMCState:
        return state._replace(step_size=state.step_size.settle(), searching=False, crossing=False)

    return Sampler(
        name="hmc",
        settings={"step_size": step_size, "max_leapfrogs": max_leapfrogs},
        init=init,
        step=step,
        adapt=adapt,
        freeze=freeze,
        needs_full_loss=True,
        jumps=alone,
        guided=guide is not None,
        num_burnin=BURNIN if start is None else SHORTER_BURNIN,
        min_draws=GUIDED_DRAWS if guide is not None else DRAWS if start is None else FEWER_DRAWS,
    )


def _move(x: Tensor, by: Tensor, scale: Tensor | None, size: float) -> Tensor:
    # In units of the scales, w = s x with ∂U/∂x = s ∂U/∂w, kicks and drifts are both this, and momenta are N(0, 1).
    return x.add_(by, alpha=size) if scale is None else x.addcmul_(by, scale, value=size)


def _turned(away: Tensor, momentum: Tensor, scale: Tensor | None) -> bool:
    # A chain that left the finite numbers will not come back: it counts as turned.
    along = away.mul_(momentum) if scale is None else away.mul_(momentum).div_(scale)
    return 2 * int((along.sum(1, dtype=torch.float64) > 0).sum()) < len(away)
