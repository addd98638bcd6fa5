"""When to stop drawing: after a number of draws, or when the error is small enough."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from llckit.checks import check_integer, check_positive
from llckit.sampling.diagnostics import FEW, controlled, error_of_mean, ess_mean, explored, fallen, mixed, settled

SMALLEST = 0.1  # rel_tol is relative to at least this, so that λ near 0 can be reached
JUDGED = 150  # draws before chains can be called unmixed: R-hat of fewer is too noisy
PART = 1 / 4  # of the steps of the warm-up: as many draws at least
GROWTH = 1.25, 2.0  # the next look comes after the draws that seem needed, within these multiples of the present number


class Progress(NamedTuple):
    """What a stopping rule looks at.

    Attributes:
        excess: nβ (L(w) − L(w*)) of the draws so far, shape (draws, chains).
        virial: (w − w*)·∇U(w) of the same draws.
        dim: Number of sampled parameters.
        grad_evals: Gradients per chain so far, warm-ups included.
        left_out: Steps so far that are not among the draws.
        burnin: Steps that the last warm-up was to take.
        turning_length: Leapfrogs after which chains turn back; 0 if the sampler does not follow long trajectories.
    """

    excess: np.ndarray
    virial: np.ndarray
    dim: int
    grad_evals: int
    left_out: int
    burnin: int
    turning_length: float = 0.0


class GoOn(NamedTuple):
    """Draw on.

    Attributes:
        look: Number of draws at which to ask again; it does not count those dropped.
        dropped: Draws to leave out, from the first.
        mean: Mean of the excess so far.
        error: Its standard error.
    """

    look: int
    dropped: int
    mean: float
    error: float


class Done(NamedTuple):
    """Stop here.

    Attributes:
        dropped: Draws to leave out, from the first.
    """

    dropped: int = 0


class WarmUpAgain(NamedTuple):
    """Leave all draws out and warm up again, from where the chains are."""


Verdict = GoOn | Done | WarmUpAgain


class Stopping(Protocol):
    """A stopping rule."""

    @property
    def max_grad_evals(self) -> int:
        """Gradients per chain after which sampling ends in any case."""
        ...

    @property
    def deadline(self) -> float:
        """When sampling ends in any case, in seconds since the epoch."""
        ...

    @property
    def rel_tol(self) -> float | None:
        """Relative error to reach; None if the rule has none."""
        ...

    def first_look(self, min_draws: int, burnin: int) -> int:
        """Draws after which `judge` is asked for the first time.

        Args:
            min_draws: Draws that the sampler needs before its error can be told.
            burnin: Steps of the warm-up before them.

        Returns:
            The number of draws.
        """
        ...

    def judge(self, progress: Progress) -> Verdict:
        """What to do next.

        Args:
            progress: The draws so far, and what they took.

        Returns:
            The decision.
        """
        ...


@dataclass(frozen=True)
class FixedDraws:
    """Stop after a given number of draws.

    Args:
        num_draws: Draws per chain.
        max_grad_evals: Gradients per chain after which sampling ends in any case.
        deadline: When it ends in any case, in seconds since the epoch.

    Raises:
        InputError: A number is not an integer of at least 1.
    """

    num_draws: int
    max_grad_evals: int
    deadline: float = math.inf

    def __post_init__(self) -> None:
        check_integer("num_draws", self.num_draws, 1)
        check_integer("max_grad_evals", self.max_grad_evals, 1)

    @property
    def rel_tol(self) -> None:
        """No error is to be reached."""

    def first_look(self, min_draws: int, burnin: int) -> int:
        """The number of draws."""
        return self.num_draws

    def judge(self, progress: Progress) -> Done:
        """Stop."""
        return Done()


@dataclass(frozen=True)
class UntilError:
    """Stop when the standard error of the mean excess is small enough.

    Args:
        rel_tol: Standard error to reach, relative to the mean (taken as at least 0.1).
        max_grad_evals: Gradients per chain after which sampling ends in any case.
        deadline: When it ends in any case, in seconds since the epoch.

    Raises:
        InputError: The tolerance is not a positive number, or the budget not an integer of at least 1.
    """

    rel_tol: float
    max_grad_evals: int
    deadline: float = math.inf

    def __post_init__(self) -> None:
        check_positive("rel_tol", self.rel_tol)
        check_integer("max_grad_evals", self.max_grad_evals, 1)

    def first_look(self, min_draws: int, burnin: int) -> int:
        """The sampler's smallest number, or a quarter as many draws as there were steps of the warm-up."""
        return max(min_draws, int(PART * burnin))

    def judge(self, progress: Progress) -> Verdict:
        """Whether the error is small enough, and if not, what to do.

        * Chains that have fallen below w* for good are done: there is nothing to measure.
        * It is told by `error_of_mean` of the `controlled` excess, from draws worth at least 40 independent ones.
        * Chains that have neither `settled`, nor `mixed` and `explored` enough, are warmed up again: the loss can be
          sharper away from w*. If that would take more than half of the budget, the first half of their draws is left
          out instead.

        Args:
            progress: The draws so far, and what they took.

        Returns:
            The decision.
        """
        excess, draws = progress.excess, len(progress.excess)
        estimate = controlled(excess, progress.virial, progress.dim)
        mean, error = float(estimate.mean()), error_of_mean(estimate)
        far = explored(progress.left_out, progress.turning_length, float(progress.virial.mean()), mean)
        is_mixed = settled(excess, progress.virial, progress.dim) or (far and mixed(excess))
        goal = self.rel_tol * max(abs(mean), SMALLEST)
        dropped = 0
        if not is_mixed and draws >= JUDGED:
            another = 2 * max(progress.burnin, draws) * progress.grad_evals / (progress.left_out + draws)
            if progress.grad_evals + another <= self.max_grad_evals / 2:
                return Done() if fallen(excess) else WarmUpAgain()
            dropped = draws // 2
        if fallen(excess) or (is_mixed and error <= goal and ess_mean(excess) >= FEW):
            return Done(dropped)
        needed = 1.05 * draws * (error / goal) ** 2
        look = math.ceil(min(np.fmax(needed, GROWTH[0] * draws), GROWTH[1] * draws))
        return GoOn(look, dropped, mean, error)
