"""What found an estimate, apart from nβ and γ: one record in place of loose settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llckit.llc.gradients import (
    AllSamples,
    Cause,
    FixedSubset,
    Gradients,
    GradientsReason,
    Guided,
    Minibatches,
    read_gradients,
)
from llckit.llc.scale_reason import ScaleReason
from llckit.sampling import Trace


@dataclass(frozen=True)
class HowFound:
    """Sampler, counts and reasons of one estimate.

    Attributes:
        reason: Why nβ and γ are what they are; `str()` says it in words.
        gradients: Which samples a gradient took, and why; `str()` says it in words.
        sampler: Name of the sampler.
        num_draws: Draws per chain.
        num_burnin: Steps per chain that are not among the draws.
        grad_evals: Gradients per chain, warm-up included.
        step_size: ε after the warm-up.
        turning_length: Leapfrogs after which chains turn back, if the sampler knows; else 0.
        scale_ratio: Largest scale that a weight moved on over the smallest; 1 if the sampler uses none.
        heat: What the noise of minibatches added to λ̂, as pairs of chains have shown, and was taken off.
        acceptance: Mean Metropolis acceptance probability.
        seed: Seed of all randomness.
        behavioral: Whether the behavioral loss was sampled.
        compiled: Whether gradients were compiled.
        is_cut: Whether a deadline, or Ctrl-C, ended sampling before its draws or its error were reached.
    """

    reason: ScaleReason
    gradients: Gradients
    sampler: str
    num_draws: int
    num_burnin: int
    grad_evals: int
    step_size: float
    turning_length: float
    scale_ratio: float
    heat: float
    acceptance: float
    seed: int
    behavioral: bool
    compiled: bool
    is_cut: bool = False

    @classmethod
    def from_trace(
        cls,
        trace: Trace,
        *,
        reason: ScaleReason,
        gradients: Gradients,
        sampler: str,
        heat: float,
        seed: int,
        behavioral: bool,
        compiled: bool,
    ) -> HowFound:
        """The record of a trace; see the class for the arguments."""
        return cls(
            reason=reason,
            gradients=gradients,
            sampler=sampler,
            num_draws=len(trace.excess),
            num_burnin=trace.num_burnin,
            grad_evals=trace.grad_evals,
            step_size=trace.step_size,
            turning_length=trace.turning_length,
            scale_ratio=trace.scale_ratio,
            heat=heat,
            acceptance=float(trace.acceptance.mean()),
            seed=seed,
            behavioral=behavioral,
            compiled=compiled,
            is_cut=trace.is_cut,
        )

    def to_dict(self) -> dict[str, object]:
        """The record as JSON types.

        Returns:
            A dictionary with the attribute names as keys.
        """
        values: dict[str, object] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return values | {"reason": self.reason.to_dict(), "gradients": self.gradients.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> HowFound:
        """The inverse of `to_dict`.

        Args:
            values: What `to_dict` gave.

        Returns:
            The record.
        """
        known: dict[str, Any] = dict(values)
        known["reason"] = ScaleReason.from_dict(known["reason"])
        known["gradients"] = read_gradients(known["gradients"])
        return cls(**known)

    @classmethod
    def from_settings(cls, values: Mapping[str, object]) -> HowFound:
        """The record from the `settings` of version 0.1.0, whose reasons are sentences.

        Args:
            values: The dictionary that 0.1.0 kept with an estimate.

        Returns:
            The record, with reasons of which only the words are known.
        """
        known: dict[str, Any] = dict(values)
        same = ("sampler", "num_draws", "num_burnin", "grad_evals", "step_size", "heat", "acceptance", "seed")
        return cls(
            reason=ScaleReason.earlier(known["rule"]),
            gradients=gradients_from_settings(known, guided=known["sampler"] == "hmc"),
            turning_length=known["turn"],
            scale_ratio=known["stretch"],
            behavioral=known["behavioral"],
            compiled=known["compile"],
            **{name: known[name] for name in same},
        )


def gradients_from_settings(values: dict[str, Any], *, guided: bool) -> Gradients:
    """The kind of gradients from what version 0.1.0 kept, of whose reason only the sentence is known.

    Args:
        values: With the keys `gradients`, `subset` and `batch_size`.
        guided: Whether minibatches guide.

    Returns:
        The kind.
    """
    reason = GradientsReason(Cause.EARLIER, text=values["gradients"])
    if values["subset"] is not None:
        return FixedSubset(reason, values["subset"])
    if values["batch_size"] is not None:
        return (Guided if guided else Minibatches)(reason, values["batch_size"])
    return AllSamples(reason)
