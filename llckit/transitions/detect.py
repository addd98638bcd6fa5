"""The transitions of a run: stages of its (step, loss, LLC) curve, their type and their uncertainty.

λ̂ and the loss are smoothed over x = ln(step + 1), or over the step itself (`smooth`), the moves of λ̂ are found
(`stages`), and each is named by what changes in it (Hoogland et al. 2024, arXiv 2402.02364):

* type A: complexity up, loss down or flat;
* type B: complexity down, loss flat;

and unclassified otherwise. "Flat" is less than `FLAT_LOSS` of what the run loses altogether, or less than the scatter
of the loss. It is judged over the core of a stage, in which all but the first and the last `CORE_TAIL` of its λ̂
changes: around a boundary λ̂ rests, and the loss may still be ending what the stage before began.

A stage is hidden if the loss does not tell of it: the loss alone has no boundary inside, and at the steepest point
less than `HIDDEN_SHARE` of the run's fall in loss is still to come.

Everything else that was recorded goes through the same: what of it moves along with λ̂, and in what order.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError
from llckit.transitions.observations import Observations
from llckit.transitions.shared_noise import shared_noise
from llckit.transitions.smooth import Smooth, fit_smooth
from llckit.transitions.stages import Place, Stage, boundaries, caution_for, stages, supported_peaks
from llckit.transitions.transition import Move, Transition, Transitions

__all__ = ["detect_transitions"]

Array = NDArray[np.float64]

FLAT_LOSS = 0.1
CORE_TAIL = 0.1
HIDDEN_SHARE = 0.1
GRID_SIZE = 1201
FALSE_BOUNDARIES, MOST_FALSE_BOUNDARIES = 0.007, 0.15
AXES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {  # to x, and back to steps
    "log": (np.log1p, np.expm1),
    "linear": (np.array, np.array),
}


def detect_transitions(
    curve: Any = None,
    *,
    step: ArrayLike | None = None,
    loss: ArrayLike | None = None,
    llc: ArrayLike | None = None,
    llc_se: ArrayLike | None = None,
    llc_per_chain: ArrayLike | None = None,
    observables: Mapping[str, ArrayLike] | None = None,
    axis: Literal["log", "linear"] = "log",
    false_boundaries: float = FALSE_BOUNDARIES,
) -> Transitions:
    """Find the stages in which the LLC of a run changes.

    The noise of λ̂ is what scatters from checkpoint to checkpoint, shaped by the standard errors where they are given.
    Errors that chains share between checkpoints, as they do where all checkpoints see the same random numbers, are
    estimated from `llc_per_chain` and told apart from what the run does; where it is not given they are not known.

    Args:
        curve: Anything with attributes `step`, `loss`, `llc` and, if it has them, `mcse`, `llc_per_chain`, `recorded`
            (observables) and `is_minimum` (where that is false, λ̂ is a gap); or None, and the arrays are given one by
            one.
        step: Training steps, at least 0 and not decreasing, shape `(checkpoints,)`; a step may be there repeatedly.
        loss: Loss at each checkpoint, shape `(checkpoints,)`; NaN is a gap.
        llc: λ̂ at each checkpoint, shape `(checkpoints,)`; NaN (a failed estimate) is a gap.
        llc_se: Standard error of each λ̂, shape `(checkpoints,)`.
        llc_per_chain: λ̂ of each chain, shape `(checkpoints, chains)`; NaN is a gap.
        observables: What else was measured at each checkpoint, by name, shape `(checkpoints,)` each, NaN where it was
            not; those with fewer than 8 values do not move.
        axis: Whether to smooth over ln(step + 1) or over the step.
        false_boundaries: How many false boundaries a curve without any may have on average, above 0 and at most 0.15;
            measured on trends of 30 to 300 checkpoints with independent noise (`benchmarks/transitions.py`).

    Returns:
        The transitions in order, none where λ̂ does not change.

    Raises:
        InputError: If the curve is incomplete or too short, or its arrays do not fit together.
    """
    if axis not in AXES:
        raise InputError(f"axis is {axis!r}, expected one of {', '.join(map(repr, AXES))}.")
    bound = checked_bound(false_boundaries)
    if curve is None:
        seen = Observations.from_arrays(step, loss, llc, llc_se, llc_per_chain, observables)
    elif any(given is not None for given in (step, loss, llc, llc_se, llc_per_chain)):
        raise InputError("Both a curve and single arrays were given; give one or the other.")
    else:
        seen = Observations.from_curve(curve, observables)

    to_x, to_step = AXES[axis]
    x = to_x(seen.step)
    is_usable = np.isfinite(seen.llc)
    known = x[is_usable]
    grid = np.linspace(known[0], known[-1], GRID_SIZE)
    errors = None if seen.errors is None else seen.errors[is_usable]
    shared = np.zeros((len(known), 0)) if seen.chains is None else shared_noise(known, seen.chains[is_usable])
    llc_smooth = fit_smooth(known, seen.llc[is_usable], grid, errors=errors, shared=shared)
    smooths = {"loss": _smooth(x, seen.loss, grid, seed=1, noise_grows=True)}
    caution = caution_for(bound, len(known))
    found = stages(llc_smooth, caution)
    if found:
        for i, (name, column) in enumerate(seen.others.items()):
            smooths[name] = _smooth(x, column, grid, seed=2 + i, noise_grows=False)
    peaks = {name: supported_peaks(smooth, caution) for name, smooth in smooths.items()}
    moving = {name: stages(smooth, caution, peaks[name]) for name, smooth in smooths.items()}
    told = boundaries(smooths["loss"], caution, peaks["loss"])
    items = tuple(
        _transition(stage, llc_smooth, smooths["loss"], told, to_step, _moves(stage, found, moving, smooths, to_step))
        for stage in found
    )
    # errors that neighbours share, but no chains tell of, are not averaged out by the smooth: they count in full
    interval = _interval(llc_smooth, known, None if shared.shape[1] else errors)
    return Transitions(items, to_step(grid), llc_smooth.value, interval, smooths["loss"].value)


def checked_bound(false_boundaries: float) -> float:
    """The bound as a float, refused where `caution_for` knows nothing of it."""
    is_number = isinstance(false_boundaries, int | float | np.number) and not isinstance(false_boundaries, bool)
    if not (is_number and 0 < false_boundaries <= MOST_FALSE_BOUNDARIES):
        raise InputError(
            f"false_boundaries is {false_boundaries!r}, expected a number above 0 and at most {MOST_FALSE_BOUNDARIES}."
        )
    return float(false_boundaries)


def _smooth(x: Array, values: Array, grid: Array, seed: int, noise_grows: bool) -> Smooth:
    is_known = np.isfinite(values)
    return fit_smooth(x[is_known], values[is_known], grid, seed, noise_grows=noise_grows)


def _moves(
    stage: Stage,
    found: list[Stage],
    moving: Mapping[str, list[Stage]],
    smooths: Mapping[str, Smooth],
    to_step: Callable[[Array], Array],
) -> tuple[Move, ...]:
    """What moves along with a stage of λ̂: whatever overlaps with it, and is steepest nearer to it than to others."""
    moves = []
    for name, candidates in moving.items():
        for move in candidates:
            together = [one for one in found if move.start.x < one.end.x and one.start.x < move.end.x]
            if not together or min(together, key=lambda one: abs(one.steepest.x - move.steepest.x)) is not stage:
                continue
            value = smooths[name].value
            moves.append(
                Move(
                    name=name,
                    start=_step(move.start.x, to_step),
                    end=_step(move.end.x, to_step),
                    location=_step(move.steepest.x, to_step),
                    location_interval=(_step(move.steepest.low, to_step), _step(move.steepest.high, to_step)),
                    delta=float(value[move.last] - value[move.first]),
                    leads=float(np.mean(move.steepest_draws < stage.steepest_draws)),
                )
            )
    return tuple(sorted(moves, key=lambda move: move.location))


def _transition(
    stage: Stage,
    llc: Smooth,
    loss: Smooth,
    loss_boundaries: list[Place],
    to_step: Callable[[Array], Array],
    moves: tuple[Move, ...],
) -> Transition:
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
        start=_step(stage.start.x, to_step),
        end=_step(stage.end.x, to_step),
        start_interval=(_step(stage.start.low, to_step), _step(stage.start.high, to_step)),
        end_interval=(_step(stage.end.low, to_step), _step(stage.end.high, to_step)),
        kind=kind,
        delta_loss=float(loss.value[stage.last] - loss.value[stage.first]),
        delta_loss_se=float(loss_change.std()),
        delta_llc=float(llc.value[stage.last] - llc.value[stage.first]),
        delta_llc_se=float(llc_change.std()),
        probability=chances[kind],
        hidden=not told and (fall <= flat or to_come < HIDDEN_SHARE * fall),
        location=_step(stage.steepest.x, to_step),
        location_interval=(_step(stage.steepest.low, to_step), _step(stage.steepest.high, to_step)),
        moves=moves,
    )


def _core(stage: Stage, llc: Smooth) -> NDArray[np.intp]:
    """Grid indices between which all but the first and the last CORE_TAIL of a stage's change happen."""
    inside = llc.value[stage.first : stage.last + 1] - llc.value[stage.first]
    done = np.maximum.accumulate(inside / inside[-1])
    return stage.first + np.searchsorted(done, [CORE_TAIL, 1 - CORE_TAIL])


def _step(x: float, to_step: Callable[[Array], Array]) -> float:
    # twelve digits leave out what ln and exp cost: whole steps stay whole
    return float(f"{to_step(np.array(x)):.12g}")


def _interval(smooth: Smooth, x: Array, errors: Array | None) -> Array:
    variance = smooth.value_draws.var(axis=0)
    if errors is not None:
        variance = variance + np.interp(smooth.x, x, errors) ** 2
    return smooth.value + np.outer([-1.96, 1.96], np.sqrt(variance))
