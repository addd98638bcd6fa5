"""What the user asked for, apart from nβ and γ: it finds an estimate and does not define it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from llckit.checks import check_integer, check_positive, check_seed, is_finite_number, shown
from llckit.errors import InputError
from llckit.posterior import Checkpoint
from llckit.sampling import FixedDraws, Sampler, UntilError

REL_TOL = 0.01
MAX_GRAD_EVALS, FEWEST_GRADIENTS = 30_000, 200  # per chain
SPEED = 2e10  # operations a second of one core
MODEST = 5e12  # operations of one estimate unless a budget is given: some minutes of a core

FEWEST, MOST = 8, 256  # chains
VERY_LARGE = 2**25  # weights from which 2 chains are taken
SMALL_STATE, SMALL_PASS = 2**16, 2**18  # numbers and bytes below which more chains cost next to nothing


@dataclass(frozen=True)
class Budget:
    """What one estimate may cost.

    Attributes:
        max_grad_evals: Gradients per chain after which sampling ends; None lets `MODEST` operations decide.
        at_most: Gradients per chain after which it ends in that case, however cheap they are.
        deadline: When it ends, in seconds since the epoch.
    """

    max_grad_evals: int | None = None
    at_most: int = MAX_GRAD_EVALS
    deadline: float = math.inf

    def __post_init__(self) -> None:
        if self.max_grad_evals is not None:
            check_integer("max_grad_evals", self.max_grad_evals, 1, ", or None for as many as a modest budget allows")

    @classmethod
    def of(cls, max_grad_evals: int | None, max_seconds: float | None, at_most: int = MAX_GRAD_EVALS) -> Budget:
        """The budget of a call that begins now.

        Args:
            max_grad_evals: See the class.
            max_seconds: Seconds from now to the deadline; None for no deadline.
            at_most: See the class.

        Returns:
            The budget.

        Raises:
            InputError: A number that is not positive.
        """
        if max_seconds is None:
            return cls(max_grad_evals, at_most)
        return cls(max_grad_evals, at_most, time.time() + check_positive("max_seconds", max_seconds, ", or None"))

    @property
    def is_open(self) -> bool:
        """Whether there is no deadline."""
        return math.isinf(self.deadline)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.time())

    @property
    def operations(self) -> float:
        """What a core computes until the deadline, on a nominal machine: by it the seconds decide between methods."""
        return SPEED * self.seconds_left

    def share(self, part: float) -> Budget:
        """The same with that part of the seconds that are left."""
        return self if math.isinf(self.deadline) else replace(self, deadline=time.time() + part * self.seconds_left)

    def grad_evals(self, operations: float) -> int:
        """Gradients per chain after which sampling ends.

        Args:
            operations: What one gradient costs, in all chains.

        Returns:
            The number.
        """
        if self.max_grad_evals is not None:
            return self.max_grad_evals
        return min(self.at_most, max(FEWEST_GRADIENTS, int(MODEST / max(operations, 1.0))))


@dataclass(frozen=True)
class Settings:
    """What was asked for; see `estimate_llc` for the meaning of each."""

    num_chains: int | None = None
    num_draws: int | None = None
    num_burnin: int | None = None
    sampler: Sampler | Literal["auto"] = "auto"
    rel_tol: float = REL_TOL
    budget: Budget = Budget()
    seed: int = 0
    batch_size: int | None = None
    subset: int | None = None

    def __post_init__(self) -> None:
        least = {"num_chains": 1, "num_draws": 4, "num_burnin": 0, "batch_size": 1, "subset": 1}
        for name in least:
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), least[name])
        check_seed(self.seed)
        if self.subset is not None and self.batch_size is not None:
            raise InputError(f"subset is {self.subset} and batch_size {self.batch_size}; expected one of them at most")
        if not (is_finite_number(self.rel_tol) and 0 < self.rel_tol < 1):
            raise InputError(f"rel_tol is {shown(self.rel_tol)}; expected a number between 0 and 1, such as 0.01")
        if not isinstance(self.sampler, Sampler) and self.sampler != "auto":
            raise InputError(f'sampler is {self.sampler!r}; expected "auto" or a sampler such as llckit.hmc()')

    def stopping_for(self, operations: float) -> FixedDraws | UntilError:
        """When sampling ends: after a number of draws, or at an error; in any case with the budget.

        Args:
            operations: What one gradient costs, in all chains.

        Returns:
            The rule.
        """
        budget = self.budget
        if self.num_draws is not None:
            given = budget.at_most if budget.max_grad_evals is None else budget.max_grad_evals
            return FixedDraws(self.num_draws, given, budget.deadline)
        return UntilError(self.rel_tol, budget.grad_evals(operations), budget.deadline)

    def within(self, seconds: float | None) -> Settings:
        """The same with so many seconds from now; None sets no limit."""
        budget = self.budget
        return replace(self, budget=Budget.of(budget.max_grad_evals, seconds, budget.at_most))

    def sharing(self, part: float) -> Settings:
        """The same with that part of the seconds that are left."""
        return replace(self, budget=self.budget.share(part))

    def chains_for(self, checkpoint: Checkpoint) -> int:
        """The number of chains asked for; else 8, up to 256 on small models, 4 if rows run one by one, 2 if very large.

        More chains are free as long as one batched gradient is so small that its cost is the call, not the arithmetic.

        Args:
            checkpoint: Any checkpoint of the task.

        Returns:
            The number of chains.
        """
        if self.num_chains is not None:
            return self.num_chains
        if checkpoint.dim >= VERY_LARGE:
            return 2
        pass_bytes = max(1, checkpoint.samples.n * checkpoint.bytes_per_sample)
        if not checkpoint.flat_loss.is_batched(pass_bytes):
            return 4
        return int(np.clip(min(SMALL_STATE // checkpoint.dim, SMALL_PASS // pass_bytes), FEWEST, MOST))
