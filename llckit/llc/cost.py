"""What sampling will cost, in floating-point operations: the same on every machine, so that choices are too."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llckit.posterior import Checkpoint, largest_eigenvalue

MODEST = 2.2e11  # operations of a call unless a budget is given: some 11 s of a core
CURVATURE_SAMPLES, CURVATURE_STEPS = 32, 8
RELAXATION = 1.8  # √κ of them: steps of Langevin dynamics with ε²k = 0.3 in which a direction held by γ forgets
WARM_UP, DRAWN = 6, 20  # relaxations
FEWEST_STEPS = 200
LEAPFROGS, FEWEST_LEAPFROGS = 15, 2000  # √κ d^¼ of them, or so many: gradients of Hamiltonian trajectories


def condition(n_beta: float, largest: float, localization: float) -> float:
    """κ = (nβh + γ)/γ: √κ leapfrogs cross a direction that γ alone holds.

    Args:
        n_beta: nβ.
        largest: h, the largest curvature of the loss.
        localization: γ.

    Returns:
        κ.
    """
    return 1 + n_beta * largest / max(localization, 1e-12)


def hmc_gradients(condition: float, dim: int) -> float:
    """Gradients of Hamiltonian Monte Carlo, of whose steps the dimension takes d^¼ (Beskos et al. 2013).

    Args:
        condition: κ.
        dim: d.

    Returns:
        The number, per chain.
    """
    return max(FEWEST_LEAPFROGS, LEAPFROGS * math.sqrt(condition) * dim**0.25)


@dataclass(frozen=True)
class Cost:
    """What gradients cost at one checkpoint, and how many of them sampling takes there.

    Attributes:
        checkpoint: Where.
        condition: κ.
        chains: How many move.
    """

    checkpoint: Checkpoint
    condition: float
    chains: int

    @classmethod
    def at(cls, checkpoint: Checkpoint, n_beta: float, localization: float, chains: int) -> Cost:
        """Measure the curvature with 17 gradients of 32 samples, that at the checkpoint included.

        Args:
            checkpoint: Where.
            n_beta: nβ.
            localization: γ.
            chains: How many will move.

        Returns:
            The cost.
        """
        few = checkpoint.thinned(CURVATURE_SAMPLES)
        _ = few.loss  # refused before the work if it is not finite
        largest = largest_eigenvalue(lambda rows: few.loss_and_grad(rows)[1], few.weights, CURVATURE_STEPS)
        return cls(checkpoint, condition(n_beta, largest, localization), chains)

    def gradient(self, size: int, rows: int | None = None) -> float:
        """Operations of the gradients of so many samples in all chains.

        Args:
            size: Samples in a gradient.
            rows: Gradients, each at its own weights; None for one of every chain.

        Returns:
            Operations.
        """
        return self.checkpoint.gradient_operations(size, self.chains if rows is None else rows)

    def hmc(self, size: int) -> float:
        """Operations of Hamiltonian Monte Carlo.

        Args:
            size: Samples in a gradient.

        Returns:
            Operations.
        """
        return hmc_gradients(self.condition, self.checkpoint.dim) * self.gradient(size)

    def langevin(self, size: int) -> float:
        """Operations of Langevin dynamics, whose steps do not depend on the dimension: in pairs, if not on all samples.

        Args:
            size: Samples in a minibatch.

        Returns:
            Operations.
        """
        steps = max(FEWEST_STEPS, (WARM_UP + DRAWN) * self.relaxation)
        if size >= self.checkpoint.samples.n:
            return steps * self.gradient(size)
        return steps * (self.gradient(size // 2, 3 * self.chains) + self.gradient(size))

    @property
    def relaxation(self) -> float:
        """Steps of Langevin dynamics in which a direction held by γ alone forgets where it was."""
        return RELAXATION * math.sqrt(self.condition)

    @property
    def warm_up(self) -> int:
        """Steps that Langevin dynamics takes from w* to its equilibrium."""
        return math.ceil(WARM_UP * self.relaxation)
