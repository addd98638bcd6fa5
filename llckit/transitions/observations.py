"""A run's curve at the door: checked, and brought into one form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError

__all__ = ["MIN_CHECKPOINTS", "Observations"]

Array = NDArray[np.float64]

MIN_CHECKPOINTS = 8


@dataclass(frozen=True)
class Observations:
    """A curve that can be smoothed: everything finite or NaN, of one length.

    Attributes:
        step: At least 0, not decreasing, shape `(checkpoints,)`.
        loss: Shape `(checkpoints,)`, finite at no fewer than `MIN_CHECKPOINTS` different steps.
        llc: Likewise λ̂.
        errors: Standard errors of λ̂, all finite, shape `(checkpoints,)`, or None.
        chains: λ̂ of each chain, shape `(checkpoints, chains)`, two chains or more, or None.
        others: Further columns that can be smoothed, by name, shape `(checkpoints,)` each.
    """

    step: Array
    loss: Array
    llc: Array
    errors: Array | None
    chains: Array | None
    others: dict[str, Array]

    @classmethod
    def from_curve(cls, curve: Any, observables: Mapping[str, ArrayLike] | None) -> "Observations":
        """What a curve holds, as `detect_transitions` takes it.

        Args:
            curve: Its attributes.
            observables: Further columns in place of those that the curve has as `recorded`.

        Returns:
            The observations.

        Raises:
            InputError: It is no curve, or not of one scale.
        """
        if not (hasattr(curve, "step") and hasattr(curve, "llc")):
            raise InputError(
                f"The curve is a {type(curve).__name__}; expected what llckit.estimate_curve or "
                "llckit.LLCCurve.from_csv gives, or the arrays step=, loss=, llc=."
            )
        if np.ndim(curve.llc) == 2:
            raise InputError(
                f"The curve has λ̂ at {np.shape(curve.llc)[1]} scales; give it to llckit.detect_across_scales."
            )
        if observables is None:
            recorded = getattr(curve, "recorded", None) or {}
            # what the run noted as its loss is a rougher copy of the curve's own
            observables = {name: column for name, column in recorded.items() if name != "loss"}
        return cls.from_arrays(
            curve.step,
            getattr(curve, "loss", None),
            np.where(getattr(curve, "is_minimum", True), curve.llc, np.nan),
            getattr(curve, "mcse", None),
            getattr(curve, "llc_per_chain", None),
            observables,
        )

    @classmethod
    def from_arrays(
        cls,
        step: ArrayLike | None,
        loss: ArrayLike | None,
        llc: ArrayLike | None,
        llc_se: ArrayLike | None,
        llc_per_chain: ArrayLike | None,
        observables: Mapping[str, ArrayLike] | None,
    ) -> "Observations":
        """Arrays as `detect_transitions` takes them.

        Args:
            step: Shape `(checkpoints,)`.
            loss: Shape `(checkpoints,)`.
            llc: Shape `(checkpoints,)`.
            llc_se: Shape `(checkpoints,)`, or None.
            llc_per_chain: Shape `(checkpoints, chains)`, or None.
            observables: By name, or None.

        Returns:
            The observations.

        Raises:
            InputError: Something is missing or too short, or the arrays do not fit together.
        """
        steps, losses, llcs = _checked(step, loss, llc)
        chains = _chains(llc_per_chain, steps)
        errors = _standard_errors(llc_se, chains, steps)
        return cls(steps, losses, llcs, errors, chains, _observables(observables, steps))


def _checked(step: ArrayLike | None, loss: ArrayLike | None, llc: ArrayLike | None) -> tuple[Array, Array, Array]:
    if loss is None:
        raise InputError("No loss was given; the type of a transition needs it: give the loss at every checkpoint.")
    steps, losses, llcs = _column("step", step), _column("loss", loss), _column("llc", llc)
    if not len(steps) == len(losses) == len(llcs):
        raise InputError(
            f"step, loss and llc have {len(steps)}, {len(losses)} and {len(llcs)} entries; "
            "give one of each per checkpoint."
        )
    if np.isnan(steps).any():
        raise InputError(f"step is NaN at entry {int(np.isnan(steps).argmax())}; every checkpoint needs its step.")
    if (steps < 0).any():
        raise InputError(f"step contains {steps.min():g}; steps count from 0.")
    wrong = np.flatnonzero(np.diff(steps) < 0)
    if len(wrong):
        before, after = steps[wrong[0]], steps[wrong[0] + 1]
        raise InputError(f"step {after:g} comes after {before:g}; sort the checkpoints by step.")
    for name, values in (("llc", llcs), ("loss", losses)):
        finite = int(np.isfinite(values).sum())
        different = len(np.unique(steps[np.isfinite(values)]))
        if different < MIN_CHECKPOINTS:
            repeats = "" if different == finite else f" at {different} different steps"
            raise InputError(
                f"{name} has {finite} finite entries of {len(values)}{repeats}; "
                f"at least {MIN_CHECKPOINTS} checkpoints are needed."
            )
    return steps, losses, llcs


def _chains(llc_per_chain: ArrayLike | None, steps: Array) -> Array | None:
    if llc_per_chain is None:
        return None
    chains = _numbers("llc_per_chain", llc_per_chain)
    if chains.ndim != 2 or len(chains) != len(steps):
        raise InputError(
            f"llc_per_chain has shape {chains.shape}; expected (checkpoints, chains) with {len(steps)} checkpoints."
        )
    return chains if chains.shape[1] > 1 and np.isfinite(chains).all(axis=1).any() else None


def _standard_errors(llc_se: ArrayLike | None, chains: Array | None, steps: Array) -> Array | None:
    """Those that were given, or else those between chains; where one is missing, the median of the others."""
    if llc_se is not None:
        errors = _column("llc_se", llc_se)
        if len(errors) != len(steps):
            raise InputError(f"llc_se has {len(errors)} entries for {len(steps)} checkpoints; give one per checkpoint.")
        if (errors < 0).any():
            raise InputError(f"llc_se contains {np.nanmin(errors):g}; a standard error is at least 0.")
    elif chains is not None:
        errors = chains.std(axis=1, ddof=1) / np.sqrt(chains.shape[1])
    else:
        return None
    is_known = np.isfinite(errors)
    return np.where(is_known, errors, np.median(errors[is_known])) if is_known.any() else None


def _observables(observables: Mapping[str, ArrayLike] | None, steps: Array) -> dict[str, Array]:
    """The columns that are long enough to be smoothed."""
    columns = {}
    for name, values in (observables or {}).items():
        if name == "loss":
            raise InputError("An observable is named loss, which is the curve's own; give it another name.")
        column = _column(name, values)
        if len(column) != len(steps):
            raise InputError(f"{name} has {len(column)} entries for {len(steps)} checkpoints; give one per checkpoint.")
        if len(np.unique(steps[np.isfinite(column)])) >= MIN_CHECKPOINTS:
            columns[name] = column
    return columns


def _column(name: str, values: ArrayLike | None) -> Array:
    if values is None:
        raise InputError(f"No {name} was given; give step, loss and llc, or a curve that has them.")
    column = _numbers(name, values)
    if column.ndim != 1:
        raise InputError(f"{name} has shape {column.shape}; expected one number per checkpoint.")
    return column


def _numbers(name: str, values: ArrayLike) -> Array:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not an array of numbers: {error}") from error
    if np.isinf(numbers).any():
        raise InputError(f"{name} contains an infinite value; leave NaN where an estimate failed.")
    return numbers
