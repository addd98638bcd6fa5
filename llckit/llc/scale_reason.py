"""Why nβ and γ are what they are: a decision as a value, whose words are rendered here."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from llckit.llc.outcome import Outcome


class NBetaRule(enum.Enum):
    """What decided nβ; the value names it in stored results."""

    GIVEN = "given"
    DEFAULT = "default"
    LADDER = "ladder"
    PLATEAU = "plateau"
    PLATEAU_IN_LOCALIZATION = "plateau in localization"
    NO_PLATEAU = "no plateau"
    NOT_COMMON = "plateau not common"
    NOT_SEARCHED = "not searched"
    EARLIER = "in words"


_SEARCHED = (
    NBetaRule.PLATEAU,
    NBetaRule.PLATEAU_IN_LOCALIZATION,
    NBetaRule.NO_PLATEAU,
    NBetaRule.NOT_COMMON,
    NBetaRule.NOT_SEARCHED,
)


class LocalizationRule(enum.Enum):
    """What decided γ; the value names it in stored results."""

    GIVEN = "given"
    WEIGHTS = "size of the weights"
    AFFORDABLE = "affordable"
    ZERO_WEIGHTS = "all weights are 0"
    SHRINKAGE = "shrinkage"
    EARLIER = "in words"


_LOCALIZATION = {
    LocalizationRule.GIVEN: "localization given",
    LocalizationRule.WEIGHTS: "localization from the size of the weights",
    LocalizationRule.AFFORDABLE: (
        "localization from the size of the weights, as the smaller one from the curvature would cost too much"
    ),
    LocalizationRule.ZERO_WEIGHTS: "localization 1, as all weights are 0",
    LocalizationRule.SHRINKAGE: "localization shrinks regular directions by 0.1 %",
    LocalizationRule.EARLIER: "",
}


class LadderEnd(NamedTuple):
    """Why a ladder of scales ended without a plateau.

    Attributes:
        decade: Decades from the first scale to the rung that ended it; 0 for the first estimate itself.
        outcome: Outcome of that rung if it is not to be trusted, or its budget was exhausted; None otherwise.
        is_positive: Whether λ̂ of that rung is above 0.
        still_changes: Whether all rungs were sharp, and λ̂ changes from each to the next.
        is_out_of_time: Whether the budget of time or gradients did not allow a further rung.
        is_minimum: Whether w* can count as a minimum a decade further on.
    """

    decade: int
    outcome: Outcome | None = None
    is_positive: bool = True
    still_changes: bool = False
    is_out_of_time: bool = False
    is_minimum: bool = True

    def __str__(self) -> str:
        decades = f"{self.decade} decade{'s' * (self.decade > 1)} on"
        if not self.is_minimum:
            return f"{decades if self.decade else 'here'} w* lies too far above a minimum near by"
        if self.still_changes:
            return f"{decades} it still changes"
        if self.is_out_of_time:
            return f"{decades if self.decade else 'after the first estimate'} the budget is spent"
        if self.outcome is not None:
            fault = self.outcome.value
        else:
            fault = "its error is above 2 %" if self.is_positive else "it is not above 0"
        return f"{decades}: {fault}" if self.decade else f"this estimate cannot tell: {fault}"


class NotCommon(NamedTuple):
    """A plateau of the last checkpoint at which too few others can be measured.

    Attributes:
        n_beta: Where the last checkpoint is flat.
        failed: Checkpoints whose estimates there are not to be trusted.
        probed: Checkpoints that were tried.
    """

    n_beta: float
    failed: int
    probed: int

    def __str__(self) -> str:
        return (
            f"{self.failed} of {self.probed} checkpoints cannot be measured at {self.n_beta:.4g}, where the last one "
            "is flat"
        )


@dataclass(frozen=True)
class ScaleReason:
    """Why nβ and γ are what they are; `str()` says it in words.

    Attributes:
        n_beta: What decided nβ.
        localization: What decided γ.
        decade: Decades by which nβ was raised above n/ln n to a plateau.
        shrinkage: Share of the LLC's regular part that an e times larger γ takes, by the curvature, where γ as
            `localization` gives it is larger than the curvature asks for; see `taken`.
        lowered: Decades by which γ was lowered from what `localization` gives.
        within_two_errors: Whether the plateau is one only within two standard errors.
        ended: Why there is no plateau.
        not_common: Why the plateau of the last checkpoint was not taken for all.
        at_last_checkpoint: Whether the choice was made at the last checkpoint of a run, for all of it.
        text: The sentence that version 0.1.0 kept, if nothing else is known.
    """

    n_beta: NBetaRule
    localization: LocalizationRule
    shrinkage: float = 0.0
    decade: int = 0
    lowered: int = 0
    within_two_errors: bool = False
    ended: LadderEnd | None = None
    not_common: NotCommon | None = None
    at_last_checkpoint: bool = False
    text: str = ""

    @classmethod
    def earlier(cls, text: str) -> ScaleReason:
        """A reason of which only the sentence is known that version 0.1.0 kept."""
        return cls(NBetaRule.EARLIER, LocalizationRule.EARLIER, text=text)

    @property
    def was_searched(self) -> bool:
        """Whether nβ was left open, so that a plateau was looked for, or would have been if it were affordable."""
        return self.n_beta in _SEARCHED

    @property
    def taken(self) -> float:
        """Share of the LLC's regular part that an e times larger γ is known to take; 0 where it is not known."""
        return 0.0 if self.lowered or self.decade else self.shrinkage  # which holds where the search began

    def __str__(self) -> str:
        if self.n_beta is NBetaRule.EARLIER:
            return self.text
        localization = _LOCALIZATION[self.localization]
        if self.lowered:
            localization += f", a {10**self.lowered}th of it"
        elif self.taken:
            localization += f", and an e times larger one takes {self.taken:.0%} of regular directions"
        return f"{self._n_beta()}; {localization}" + ("; at the last checkpoint" if self.at_last_checkpoint else "")

    def _n_beta(self) -> str:
        within = " within two errors" if self.within_two_errors else ""
        match self.n_beta:
            case NBetaRule.GIVEN:
                return "n_beta given"
            case NBetaRule.LADDER:
                return "n_beta one of a ladder"
            case NBetaRule.DEFAULT:
                return "n_beta = n/ln(n)"
            case NBetaRule.PLATEAU:
                times = f"{10**self.decade} " if self.decade else ""
                return f"n_beta = {times}n/ln(n), from which on the LLC is flat{within}"
            case NBetaRule.PLATEAU_IN_LOCALIZATION:
                return f"n_beta = n/ln(n), with the LLC flat in localization{within}"
            case NBetaRule.NO_PLATEAU:
                return f"n_beta = n/ln(n), as no plateau was found ({self.ended})"
            case NBetaRule.NOT_SEARCHED:
                return "n_beta = n/ln(n), as looking for a plateau would cost too much"
            case NBetaRule.NOT_COMMON:
                return f"n_beta = n/ln(n), since {self.not_common}"
            case NBetaRule.EARLIER:
                return self.text

    def to_dict(self) -> dict[str, object]:
        """The reason as JSON types; fields at their defaults are left out.

        Returns:
            A dictionary with the attribute names as keys.
        """
        found: dict[str, object] = {
            f.name: value
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default and f.name not in ("ended", "not_common")
        }
        found |= {"n_beta": self.n_beta.value, "localization": self.localization.value}
        if self.ended is not None:
            outcome = None if self.ended.outcome is None else self.ended.outcome.value
            found["ended"] = self.ended._asdict() | {"outcome": outcome}
        if self.not_common is not None:
            found["not_common"] = self.not_common._asdict()
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> ScaleReason:
        """The inverse of `to_dict`.

        Args:
            values: What `to_dict` gave.

        Returns:
            The reason.
        """
        known: dict[str, Any] = dict(values)
        known |= {
            "n_beta": NBetaRule(known["n_beta"]),
            "localization": LocalizationRule(known["localization"]),
        }
        if "ended" in known:
            outcome = known["ended"]["outcome"]
            known["ended"] = LadderEnd(**known["ended"] | {"outcome": None if outcome is None else Outcome(outcome)})
        if "not_common" in known:
            known["not_common"] = NotCommon(**known["not_common"])
        return cls(**known)
