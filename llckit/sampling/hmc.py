"""Hamiltonian Monte Carlo with trajectories short and long: the default sampler if the full loss is affordable."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from llckit.checks import check_integer
from llckit.posterior import Energy
from llckit.sampling.adaptation import StepSize, check_step_size, start_step
from llckit.sampling.jumps import Jumps
from llckit.sampling.metric import Metric
from llckit.sampling.metropolis import acceptance_of, kinetic, metropolis
from llckit.sampling.noise import Noise
from llckit.sampling.potentials import EnergyPotential, FullPotential
from llckit.sampling.sampler import Curvature, Info, Potential, Sampler
from llckit.sampling.trajectory import Trajectory

SHORT, LONGEST = 10, 512  # leapfrogs
TARGET_ACCEPTANCE = 0.85
SHORTEST = 16.0  # a step is at least ε divided by this
GUIDED_DRAWS = 400  # before the first look: fewer are accepted, and R-hat needs some independent ones
FIRST_SEARCH, SEARCH_EVERY = 40, 15  # steps of the warm-up
FIRST_CHECK, CHECK_EVERY = 5, 7  # … if a length is known beforehand
BURNIN, SHORTER_BURNIN = 150, 20  # the second if step size and length are known beforehand
DRAWS = 40  # before the first look

Guides = Callable[[Callable[[int, int], Tensor]], Callable[[Tensor], Energy]]


class Start(NamedTuple):
    """What a warm-up has found elsewhere, in a potential for which no metric was used: it holds no scales.

    Attributes:
        step_size: ε.
        turning_length: Leapfrogs after which chains turn back.
        weights: Where chains of the same checkpoint ended, shape (rows, dim); None begins at w*.
    """

    step_size: float
    turning_length: float
    weights: Tensor | None = None


class HMCState(NamedTuple):
    """What the next trajectory needs.

    Attributes:
        weights: Where the chains are, shape (rows, dim).
        energy: The posterior there.
        step_size: ε, with what steers it.
        turning_length: Leapfrogs after which chains turn back; 0 while it is not known.
        adapted: Steps of the warm-up so far.
        searching: Whether the next step measures the turning length.
        correcting: Whether step size and length are known, and only corrected.
        crossing: Whether all trajectories are long.
        accuracy: Mean acceptance that the last trajectory would have in the potential it followed.
        metric: Scales of the weights.
    """

    weights: Tensor
    energy: Energy
    step_size: StepSize
    turning_length: float = 0.0
    adapted: int = 0
    searching: bool = False
    correcting: bool = False
    crossing: bool = False
    accuracy: float = 1.0
    metric: Metric = Metric()


def hmc(
    *,
    step_size: float | None = None,
    max_leapfrogs: int | None = None,
    guide: Guides | None = None,
    start: Start | None = None,
) -> Sampler:
    """Hamiltonian Monte Carlo (Duane et al. 1987; Neal, arXiv 1206.1901), exact for every step size.

    A trajectory of ℓ leapfrogs p ← p − ε/2 ∇U(w), w ← w + εp, p ← p − ε/2 ∇U(w) from p ~ N(0, 1) is accepted with
    probability min(1, exp(−ΔH)), H = U + ½‖p‖². The number ℓ is the same for all chains: uniform on 1 … 10, or on
    ¼ … 1 of the length at which chains turn back, which the warm-up measures. Jumps (`llckit.sampling.jumps`), scales
    of the weights (`Metric`), and the choice of ℓ and ε are explained in docs/notes/hmc.md.

    Args:
        step_size: ε, fixed; None finds it. It is first 1/√k with k the largest curvature of U; dual averaging during
            the warm-up then leads to an acceptance of 0.85, pooled over chains.
        max_leapfrogs: Longest trajectory: ℓ is then uniform on 1 … `max_leapfrogs`. None finds the lengths.
        guide: Gives the potential that a trajectory follows in place of U, such as `llckit.posterior.Guide`; U still
            accepts or rejects. It is called with a function (n, size) -> `size` integers below n. None follows U.
        start: ε and the length found in a potential much like this one. The warm-up then takes 20 steps in place of
            150 and corrects both; all of them are long, unless it says where chains have spread to. If they have not
            mixed, a further warm-up searches both.

    Returns:
        The sampler.

    Raises:
        InputError: A step size or length that is not positive.
    """
    given = check_step_size(step_size)
    if max_leapfrogs is not None:
        max_leapfrogs = check_integer("max_leapfrogs", max_leapfrogs, 1, ", or None to have the lengths found")
    if start is not None:
        check_step_size(start.step_size)
    method = _HMC(given, max_leapfrogs, guide, start)
    plain = {FullPotential} if max_leapfrogs is not None else {FullPotential, Jumps}
    return Sampler(
        name="hmc",
        settings={"step_size": given, "max_leapfrogs": max_leapfrogs},
        accepts=frozenset(plain if guide is None else {EnergyPotential}),
        is_exact=True,
        init=method.init,
        step=method.step,
        adapt=method.adapt,
        freeze=method.freeze,
        num_burnin=BURNIN if start is None else SHORTER_BURNIN,
        min_draws=GUIDED_DRAWS if guide is not None else DRAWS,
    )


@dataclass(frozen=True)
class _HMC:
    """The functions of the sampler, with the arguments of `hmc`."""

    given_step: float | None
    max_leapfrogs: int | None
    guide: Guides | None
    start: Start | None

    def init(self, weights: Tensor, potential: Potential, curvature: Curvature) -> HMCState:
        if self.start is not None and self.start.weights is not None:
            weights = self.start.weights.to(weights)
        energy = potential(weights)
        if self.start is None:
            finds_scales = self.guide is None and self.max_leapfrogs is None and self.given_step is None
            metric = Metric.start(weights[0]) if finds_scales else Metric()
            first = start_step(self.given_step, lambda: 1 / math.sqrt(curvature()))
            return HMCState(weights, energy, first, metric=metric)
        found = self.start
        first = start_step(self.given_step, lambda: found.step_size)
        length = found.turning_length if self.max_leapfrogs is None else 0.0
        return HMCState(weights, energy, first, length, correcting=True, crossing=found.weights is None)

    def step(self, state: HMCState, potential: Potential, noise: Noise) -> tuple[HMCState, Info]:
        if state.searching:
            size, length = state.step_size.settle().value, LONGEST
        else:
            length = self._choose_length(state, noise)
            size = state.step_size.value * (SHORTEST ** -(noise.common() ** 3) if self.given_step is None else 1.0)
        follow, first = self._choose_guide(state, potential, noise)
        began = first.potential
        path = Trajectory(follow, state.weights, first, noise.normal(state.weights.shape[1]), state.metric.scale)
        del first  # with its gradient
        kick = kinetic(path.momentum)
        if state.searching:
            leapfrogs = path.run_until_turned(size, length)
            turning_length = math.sqrt((state.turning_length or leapfrogs) * leapfrogs)
            state = state._replace(turning_length=turning_length)
        else:
            leapfrogs = path.run(size, length)
        gained = kinetic(path.momentum) - kick
        accuracy = float(acceptance_of(path.energy.potential - began + gained).mean())
        weights, energy = path.weights, path.energy
        if self.guide is not None:
            energy, leapfrogs = potential(weights), leapfrogs + 1  # … and the gradient that the first one began with
        change = energy.potential - state.energy.potential + gained
        weights, energy, acceptance = metropolis(state.weights, state.energy, weights, energy, change, noise)
        state = state._replace(weights=weights, energy=energy, accuracy=accuracy)
        found = (state.step_size.value, state.turning_length, state.metric.scale_ratio)
        return state, Info(energy, weights, acceptance, leapfrogs, *found)

    def _choose_length(self, state: HMCState, noise: Noise) -> int:
        short, turning_length = self.max_leapfrogs or SHORT, state.turning_length
        often = (1 + short) / 2  # leapfrogs of the mean short trajectory
        seldom = 0.625 * turning_length  # and of the mean long one
        if turning_length > short and (state.crossing or noise.common() * (often + seldom) < often):
            return max(1, round(turning_length * (0.25 + 0.75 * noise.common())))
        return 1 + int(noise.common() * short)

    def _choose_guide(
        self, state: HMCState, potential: Potential, noise: Noise
    ) -> tuple[Callable[[Tensor], Energy], Energy]:
        """The potential that this trajectory follows, and its energy where the chains are."""
        if self.guide is None:
            return potential, state.energy
        follow = self.guide(noise.common_integers)
        return follow, follow(state.weights)

    def adapt(self, state: HMCState, info: Info) -> HMCState:
        update = state.step_size.corrected if state.correcting else state.step_size.update
        state = state._replace(step_size=update(state.accuracy, TARGET_ACCEPTANCE))
        metric = state.metric.update(state.adapted + 1, info.weights, info.energy.grad)
        if metric.scale is not None and state.metric.scale is None:  # other units: the search begins anew
            state = state._replace(step_size=state.step_size.settle())
        first, every = (FIRST_CHECK, CHECK_EVERY) if state.correcting else (FIRST_SEARCH, SEARCH_EVERY)
        since = state.adapted + 1 - first
        searching = self.max_leapfrogs is None and since >= 0 and since % every == 0
        return state._replace(metric=metric, adapted=state.adapted + 1, searching=searching)

    def freeze(self, state: HMCState) -> HMCState:
        return state._replace(step_size=state.step_size.settle(), searching=False, correcting=False, crossing=False)
