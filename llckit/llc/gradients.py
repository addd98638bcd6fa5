"""Which samples a gradient takes: four kinds, each of which knows its reason and builds what chains move in."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from llckit.posterior import Checkpoint, Guide, LocalPosterior, Task
from llckit.sampling import Sampler, Start, baoab, hmc

WHOLE = 0.07  # gradients of all samples for each of a guide: forward passes at the ends of 6 leapfrogs, or so
FEWEST = 200  # gradients per chain that an estimate takes
LONGEST = 1500  # gradients of a warm-up that a modest budget allows to Langevin dynamics


class Cause(enum.Enum):
    """What decided on a kind of gradients; the value names it in stored results."""

    GIVEN = "given"
    SAMPLER_GIVEN = "sampler given"
    AFFORDABLE = "affordable"
    SAME_MINIMUM = "minimum at w*"
    OTHER_MINIMUM = "minimum elsewhere"
    TOO_LARGE = "too large"
    EARLIER = "in words"


@dataclass(frozen=True)
class GradientsReason:
    """Why gradients are of their kind.

    Attributes:
        cause: What decided.
        shift: How far below w* the minimum of a fixed subset lies, in units of the LLC; None if that did not matter.
        text: The sentence that version 0.1.0 kept, if nothing else is known.
    """

    cause: Cause
    shift: float | None = None
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
                return "since what is exact would cost more"
            case Cause.EARLIER:
                return self.text

    def to_dict(self) -> dict[str, Any]:
        """The reason as JSON types.

        Returns:
            A dictionary with the attribute names as keys.
        """
        return {"cause": self.cause.value, "shift": self.shift, "text": self.text}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> GradientsReason:
        """The inverse of `to_dict`.

        Args:
            values: What `to_dict` gave.

        Returns:
            The reason.
        """
        return cls(Cause(values["cause"]), values["shift"], values["text"])


@dataclass(frozen=True)
class Gradients(ABC):
    """What the four kinds below have in common.

    Attributes:
        reason: Why gradients are of this kind.
    """

    kind: ClassVar[str]
    reason: GradientsReason

    @property
    def control(self) -> bool:
        """Whether w* is a control variate of minibatches."""
        return True

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

    @property
    def num_burnin(self) -> int | None:
        """Steps of the warm-up that they ask for; None leaves it to the sampler."""
        return None

    def least(self, warm_up: int) -> int:
        """Gradients per chain that a budget leaves in any case if none were given: there is no estimate from fewer."""
        return max(FEWEST, 2 * min(warm_up, LONGEST) if self.num_burnin is not None else 2 * warm_up)

    @property
    def allows_search(self) -> bool:
        """Whether an estimate is so cheap that others at further scales may follow."""
        return True

    @property
    def takes_all(self) -> bool:
        """Whether all samples that define the posterior are taken at some time in sampling, or half of them."""
        return True

    def sampled(self, checkpoint: Checkpoint, seed: int) -> Checkpoint:
        """The checkpoint with the samples whose loss defines the posterior."""
        return checkpoint

    def operations(self, checkpoint: Checkpoint, chains: int) -> float:
        """Operations of one gradient in all chains."""
        return checkpoint.gradient_operations(self.subset or self.batch_size or checkpoint.samples.n, chains)

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
    """Every gradient takes all samples.

    Attributes:
        warm_up: Steps that Langevin dynamics takes to warm up; None for Hamiltonian trajectories.
    """

    kind: ClassVar[str] = "all samples"
    warm_up: int | None = None

    @property
    def num_burnin(self) -> int | None:
        """Steps of the warm-up."""
        return self.warm_up

    @property
    def allows_search(self) -> bool:
        """Whether chains move by Hamiltonian trajectories, which are taken where they are affordable."""
        return self.warm_up is None

    def default_sampler(self, start: Start | None = None) -> Sampler:
        """Hamiltonian Monte Carlo, or Langevin dynamics."""
        return hmc(start=start) if self.warm_up is None else baoab()

    def to_dict(self) -> dict[str, Any]:
        """The kind, its size and its reason as JSON types."""
        return super().to_dict() | {"warm_up": self.warm_up}

    def _words(self) -> str:
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
    """Every gradient takes `size` samples anew.

    Attributes:
        size: Samples of a minibatch.
        has_control: Whether w* is the control variate, which takes ∇L(w*) of all samples.
        warm_up: Steps of the warm-up; None leaves it to the sampler.
    """

    kind: ClassVar[str] = "minibatches"
    size: int
    has_control: bool = True
    warm_up: int | None = None

    @property
    def control(self) -> bool:
        """As given."""
        return self.has_control

    def _words(self) -> str:
        return "minibatches" if self.reason.cause is Cause.SAMPLER_GIVEN else f"minibatches, {self.reason}"

    @property
    def batch_size(self) -> int:
        """Samples of a minibatch."""
        return self.size

    @property
    def num_burnin(self) -> int | None:
        """Steps of the warm-up."""
        return self.warm_up

    @property
    def allows_search(self) -> bool:
        """Never: minibatches are taken where all samples are too dear even once."""
        return False

    @property
    def takes_all(self) -> bool:
        """Whether there is a control variate."""
        return self.has_control

    def to_dict(self) -> dict[str, Any]:
        """The kind, its sizes and its reason as JSON types."""
        return super().to_dict() | {"control": self.has_control, "warm_up": self.warm_up}

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

    def operations(self, checkpoint: Checkpoint, chains: int) -> float:
        """Operations of one gradient in all chains, and its share of the energies and the virial of all samples."""
        whole = checkpoint.gradient_operations(checkpoint.samples.n, chains)
        return super().operations(checkpoint, chains) + WHOLE * whole

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
        return AllSamples(reason, values.get("warm_up"))
    if values["kind"] == Minibatches.kind:
        return Minibatches(reason, values["size"], values.get("control", True), values.get("warm_up"))
    sized = {kind.kind: kind for kind in (FixedSubset, Guided)}
    if values["kind"] not in sized:
        raise ValueError(f"{values['kind']!r} is no kind of gradients")
    return sized[values["kind"]](reason, values["size"])
