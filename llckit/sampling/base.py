"""What a sampler is, what it may ask for, and where its randomness comes from."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior import Energy

State = Any  # each sampler's own NamedTuple; `weights` of shape (rows, dim) is its only promise


class Potential(Protocol):
    """U at some rows of weights: the full posterior, or a minibatch estimate of it."""

    def __call__(self, weights: Tensor, /) -> Energy:
        """Energy of every row at `weights`, shape (rows, dim)."""
        ...


class Info(NamedTuple):
    """What one step tells.

    Attributes:
        energy: The posterior at the draw that the step reports.
        weights: That draw, shape (rows, dim).
        acceptance: Metropolis acceptance probability, shape (rows,); for unadjusted samplers what it would be, or 1.
        grad_evals: Gradients computed, per row.
        step_size: ε used.
        turn: Steps after which chains turn back, where the sampler measures it; else 0.
        stretch: The largest scale of a weight over the smallest, where the sampler moves weights on scales; else 1.
    """

    energy: Energy
    weights: Tensor
    acceptance: Tensor
    grad_evals: int
    step_size: float
    turn: float = 0.0
    stretch: float = 1.0


class Noise:
    """Randomness of a unit of work: row r draws from a generator seeded by (seed, r) alone.

    Row r sees the same numbers at every checkpoint and in every batch (common random numbers), so differences along a
    curve are sharper than its values.

    Args:
        seed: A non-negative integer.
        rows: Number of chains.
        like: A tensor of the type and device that draws should have.
        first: Number of the first of these chains.
        stream: An even number; the same chains draw other numbers from another stream.
    """

    def __init__(self, seed: int, rows: int, like: Tensor, first: int = 0, stream: int = 0) -> None:
        self._like = like
        self._rows = [_generator(seed, r, stream) for r in range(first, first + rows)]
        self._shared = _generator(seed, 0, stream + 1)

    def normal(self, dim: int) -> Tensor:
        """Standard normal numbers, shape (rows, dim)."""
        draws = torch.empty(len(self._rows), dim, dtype=self._like.dtype)
        for row, generator in zip(draws, self._rows, strict=True):
            row.normal_(generator=generator)
        return draws.to(self._like.device)

    def uniform(self) -> Tensor:
        """Uniform numbers in [0, 1), float64, shape (rows,)."""
        draws = [torch.rand((), generator=generator, dtype=torch.float64) for generator in self._rows]
        return torch.stack(draws).to(self._like.device)

    def integers(self, high: int, size: int) -> Tensor:
        """Integers below `high`, shape (rows, size)."""
        draws = [torch.randint(high, (size,), generator=generator) for generator in self._rows]
        return torch.stack(draws).to(self._like.device)

    def common_integers(self, high: int, size: int) -> Tensor:
        """Integers below `high`, shape (size,), for all rows."""
        return torch.randint(high, (size,), generator=self._shared).to(self._like.device)

    def common(self) -> float:
        """One uniform number for all rows."""
        return float(torch.rand((), generator=self._shared, dtype=torch.float64))


def _generator(*words: int) -> torch.Generator:
    state = np.random.SeedSequence(words).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


class Sampler(NamedTuple):
    """A sampler knows nothing of nβ, γ or w*: it moves rows of weights in a potential.

    Attributes:
        name: As it is reported.
        settings: What it was made with, as it is recorded beside results.
        init: (weights, potential, curvature) -> State; curvature() gives the largest curvature of U at w*, at a cost.
        step: (State, Potential, Noise) -> (State, Info).
        needs_full_loss: Whether minibatches would break it (Metropolis tests need the same potential twice).
        jumps: Whether chains may also jump between its steps; its state then has their exact `energy`.
        guided: Whether it follows other gradients than those of the potential it is given, whose energies it needs.
        separable: Whether rows know nothing of each other, so that each may be moved alone; such a sampler must adapt
            nothing, and spend the same gradients in every row.
        adapt: (State, Info) -> State, called after every step of the warm-up and never later.
        freeze: State -> State, called once when the warm-up ends.
        num_burnin: Warm-up steps unless the user says otherwise.
        min_draws: Draws before the first look at their error.
        heat: (ε, total variance of a minibatch's ∇U) -> what that noise adds to the mean of U, to first order; None
            where it is not known.
    """

    name: str
    settings: dict[str, Any]
    init: Callable[[Tensor, Potential, Callable[[], float]], State]
    step: Callable[[State, Potential, Noise], tuple[State, Info]]
    needs_full_loss: bool
    jumps: bool = False
    guided: bool = False
    separable: bool = False
    adapt: Callable[[State, Info], State] = lambda state, info: state
    freeze: Callable[[State], State] = lambda state: state
    num_burnin: int = 1000
    min_draws: int = 1000
    heat: Callable[[float, float], float] | None = None


def check_step_size(value: object) -> None:
    """Refuse what cannot be a step size.

    Args:
        value: As given by the user; None leaves it to the sampler.

    Raises:
        InputError: Neither None nor a positive number.
    """
    if value is not None and not is_positive(value):
        raise InputError(f"step_size is {value!r}; expected a positive number, or None to have it found")


def is_positive(value: object) -> bool:
    """Whether it is a finite number above zero."""
    return isinstance(value, float | int) and not isinstance(value, bool) and 0 < value < math.inf
