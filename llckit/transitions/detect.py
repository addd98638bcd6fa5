"""The transitions of a run: stages of its (step, loss, LLC) curve, their type and their uncertainty.

λ̂ and the loss are smoothed over x = ln(step + 1) (`smooth`), the moves of λ̂ are found (`stages`), and each is named
by what changes in it (Hoogland et al. 2024, arXiv 2402.02364):

* type A: complexity up, loss down or flat;
* type B: complexity down, loss flat;

and unclassified otherwise. "Flat" is less than `FLAT_LOSS` of what the run loses altogether, or less than the scatter
of the loss. It is judged over the core of a stage, in which all but the first and the last `CORE_TAIL` of its λ̂
changes: around a boundary λ̂ rests, and the loss may still be ending what the stage before began.

A stage is hidden if the loss does not tell of it: the loss alone has no boundary inside, and at the steepest point
less than `HIDDEN_SHARE` of the run's fall in loss is still to come.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError
from llckit.transitions.smooth import Smooth, fit_smooth
from llckit.transitions.stages import Place, Stage, boundaries, stages

__all__ = ["Transition", "Transitions", "detect_transitions"]

Array = NDArray[np.float64]

FLAT_LOSS = 0.1
CORE_TAIL = 0.1
HIDDEN_SHARE = 0.1
MIN_CHECKPOINTS = 8
GRID_SIZE = 1201


@dataclass(frozen=True)
class Transition:
    """One stage of a run in which λ̂ changes. Steps are on the scale of the input; intervals are central 90 %.

    Attributes:
        start: Step at which it begins.
        end: Step at which it ends.
        start_interval: Low and high of `start`; both equal to it at the start of the run.
        end_interval: Low and high of `end`; both equal to it at the end of the run.
        kind: "A" (complexity up, loss down or flat), "B" (complexity down, loss flat) or "unclassified".
        delta_loss: Change of the smoothed loss from start to end.
        delta_loss_se: Its posterior standard deviation.
        delta_llc: Change of the smoothed λ̂ from start to end.
        delta_llc_se: Its posterior standard deviation.
        probability: Posterior probability that λ̂ and the loss change as `kind` says.
        hidden: Whether the loss alone does not tell of the stage.
        location: Step at which |dλ̂/d ln(step + 1)| is largest.
        location_interval: Low and high of `location`: where it scatters if the noise is drawn again.
    """

    start: float
    end: float
    start_interval: tuple[float, float]
    end_interval: tuple[float, float]
    kind: Literal["A", "B", "unclassified"]
    delta_loss: float
    delta_loss_se: float
    delta_llc: float
    delta_llc_se: float
    probability: float
    hidden: bool
    location: float
    location_interval: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Transitions(Sequence[Transition]):
    """The transitions of a run in order, a read-only sequence, with the smooth they were read from.

    Attributes:
        items: The transitions.
        step: Steps of the smooth, even in ln(step + 1), shape `(grid,)`.
        llc: Smoothed λ̂, shape `(grid,)`.
        llc_interval: Low and high of λ̂, 95 %, shape `(2, grid)`; includes the given standard errors.
        loss: Smoothed loss, shape `(grid,)`.
    """

    items: tuple[Transition, ...]
    step: Array
    llc: Array
    llc_interval: Array
    loss: Array

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Transition]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> Transition: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Transition, ...]: ...
    def __getitem__(self, index: int | slice) -> Transition | tuple[Transition, ...]:
        return self.items[index]

    def to_dict(self) -> dict[str, list[dict[str, Any]]]:
        """The transitions as plain values, ready for `json.dump`.

        Returns:
            `{"transitions": [...]}`, one dictionary per transition with its attribute names as keys.
        """
        return {"transitions": [asdict(transition) for transition in self.items]}


def detect_transitions(
    curve: Any = None,
    *,
    step: ArrayLike | None = None,
    loss: ArrayLike | None = None,
    llc: ArrayLike | None = None,
    llc_se: ArrayLike | None = None,
    llc_per_chain: ArrayLike | None = None,
) -> Transitions:
    """Find the stages in which the LLC of a run changes.

    The scatter of λ̂ from checkpoint to checkpoint is estimated from the curve itself. Standard errors over chains
    do not enter the differences: chains that share random numbers across checkpoints have errors in common, which
    differences cancel. They only widen `llc_interval`.

    Args:
        curve: Anything with attributes `step`, `loss`, `llc` and, if it has them, `mcse`, `llc_per_chain` and
            `is_minimum` (where that is false, λ̂ is a gap); or None, and the arrays are given one by one.
        step: Training steps, at least 0 and increasing, shape `(checkpoints,)`.
        loss: Loss at each checkpoint, shape `(checkpoints,)`; NaN is a gap.
        llc: λ̂ at each checkpoint, shape `(checkpoints,)`; NaN (a failed estimate) is a gap.
        llc_se: Standard error of each λ̂, shape `(checkpoints,)`.
        llc_per_chain: λ̂ of each chain, shape `(checkpoints, chains)`; stands in where `llc_se` is not given.

    Returns:
        The transitions in order, none where λ̂ does not change.

    Raises:
        InputError: If the curve is incomplete or too short, or its arrays do not fit together.
    """
    if curve is not None:
        if any(given is not None for given in (step, loss, llc, llc_se, llc_per_chain)):
            raise InputError("Both a curve and single arrays were given; give one or the other.")
        if not (hasattr(curve, "step") and hasattr(curve, "llc")):
            raise InputError(
                f"The curve is a {type(curve).__name__}; expected what llckit.estimate_curve or "
                "llckit.LLCCurve.from_csv gives, or the arrays step=, loss=, llc=."
            )
        step, loss = curve.step, getattr(curve, "loss", None)
        llc = np.where(getattr(curve, "is_minimum", True), curve.llc, np.nan)
        llc_se, llc_per_chain = getattr(curve, "mcse", None), getattr(curve, "llc_per_chain", None)
    steps, losses, llcs = _checked(step, loss, llc)
    errors = _standard_errors(llc_se, llc_per_chain, steps)

    x, has_llc, has_loss = np.log1p(steps), np.isfinite(llcs), np.isfinite(losses)
    grid = np.linspace(x[has_llc][0], x[has_llc][-1], GRID_SIZE)
    llc_smooth = fit_smooth(x[has_llc], llcs[has_llc], grid, seed=0)
    loss_smooth = fit_smooth(x[has_loss], losses[has_loss], grid, seed=1)
    loss_boundaries = boundaries(loss_smooth)
    items = tuple(_transition(stage, llc_smooth, loss_smooth, loss_boundaries) for stage in stages(llc_smooth))
    return Transitions(items, np.expm1(grid), llc_smooth.value, _interval(llc_smooth, x, errors), loss_smooth.value)


def _transition(stage: Stage, llc: Smooth, loss: Smooth, loss_boundaries: list[Place]) -> Transition:
    llc_change, loss_change = (
        smooth.value_draws[:, stage.last] - smooth.value_draws[:, stage.first] for smooth in (llc, loss)
    )
    core = _core(stage, llc)
    core_change = loss.value_draws[:, core[1]] - loss.value_draws[:, core[0]]
    fall = float(loss.value[0] - loss.value.min())
    flat = max(FLAT_LOSS * fall, float(np.median(loss.noise)))
    chances: dict[Literal["A", "B", "unclassified"], float] = {
        "A": float(np.mean((llc_change > 0) & (core_change <= flat))),
        "B": float(np.mean((llc_change < 0) & (np.abs(core_change) <= flat))),
    }
    chances["unclassified"] = 1 - chances["A"] - chances["B"]
    kind = max(chances, key=chances.__getitem__)
    at = int(np.abs(llc.x - stage.steepest.x).argmin())
    to_come = float(loss.value[at] - loss.value[at:].min())
    # a boundary that may as well be the stage's own start or end says nothing about its inside
    told = any(stage.start.high < place.x < stage.end.low for place in loss_boundaries)
    return Transition(
        start=_step(stage.start.x),
        end=_step(stage.end.x),
        start_interval=(_step(stage.start.low), _step(stage.start.high)),
        end_interval=(_step(stage.end.low), _step(stage.end.high)),
        kind=kind,
        delta_loss=float(loss.value[stage.last] - loss.value[stage.first]),
        delta_loss_se=float(loss_change.std()),
        delta_llc=float(llc.value[stage.last] - llc.value[stage.first]),
        delta_llc_se=float(llc_change.std()),
        probability=chances[kind],
        hidden=not told and (fall <= flat or to_come < HIDDEN_SHARE * fall),
        location=_step(stage.steepest.x),
        location_interval=(_step(stage.steepest.low), _step(stage.steepest.high)),
    )


def _core(stage: Stage, llc: Smooth) -> NDArray[np.intp]:
    """Grid indices between which all but the first and the last CORE_TAIL of a stage's change happen."""
    inside = llc.value[stage.first : stage.last + 1] - llc.value[stage.first]
    done = np.maximum.accumulate(inside / inside[-1])
    return stage.first + np.searchsorted(done, [CORE_TAIL, 1 - CORE_TAIL])


def _step(x: float) -> float:
    # twelve digits leave out what ln and exp cost: whole steps stay whole
    return float(f"{np.expm1(x):.12g}")


def _interval(smooth: Smooth, x: Array, errors: Array | None) -> Array:
    variance = smooth.value_draws.var(axis=0)
    if errors is not None:
        known = np.isfinite(errors)
        variance = variance + np.interp(smooth.x, x[known], errors[known]) ** 2
    return smooth.value + np.outer([-1.96, 1.96], np.sqrt(variance))


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
    wrong = np.flatnonzero(np.diff(steps) <= 0)
    if len(wrong):
        before, after = steps[wrong[0]], steps[wrong[0] + 1]
        problem = "is repeated" if before == after else f"comes after {before:g}"
        raise InputError(f"step {after:g} {problem}; sort the checkpoints by step and keep one per step.")
    for name, values in (("llc", llcs), ("loss", losses)):
        finite = int(np.isfinite(values).sum())
        if finite < MIN_CHECKPOINTS:
            raise InputError(
                f"{name} has {finite} finite entries of {len(values)}; "
                f"at least {MIN_CHECKPOINTS} checkpoints are needed."
            )
    return steps, losses, llcs


def _standard_errors(llc_se: ArrayLike | None, llc_per_chain: ArrayLike | None, steps: Array) -> Array | None:
    errors = None
    if llc_per_chain is not None:
        chains = _numbers("llc_per_chain", llc_per_chain)
        if chains.ndim != 2 or len(chains) != len(steps):
            raise InputError(
                f"llc_per_chain has shape {chains.shape}; expected (checkpoints, chains) with {len(steps)} checkpoints."
            )
        if chains.shape[1] > 1:
            errors = chains.std(axis=1, ddof=1) / np.sqrt(chains.shape[1])
    if llc_se is not None:
        errors = _column("llc_se", llc_se)
        if len(errors) != len(steps):
            raise InputError(f"llc_se has {len(errors)} entries for {len(steps)} checkpoints; give one per checkpoint.")
        if (errors < 0).any():
            raise InputError(f"llc_se contains {np.nanmin(errors):g}; a standard error is at least 0.")
    return errors if errors is not None and np.isfinite(errors).any() else None


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
