"""A step size found in the warm-up by dual averaging (Hoffman & Gelman, JMLR 15, 2014, section 3.2.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, Self, TypeVar

from llckit.checks import check_positive
from llckit.sampling.sampler import Info

SHRINKAGE, OFFSET, DECAY = 0.05, 10.0, 0.75  # the paper's γ, t₀ and κ
GAIN = 0.1  # of a correction, in ln ε


class FixedStep(NamedTuple):
    """A step size that the user gave, which stays.

    Attributes:
        value: ε.
    """

    value: float

    def update(self, acceptance: float, target: float) -> FixedStep:
        """The same."""
        return self

    def corrected(self, acceptance: float, target: float) -> FixedStep:
        """The same."""
        return self

    def settle(self) -> FixedStep:
        """The same."""
        return self


class SearchedStep(NamedTuple):
    """ε with the running sums that steer it.

    Attributes:
        value: ε.
        center: ln ε towards which the search is shrunk.
        adapted: Updates since the search began.
        error: Mean of target − acceptance; early ones are forgotten.
        log_average: Weighted mean of ln ε, at which the search settles.
    """

    value: float
    center: float
    adapted: int = 0
    error: float = 0.0
    log_average: float = 0.0

    @classmethod
    def start(cls, first: float) -> SearchedStep:
        """A search that begins at `first`, a positive number."""
        return cls(first, math.log(first), log_average=math.log(first))

    def update(self, acceptance: float, target: float) -> SearchedStep:
        """A smaller ε if fewer steps were accepted than wanted, else a larger one.

        Args:
            acceptance: Mean over chains of a step's acceptance probability.
            target: Mean acceptance to reach.

        Returns:
            The step size to go on with.
        """
        count = self.adapted + 1
        error = self.error + (target - acceptance - self.error) / (count + OFFSET)
        log_step = self.center - math.sqrt(count) / SHRINKAGE * error
        share = count**-DECAY
        log_average = share * log_step + (1 - share) * self.log_average
        return self._replace(value=math.exp(log_step), adapted=count, error=error, log_average=log_average)

    def corrected(self, acceptance: float, target: float) -> SearchedStep:
        """The update of a step size that is nearly right: ln ε changes by a tenth of acceptance − target.

        Args:
            acceptance: Mean over chains of a step's acceptance probability.
            target: Mean acceptance to reach.

        Returns:
            The step size to go on with.
        """
        log_step = self.log_average + GAIN * (acceptance - target)
        return self._replace(value=math.exp(log_step), adapted=self.adapted + 1, log_average=log_step)

    def settle(self) -> SearchedStep:
        """The average that the search found, from which a further search starts afresh; ε itself if never updated."""
        if not self.adapted:
            return self
        return self._replace(value=math.exp(self.log_average), center=self.log_average, adapted=0, error=0.0)


StepSize = FixedStep | SearchedStep


def check_step_size(value: object) -> float | None:
    """Refuse what cannot be a step size.

    Args:
        value: As given by the user; None has it found.

    Returns:
        The value, or None.

    Raises:
        InputError: Neither None nor a positive number.
    """
    return None if value is None else check_positive("step_size", value, ", or None to have it found")


def start_step(given: float | None, first: Callable[[], float]) -> StepSize:
    """The step size that the user gave, or a search for one.

    Args:
        given: ε, or None.
        first: Gives the ε at which a search begins.

    Returns:
        The step size.
    """
    return SearchedStep.start(first()) if given is None else FixedStep(given)


class Steered(Protocol):
    """The state of a sampler that adapts nothing but its step size."""

    @property
    def step_size(self) -> StepSize:
        """ε."""
        ...

    def _replace(self, **changes: Any) -> Self: ...


T = TypeVar("T", bound=Steered)


class Steering(NamedTuple):
    """`adapt` and `freeze` of a sampler that adapts nothing but its step size.

    Attributes:
        target: Mean acceptance to reach, pooled over chains.
    """

    target: float

    def adapt(self, state: T, info: Info) -> T:
        """Update ε after a step of the warm-up."""
        return state._replace(step_size=state.step_size.update(float(info.acceptance.mean()), self.target))

    def freeze(self, state: T) -> T:
        """Settle ε at the end of the warm-up."""
        return state._replace(step_size=state.step_size.settle())
