"""A run's curve as the detector needs it: checked, and in one form."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError

__all__ = ["MIN_CHECKPOINTS", "Curve", "Observations", "check_numbers"]

Array = NDArray[np.float64]

MIN_CHECKPOINTS = 8


class Curve(Protocol):
    """A run's curve: an `llckit.LLCCurve`, or anything with these arrays, one entry per checkpoint.

    Used as well if they are there: `mcse`, `llc_per_chain`, `recorded` (observables by name) and `is_minimum` (λ̂ is a
    gap where it is false).
    """

    @property
    def step(self) -> ArrayLike:
        """Training steps."""
        ...

    @property
    def loss(self) -> ArrayLike:
        """Loss at each step."""
        ...

    @property
    def llc(self) -> ArrayLike:
        """λ̂ at each step."""
        ...


@dataclass(frozen=True)
class Observations:
    """A curve that can be smoothed. All columns have one length; a gap is NaN and nothing is infinite.

    Attributes:
        step: Training steps, at least 0 and not decreasing, shape `(checkpoints,)`.
        loss: Loss, finite at `MIN_CHECKPOINTS` different steps or more, shape `(checkpoints,)`.
        llc: λ̂, finite at `MIN_CHECKPOINTS` different steps or more, shape `(checkpoints,)`.
        errors: Standard errors of λ̂, all finite, shape `(checkpoints,)`, or None.
        chains: λ̂ of each chain, shape `(checkpoints, chains)` with two chains or more, or None.
        others: Further columns that can be smoothed, by name, shape `(checkpoints,)` each.
    """

    step: Array
    loss: Array
    llc: Array
    errors: Array | None
    chains: Array | None
    others: dict[str, Array]

    @classmethod
    def from_curve(cls, curve: Curve, observables: Mapping[str, ArrayLike] | None) -> "Observations":
        """The observations that a curve holds.

        Args:
            curve: The curve.
            observables: Further columns, in place of those that the curve has as `recorded`; or None.

        Returns:
            The observations.

        Raises:
            InputError: It is no curve, or a curve at several scales.
        """
        if not (hasattr(curve, "step") and hasattr(curve, "llc")):
            raise InputError(
                f"curve is a {type(curve).__name__}; expected what llckit.estimate_curve or llckit.LLCCurve.from_csv "
                "gives, or the arrays step=, loss=, llc="
            )
        if np.ndim(curve.llc) == 2:
            raise InputError(
                f"curve has λ̂ at {np.shape(curve.llc)[1]} scales; expected one; give it to llckit.detect_across_scales"
            )
        if observables is None:
            recorded = getattr(curve, "recorded", None) or {}
            # The loss that the run recorded is a rougher copy of the curve's own. What is infinite at a step, such as a
            # gradient that overflowed in half precision, is a gap beside the curve and no fault of it.
            observables = {
                name: np.where(np.isinf(column), np.nan, column) for name, column in recorded.items() if name != "loss"
            }
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
        """The observations in single arrays.

        Args:
            step: Training steps, shape `(checkpoints,)`.
            loss: Loss at each, shape `(checkpoints,)`.
            llc: λ̂ at each, shape `(checkpoints,)`.
            llc_se: Standard error of each λ̂, shape `(checkpoints,)`, or None.
            llc_per_chain: λ̂ of each chain, shape `(checkpoints, chains)`, or None.
            observables: Further columns by name, or None.

        Returns:
            The observations.

        Raises:
            InputError: An array is missing or too short, or the arrays do not fit together.
        """
        if loss is None:
            raise InputError("loss is None; expected the loss at every checkpoint, since types of transitions need it")
        steps, losses, llcs = _column("step", step), _column("loss", loss), _column("llc", llc)
        if not len(steps) == len(losses) == len(llcs):
            raise InputError(
                f"step, loss and llc have {len(steps)}, {len(losses)} and {len(llcs)} entries; expected one of each "
                "per checkpoint"
            )
        _check_steps(steps)
        _check_count("llc", llcs, steps)
        _check_count("loss", losses, steps)
        chains = _chains(llc_per_chain, steps)
        errors = _standard_errors(llc_se, chains, steps)
        return cls(steps, losses, llcs, errors, chains, _observables(observables, steps))


def check_numbers(name: str, values: ArrayLike) -> Array:
    """Refuse what is not an array of numbers, or holds an infinite one.

    Args:
        name: What the array is called, for the message.
        values: The array; NaN is allowed.

    Returns:
        The array in float64.

    Raises:
        InputError: It is no array of numbers, or holds an infinite one.
    """
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is not an array of numbers ({error}); expected numbers, or NaN for a gap") from error
    if np.isinf(numbers).any():
        raise InputError(f"{name} holds an infinite value; expected finite numbers, or NaN where an estimate failed")
    return numbers


def _check_steps(steps: Array) -> None:
    if np.isnan(steps).any():
        raise InputError(f"step is NaN at entry {int(np.isnan(steps).argmax())}; expected the step of every checkpoint")
    if (steps < 0).any():
        raise InputError(f"step holds {steps.min():g}; expected steps >= 0")
    wrong = np.flatnonzero(np.diff(steps) < 0)
    if len(wrong):
        before, after = steps[wrong[0]], steps[wrong[0] + 1]
        raise InputError(f"step {after:g} comes after {before:g}; expected checkpoints in the order of their steps")


def _check_count(name: str, values: Array, steps: Array) -> None:
    """Refuse a column that is known at too few steps to be smoothed."""
    finite = int(np.isfinite(values).sum())
    different = len(np.unique(steps[np.isfinite(values)]))
    if different < MIN_CHECKPOINTS:
        repeats = "" if different == finite else f" at {different} different steps"
        raise InputError(
            f"{name} has {finite} finite entries of {len(values)}{repeats}; expected at least {MIN_CHECKPOINTS} "
            "checkpoints"
        )


def _chains(llc_per_chain: ArrayLike | None, steps: Array) -> Array | None:
    if llc_per_chain is None:
        return None
    chains = check_numbers("llc_per_chain", llc_per_chain)
    if chains.ndim != 2 or len(chains) != len(steps):
        raise InputError(
            f"llc_per_chain has shape {chains.shape}; expected (checkpoints, chains) with {len(steps)} checkpoints"
        )
    return chains if chains.shape[1] > 1 and np.isfinite(chains).all(axis=1).any() else None


def _standard_errors(llc_se: ArrayLike | None, chains: Array | None, steps: Array) -> Array | None:
    """The given standard errors, or else those between chains; a missing one is the median of the others."""
    if llc_se is not None:
        errors = _column("llc_se", llc_se)
        _check_length("llc_se", errors, steps)
        if (errors < 0).any():
            raise InputError(f"llc_se holds {np.nanmin(errors):g}; expected standard errors >= 0")
    elif chains is not None:
        errors = chains.std(axis=1, ddof=1) / np.sqrt(chains.shape[1])
    else:
        return None
    is_known = np.isfinite(errors)
    return np.where(is_known, errors, np.median(errors[is_known])) if is_known.any() else None


def _observables(observables: Mapping[str, ArrayLike] | None, steps: Array) -> dict[str, Array]:
    """The columns that are long enough to be smoothed."""
    if observables is None:
        return {}
    if not isinstance(observables, Mapping):
        raise InputError(f"observables is a {type(observables).__name__}; expected arrays by name")
    columns = {}
    for name, values in observables.items():
        if name == "loss":
            raise InputError("observables holds loss, which is the curve's own; expected another name")
        column = _column(name, values)
        _check_length(name, column, steps)
        if len(np.unique(steps[np.isfinite(column)])) >= MIN_CHECKPOINTS:
            columns[name] = column
    return columns


def _column(name: str, values: ArrayLike | None) -> Array:
    if values is None:
        raise InputError(f"{name} is None; expected the arrays step, loss and llc, or a curve that has them")
    column = check_numbers(name, values)
    if column.ndim != 1:
        raise InputError(f"{name} has shape {column.shape}; expected one number per checkpoint")
    return column


def _check_length(name: str, column: Array, steps: Array) -> None:
    if len(column) != len(steps):
        raise InputError(f"{name} has {len(column)} entries for {len(steps)} checkpoints; expected one per checkpoint")
