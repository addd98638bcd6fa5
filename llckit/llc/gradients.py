"""Which samples a gradient takes: four kinds, each of which knows its reason and builds what chains move in."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from llckit.posterior import Checkpoint, Guide, LocalPosterior, Task
from llckit.sampling import Sampler, Start, baoab, hmc


class Cause(enum.Enum):
    """What decided on a kind of gradients; the value names it in stored results."""

    GIVEN = "given"
    SAMPLER_GIVEN = "sampler given"
    AFFORDABLE = "affordable"
    SAME_MINIMUM = "minimum at w*"
    OTHER_MINIMUM = "minimum elsewhere"
    TOO_LARGE = "too large"
    EARLIER = "in words"


class GuideTrial(NamedTuple):
    """Why minibatches do not guide.

    Attributes:
        size: Samples of a minibatch.
        acceptance: Mean acceptance of the trial run; None if it could not be made.
        error: What could not be done; None if the trial was made.
    """

    size: int | None = None
    acceptance: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class GradientsReason:
    """Why gradients are of their kind.

    Attributes:
        cause: What decided.
        shift: How far below w* the minimum of a fixed subset lies, in units of the LLC; None if that did not matter.
        trial: Why minibatches do not guide; None if they do, or were not tried.
        text: The sentence that version 0.1.0 kept, if nothing else is known.
    """

    cause: Cause
    shift: float | None = None
    trial: GuideTrial | None = None
    text: str = ""

    def __str__(self) -> str:
        match self.cause:
            case Cause.GIVEN:
                return "given"
            case Cause.SAMPLER_GIVEN:
                return ""
            case Cause.AFFORDABLE:
                return "which is affordable"
            case Cause.SAME_MINIMUM:
                return "it has its minimum at w*"
            case Cause.OTHER_MINIMUM:
                return f"since the minimum of a fixed subset lies {self.shift:.3g} below w*"
            case Cause.TOO_LARGE:
                return "since a fixed subset would have to hold most samples"
            case Cause.EARLIER:
                return self.text

    def to_dict(self) -> dict[str, Any]:
        """The reason as JSON types.

        Returns:
            A dictionary with the attribute names as keys.
        """
        trial = None if self.trial is None else self.trial._asdict()
        return {"cause": self.cause.value, "shift": self.shift, "trial": trial, "text": self.text}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GradientsReason:
        """The inverse of `to_dict`.

        Args:
            values: What `to_dict` gave.

        Returns:
            The reason.
        """
        trial = values["trial"]
        trial = None if trial is None else GuideTrial(**trial)
        return cls(Cause(values["cause"]), values["shift"], trial, values["text"])


@dataclass(frozen=True)
class Gradients(ABC):
    """What the four kinds below have in common.

    Attributes:
        reason: Why gradients are of this kind.
    """

    kind: ClassVar[str]
    reason: GradientsReason

    def __str__(self) -> str:
        return self.reason.text if self.reason.cause is Cause.EARLIER else self._words()

    @abstractmethod
    def _words(self) -> str:
        """The kind and its reason."""

    @property
    def batch_size(self) -> int | None:
        """Samples of a minibatch; None if there are none."""
        return None

    @property
    def subset(self) -> int | None:
        """Samples of a fixed subset; None if there is none."""
        return None

    def sampled(self, checkpoint: Checkpoint, seed: int) -> Checkpoint:
        """The checkpoint with the samples whose loss defines the posterior."""
        return checkpoint

    def default_sampler(self, start: Start | None = None) -> Sampler:
        """The sampler that fits these gradients, as it is recorded."""
        return hmc(start=start)

    def sampler(self, task: Task, posterior: LocalPosterior, start: Start | None) -> Sampler:
        """The sampler that fits these gradients, for one posterior."""
        return self.default_sampler(start)

    def to_dict(self) -> dict[str, Any]:
        """The kind, its size and its reason as JSON types."""
        return {"kind": self.kind, "size": self.subset or self.batch_size, "reason": self.reason.to_dict()}


@dataclass(frozen=True)
class AllSamples(Gradients):
    """Every gradient takes all samples."""

    kind: ClassVar[str] = "all samples"

    def _words(self) -> str:
        if self.reason.trial is not None and self.reason.trial.acceptance is not None:
            size, acceptance, _ = self.reason.trial
            return f"all samples, {self.reason} and trajectories guided by {size} are accepted in {acceptance:.0%}"
        return "all samples" if self.reason.cause is Cause.SAMPLER_GIVEN else f"all samples, {self.reason}"


@dataclass(frozen=True)
class FixedSubset(Gradients):
    """Every gradient takes the same `size` samples, whose loss is sampled in place of the full one."""

    kind: ClassVar[str] = "fixed subset"
    size: int

    def _words(self) -> str:
        return f"fixed subset{',' if self.reason.cause is Cause.GIVEN else ':'} {self.reason}"

    @property
    def subset(self) -> int:
        """Samples of the subset."""
        return self.size

    def sampled(self, checkpoint: Checkpoint, seed: int) -> Checkpoint:
        """The checkpoint with `size` of its samples."""
        return checkpoint.thinned(self.size, seed)


@dataclass(frozen=True)
class Minibatches(Gradients):
    """Every gradient takes `size` samples anew, with w* as control variate."""

    kind: ClassVar[str] = "minibatches"
    size: int

    def _words(self) -> str:
        error = "" if self.reason.trial is None else f"; they cannot guide: {self.reason.trial.error}"
        return "minibatches" if self.reason.cause is Cause.SAMPLER_GIVEN else f"minibatches, {self.reason}{error}"

    @property
    def batch_size(self) -> int:
        """Samples of a minibatch."""
        return self.size

    def default_sampler(self, start: Start | None = None) -> Sampler:
        """Underdamped Langevin dynamics, which needs no energies of all samples."""
        return baoab()


@dataclass(frozen=True)
class Guided(Gradients):
    """Trajectories follow minibatches of `size` samples, and all samples accept or reject them."""

    kind: ClassVar[str] = "guided"
    size: int

    def _words(self) -> str:
        return f"minibatches guide and all samples decide, {self.reason}"

    @property
    def batch_size(self) -> int:
        """Samples of a minibatch."""
        return self.size

    def sampler(self, task: Task, posterior: LocalPosterior, start: Start | None) -> Sampler:
        """Hamiltonian Monte Carlo with a `Guide` of this posterior."""
        return hmc(guide=Guide(posterior, task, self.size), start=start)


def read_gradients(values: dict[str, Any]) -> Gradients:
    """The kind of gradients that `to_dict` described.

    Args:
        values: What `to_dict` gave.

    Returns:
        One of the four kinds.

    Raises:
        ValueError: There is no such kind.
    """
    reason = GradientsReason.from_dict(values["reason"])
    if values["kind"] == AllSamples.kind:
        return AllSamples(reason)
    sized = {kind.kind: kind for kind in (FixedSubset, Minibatches, Guided)}
    if values["kind"] not in sized:
        raise ValueError(f"{values['kind']!r} is no kind of gradients")
    return sized[values["kind"]](reason, values["size"])
