"""A step size found in the warm-up by dual averaging (Hoffman & Gelman, JMLR 15, 2014, section 3.2.1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from llckit.sampling.base import Info

SHRINKAGE, OFFSET, DECAY = 0.05, 10.0, 0.75  # the paper's γ, t₀ and κ
GAIN = 0.1  # of a correction, in ln ε


class StepSize(NamedTuple):
    """ε with the running sums that steer it.

    Attributes:
        value: ε.
        center: ln ε towards which the search is shrunk.
        adapted: Updates since the search began.
        error: Mean of target − acceptance, early ones forgotten.
        log_average: Weighted mean of ln ε, where the search settles.
    """

    value: float
    center: float
    adapted: int
    error: float
    log_average: float

    @classmethod
    def start(cls, first: float) -> StepSize:
        """A search that begins at `first`.

        Args:
            first: A positive number.

        Returns:
            The step size `first`.
        """
        return cls(first, math.log(first), 0, 0.0, math.log(first))

    def update(self, acceptance: float, target: float) -> StepSize:
        """Smaller where fewer were accepted than wanted, and the reverse.

        Args:
            acceptance: Mean over chains of a step's acceptance probability.
            target: What it should be on average.

        Returns:
            The step size to go on with.
        """
        count = self.adapted + 1
        error = self.error + (target - acceptance - self.error) / (count + OFFSET)
        log_step = self.center - math.sqrt(count) / SHRINKAGE * error
        share = count**-DECAY
        log_average = share * log_step + (1 - share) * self.log_average
        return self._replace(value=math.exp(log_step), adapted=count, error=error, log_average=log_average)

    def corrected(self, acceptance: float, target: float) -> StepSize:
        """The same for a step size that is nearly right: ln ε changes by a tenth of the difference.

        Args:
            acceptance: Mean over chains of a step's acceptance probability.
            target: What it should be on average.

        Returns:
            The step size to go on with.
        """
        log_step = self.log_average + GAIN * (acceptance - target)
        return self._replace(value=math.exp(log_step), adapted=self.adapted + 1, log_average=log_step)

    def settle(self) -> StepSize:
        """What the search found, which is also where a further search starts afresh.

        Returns:
            The average, or the step size itself where it was never updated.
        """
        if not self.adapted:
            return self
        return self._replace(value=math.exp(self.log_average), center=self.log_average, adapted=0, error=0.0)


def steering(target: float, *, fixed: bool) -> tuple[Callable[[Any, Info], Any], Callable[[Any], Any]]:
    """How a sampler whose state has a `step_size: StepSize` adapts and freezes it.

    Args:
        target: Mean acceptance to reach, pooled over chains.
        fixed: Whether the user gave the step, which then stays.

    Returns:
        `adapt` and `freeze` of the sampler.
    """

    def adapt(state: Any, info: Info) -> Any:
        if fixed:
            return state
        return state._replace(step_size=state.step_size.update(float(info.acceptance.mean()), target))

    def freeze(state: Any) -> Any:
        return state._replace(step_size=state.step_size.settle())

    return adapt, freeze
