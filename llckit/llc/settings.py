"""What the user asked for, apart from nβ and γ: it finds an estimate and does not define it."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from llckit.checks import check_integer, check_positive, check_seed, is_finite_number, shown
from llckit.errors import InputError
from llckit.llc.cost import MODEST
from llckit.posterior import Checkpoint
from llckit.sampling import FixedDraws, Sampler, UntilError

REL_TOL = 0.01
MAX_GRAD_EVALS = 30_000  # per chain
SPEED = 2e10  # operations a second of one core

FEWEST, MOST = 8, 256  # chains
VERY_LARGE = 2**25  # weights from which 2 chains are taken
SMALL_STATE, SMALL_PASS = 2**16, 2**18  # numbers and bytes below which more chains cost next to nothing


@dataclass(frozen=True)
class Budget:
    """What one estimate may cost, with all the scales that it looks at.

    Attributes:
        max_grad_evals: Gradients per chain that are left; None lets `operations` decide.
        at_most: Gradients per chain that are left in that case, however cheap they are.
        operations: Operations that are left in that case.
        deadline: When sampling ends, in seconds since the epoch; it takes the place of `operations`.
    """

    max_grad_evals: int | None = None
    at_most: int = MAX_GRAD_EVALS
    operations: float = MODEST
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
        return cls(max_grad_evals, at_most).within(check_positive("max_seconds", max_seconds, ", or None"))

    def within(self, seconds: float) -> Budget:
        """The same with so many seconds from now."""
        return replace(self, operations=math.inf, deadline=time.time() + seconds)

    @property
    def is_open(self) -> bool:
        """Whether there is no deadline."""
        return math.isinf(self.deadline)

    @property
    def is_default(self) -> bool:
        """Whether neither gradients nor seconds were given."""
        return self.max_grad_evals is None and self.is_open

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self.deadline - time.time())

    @property
    def affordable(self) -> float:
        """Operations by which methods are chosen: those until the deadline on a nominal machine, `MODEST` at most."""
        return min(MODEST, self.operations, SPEED * self.seconds_left)

    def share(self, part: float) -> Budget:
        """The same with that part of the seconds that are left."""
        return self if self.is_open else replace(self, deadline=time.time() + part * self.seconds_left)

    def grad_evals(self, operations: float, least: int = 0) -> int:
        """Gradients per chain that are left.

        Args:
            operations: What one gradient costs, in all chains.
            least: So many are left in any case, if none were given.

        Returns:
            The number.
        """
        if self.max_grad_evals is not None:
            return self.max_grad_evals
        affordable = self.operations / max(operations, 1.0)
        return int(min(self.at_most, max(least, affordable)))

    def allows(self, grad_evals: int, operations: float) -> bool:
        """Whether so many further gradients are left.

        Args:
            grad_evals: Gradients per chain.
            operations: What one costs, in all chains.

        Returns:
            Whether they are.
        """
        if self.max_grad_evals is not None:
            return grad_evals <= self.max_grad_evals
        return grad_evals <= self.at_most and grad_evals * operations <= self.operations

    def forecast(self, operations: float) -> str:
        """How long a nominal core takes, in words.

        Args:
            operations: What is to come at most.

        Returns:
            The text, such as "12 s at most".
        """
        seconds = min(operations / SPEED, self.seconds_left)
        for unit, size in (("h", 3600), ("min", 60)):
            if seconds >= 2 * size:
                return f"{seconds / size:.0f} {unit} at most"
        return f"{math.ceil(seconds)} s at most"

    def after(self, grad_evals: int, operations: float) -> Budget:
        """What is left after so many gradients.

        Args:
            grad_evals: Gradients per chain that were taken.
            operations: What one costs, in all chains.

        Returns:
            The budget.
        """
        given = None if self.max_grad_evals is None else max(1, self.max_grad_evals - grad_evals)
        left = max(0.0, self.operations - grad_evals * operations)
        return replace(self, max_grad_evals=given, at_most=max(1, self.at_most - grad_evals), operations=left)


@dataclass(frozen=True)
class Settings:
    """What was asked for; see `estimate_llc` for the meaning of each.

    Attributes:
        may_be_interrupted: Whether Ctrl-C ends sampling with the draws that are there, if there are some.
    """

    num_chains: int | None = None
    num_draws: int | None = None
    num_burnin: int | None = None
    sampler: Sampler | Literal["auto"] = "auto"
    rel_tol: float = REL_TOL
    budget: Budget = Budget()
    seed: int = 0
    batch_size: int | None = None
    subset: int | None = None
    may_be_interrupted: bool = False

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

    def stopping_for(self, operations: float, least: int, spent: int = 0) -> FixedDraws | UntilError:
        """When sampling ends: after a number of draws, or at an error; in any case with the budget.

        Args:
            operations: What one gradient costs, in all chains.
            least: Gradients per chain that a budget leaves in any case, if their number was not given.
            spent: Gradients per chain that were taken already, and are not of this budget.

        Returns:
            The rule.
        """
        budget = self.budget
        if self.num_draws is not None:
            given = budget.at_most if budget.max_grad_evals is None else budget.max_grad_evals
            return FixedDraws(self.num_draws, spent + given, budget.deadline)
        return UntilError(self.rel_tol, spent + budget.grad_evals(operations, max(1, least - spent)), budget.deadline)

    def within(self, seconds: float | None) -> Settings:
        """The same with so many seconds from now; None sets no limit."""
        return self if seconds is None else replace(self, budget=self.budget.within(seconds))

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
