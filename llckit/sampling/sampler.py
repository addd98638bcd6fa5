"""What a sampler is: how its chains start, step and adapt, and what it accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

from torch import Tensor

from llckit.posterior import Energy
from llckit.sampling.noise import Noise


class State(Protocol):
    """What the next step needs: a `NamedTuple` of each sampler's own."""

    @property
    def weights(self) -> Tensor:
        """Where the chains are, shape (rows, dim)."""
        ...

    def _replace(self, **changes: Any) -> Self: ...


S = TypeVar("S", bound=State)


class Potential(Protocol):
    """U = −ln of the posterior density, at some rows of weights; see `llckit.sampling.potentials` for its kinds."""

    def __call__(self, weights: Tensor, /) -> Energy:
        """Energy of every row at `weights`, shape (rows, dim)."""
        ...


class Curvature(NamedTuple):
    """The curvature of U, as far as it can be known beforehand.

    Attributes:
        largest: Gives the largest curvature of U at some rows of weights, or at w* if it is given None; at a cost.
        softest: The curvature of directions in which the loss is flat: γ.
    """

    largest: Callable[[Tensor | None], float]
    softest: float = 0.0

    def __call__(self) -> float:
        """The largest curvature at w*."""
        return self.largest(None)


class Info(NamedTuple):
    """What one step reports.

    Attributes:
        energy: The potential at the draw.
        weights: The draw, shape (rows, dim).
        acceptance: Metropolis acceptance probability, shape (rows,). A sampler without a Metropolis test gives 1,
            or 0 for a step that it took back.
        grad_evals: Gradients computed per row.
        step_size: ε that was used.
        turning_length: Leapfrogs after which chains turn back; 0 if the sampler does not measure it.
        scale_ratio: Largest scale of a weight over the smallest; 1 if the sampler uses no scales.
    """

    energy: Energy
    weights: Tensor
    acceptance: Tensor
    grad_evals: int
    step_size: float
    turning_length: float = 0.0
    scale_ratio: float = 1.0


class Sampler(NamedTuple, Generic[S]):
    """A way to move rows of weights in a potential; it knows nothing of nβ, γ or w*.

    Attributes:
        name: Its name in `llckit.sampling.SAMPLERS` and in reports.
        settings: The arguments it was made with, recorded beside results.
        accepts: What it can take, by type. `FullPotential`, `MinibatchPotential`: the potentials that it can move in.
            `EnergyPotential`: it follows a guide, and needs U without its gradient. `Jumps`: chains may also jump
            between its steps; its state then has their `energy`. `OneByOne`: each chain may be moved alone.
        is_exact: Whether draws follow the posterior at any step size.
        init: (weights, potential, curvature) -> State; curvature() gives the largest curvature of U at w*, at a cost.
        step: (State, Potential, Noise) -> (State, Info).
        adapt: (State, Info) -> State, called after every step of the warm-up and never later.
        freeze: State -> State, called once when a warm-up ends.
        num_burnin: Steps of the warm-up, unless the user gives their number.
        min_draws: Draws before their error is looked at for the first time.
    """

    name: str
    settings: Mapping[str, float | None]
    accepts: frozenset[type]
    is_exact: bool
    init: Callable[[Tensor, Potential, Curvature], S]
    step: Callable[[S, Potential, Noise], tuple[S, Info]]
    adapt: Callable[[S, Info], S] = lambda state, info: state
    freeze: Callable[[S], S] = lambda state: state
    num_burnin: int = 1000
    min_draws: int = 1000
