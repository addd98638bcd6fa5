"""The transitions of a run, their type and their uncertainty, from its (step, loss, LLC) curve.

A *stage* is an interval of training between two boundaries. A *transition* is a stage in which λ̂ changes. λ̂ and the
loss are smoothed over x = ln(step + 1), or over the step itself (`smooth`), jumps between two checkpoints included. The
stages in which λ̂ moves are found (`stages`), and each gets a type by what changes in it (Hoogland et al. 2024, arXiv
2402.02364):

* type A: complexity up, loss down or flat
* type B: complexity down, loss flat
* unclassified: anything else

The loss is flat if it changes by less than `FLAT_LOSS` of what the run loses altogether, or by less than its scatter.
This is judged over the core of a transition, in which all but the first and the last `CORE_TAIL` of its change of λ̂
happens. Around a boundary λ̂ rests, and the loss may still be ending what the stage before began.

A transition is hidden if the loss does not show it: the loss alone has no boundary and no jump inside, and at the
steepest point of λ̂ less than `HIDDEN_SHARE` of the run's fall in loss is still to come.

Further observables are treated in the same way: which of them move along with λ̂, and in what order.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError
from llckit.transitions.axis import Axis, find_axis
from llckit.transitions.caution import FALSE_BOUNDARIES, caution_for, check_false_boundaries
from llckit.transitions.jump_stages import jump_stages
from llckit.transitions.observations import Curve, Observations
from llckit.transitions.shared_noise import shared_noise
from llckit.transitions.smooth import Smooth, fit_smooth
from llckit.transitions.stage import Place, Stage
from llckit.transitions.stages import boundaries, stages, supported_peaks
from llckit.transitions.transition import Kind, Move, Transition, Transitions

__all__ = ["detect_transitions"]

Array = NDArray[np.float64]

FLAT_LOSS = 0.1
CORE_TAIL = 0.1
HIDDEN_SHARE = 0.1
GRID_SIZE = 1201


def detect_transitions(
    curve: Curve | None = None,
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
    """Find the transitions of a run: the stages in which its LLC changes.

    The noise of λ̂ is estimated from its scatter between checkpoints, with the shape of the standard errors if they are
    given. Chains that use the same random numbers at all checkpoints share errors between checkpoints. These errors
    are estimated from `llc_per_chain` and told apart from what the run does; without it they are unknown.

    Args:
        curve: What `llckit.estimate_curve` or `llckit.LLCCurve.from_csv` gives, or any `Curve`; or None, with the
            arrays given one by one.
        step: Training steps, at least 0 and not decreasing, shape `(checkpoints,)`. A step may occur repeatedly.
        loss: Loss at each checkpoint, shape `(checkpoints,)`; NaN is a gap.
        llc: λ̂ at each checkpoint, shape `(checkpoints,)`; NaN (a failed estimate) is a gap.
        llc_se: Standard error of each λ̂, shape `(checkpoints,)`.
        llc_per_chain: λ̂ of each chain, shape `(checkpoints, chains)`; NaN is a gap.
        observables: Further measurements at each checkpoint by name, shape `(checkpoints,)` each; NaN is a gap. Those
            with fewer than 8 values are left out.
        axis: Axis to smooth over: "log" is ln(step + 1), "linear" the step.
        false_boundaries: How many false boundaries a curve without any may have on average, above 0 and at most 0.15;
            measured on trends of 30 to 300 checkpoints with independent noise (`benchmarks/detector/transitions.py`).

    Returns:
        The transitions in order; none if λ̂ does not change.

    Raises:
        InputError: The curve is incomplete or too short, or its arrays do not fit together.
    """
    scale = find_axis(axis)
    bound = check_false_boundaries(false_boundaries)
    if curve is None:
        run = Observations.from_arrays(step, loss, llc, llc_se, llc_per_chain, observables)
    elif any(given is not None for given in (step, loss, llc, llc_se, llc_per_chain)):
        raise InputError("curve and single arrays are both given; expected one or the other")
    else:
        run = Observations.from_curve(curve, observables)

    x = scale.to_x(run.step)
    is_usable = np.isfinite(run.llc)
    known = x[is_usable]
    grid = np.linspace(known[0], known[-1], GRID_SIZE)
    errors = None if run.errors is None else run.errors[is_usable]
    shared = np.zeros((len(known), 0)) if run.chains is None else shared_noise(known, run.chains[is_usable])
    llc_smooth = fit_smooth(known, run.llc[is_usable], grid, errors=errors, shared=shared)
    smooths = {"loss": _smooth(x, run.loss, grid, seed=1, noise_grows=True)}
    caution = caution_for(bound, len(known))
    found = stages(llc_smooth, caution)
    if found:
        for i, (name, column) in enumerate(run.others.items()):
            smooths[name] = _smooth(x, column, grid, seed=2 + i, noise_grows=False)
    peaks = {name: supported_peaks(smooth, caution) for name, smooth in smooths.items()}
    moving = {name: stages(smooth, caution, peaks[name]) for name, smooth in smooths.items()}
    of_loss = _Loss(
        smooths["loss"],
        boundaries(smooths["loss"], caution, peaks["loss"]),
        jump_stages(smooths["loss"], caution),
    )
    items = tuple(
        _transition(stage, llc_smooth, of_loss, scale, _moves(stage, found, moving, smooths, scale)) for stage in found
    )
    # Errors that neighbours share, but that no chains show, are not averaged out by the smooth: they count in full.
    interval = _interval(llc_smooth, known, None if shared.shape[1] else errors)
    return Transitions(items, scale.to_steps(grid), llc_smooth.value, interval, of_loss.smooth.value)


def _smooth(x: Array, values: Array, grid: Array, seed: int, noise_grows: bool) -> Smooth:
    is_known = np.isfinite(values)
    return fit_smooth(x[is_known], values[is_known], grid, seed, noise_grows=noise_grows)


def _moves(
    stage: Stage,
    found: list[Stage],
    moving: Mapping[str, list[Stage]],
    smooths: Mapping[str, Smooth],
    axis: Axis,
) -> tuple[Move, ...]:
    """What moves along with a stage of λ̂: stages that overlap with it, and are steepest nearer to it than to others.

    Args:
        stage: The stage of λ̂.
        found: All stages of λ̂.
        moving: Stages of each observable.
        smooths: The smooth of each observable.
        axis: The axis they were smoothed over.

    Returns:
        The moves, the earliest first.
    """
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
                    start=axis.step(move.start.x),
                    end=axis.step(move.end.x),
                    location=axis.step(move.steepest.x),
                    location_interval=_steps(move.steepest, axis),
                    delta=float(value[move.last] - value[move.first]),
                    leads=float(np.mean(move.steepest_draws < stage.steepest_draws)),
                )
            )
    return tuple(sorted(moves, key=lambda move: move.location))


class _Loss(NamedTuple):
    """What the loss alone shows.

    Attributes:
        smooth: The smoothed loss.
        boundaries: Its boundaries.
        jumps: Its jumps.
    """

    smooth: Smooth
    boundaries: list[Place]
    jumps: list[Stage]

    def shows(self, stage: Stage) -> bool:
        """Whether a jump overlaps, or a boundary is inside; one that may be the stage's own start or end is not."""
        if any(jump.start.x < stage.end.x and stage.start.x < jump.end.x for jump in self.jumps):
            return True
        return any(stage.start.high < place.x < stage.end.low for place in self.boundaries)


def _transition(stage: Stage, llc: Smooth, of_loss: _Loss, axis: Axis, moves: tuple[Move, ...]) -> Transition:
    loss = of_loss.smooth
    llc_change, loss_change = (
        smooth.value_draws[:, stage.last] - smooth.value_draws[:, stage.first] for smooth in (llc, loss)
    )
    fall = float(loss.value[0] - loss.value.min())
    flat = max(FLAT_LOSS * fall, float(np.median(loss.noise)))
    chances = _chances(stage, llc, loss, flat)
    kind = max(chances, key=chances.__getitem__)
    return Transition(
        start=axis.step(stage.start.x),
        end=axis.step(stage.end.x),
        start_interval=_steps(stage.start, axis),
        end_interval=_steps(stage.end, axis),
        kind=kind,
        delta_loss=float(loss.value[stage.last] - loss.value[stage.first]),
        delta_loss_se=float(loss_change.std()),
        delta_llc=float(llc.value[stage.last] - llc.value[stage.first]),
        delta_llc_se=float(llc_change.std()),
        probability=chances[kind],
        hidden=not of_loss.shows(stage) and (fall <= flat or _is_late(stage, llc, loss, fall)),
        location=axis.step(stage.steepest.x),
        location_interval=_steps(stage.steepest, axis),
        moves=moves,
    )


def _chances(stage: Stage, llc: Smooth, loss: Smooth, flat: float) -> dict[Kind, float]:
    """The posterior probability of each type, for a loss that is flat if it changes by no more than `flat`."""
    rise = llc.value_draws[:, stage.last] - llc.value_draws[:, stage.first]
    first, last = _core(stage, llc)
    change = loss.value_draws[:, last] - loss.value_draws[:, first]
    a = float(np.mean((rise > 0) & (change <= flat)))
    b = float(np.mean((rise < 0) & (np.abs(change) <= flat)))
    return {"A": a, "B": b, "unclassified": 1 - a - b}


def _core(stage: Stage, llc: Smooth) -> NDArray[np.intp]:
    """Grid indices between which all but the first and the last CORE_TAIL of a stage's change happen."""
    inside = llc.value[stage.first : stage.last + 1] - llc.value[stage.first]
    done = np.maximum.accumulate(inside / inside[-1])
    first, last = np.searchsorted(done, [CORE_TAIL, 1 - CORE_TAIL])
    is_sudden = done[first] - done[first - 1] > CORE_TAIL  # a jump is all core
    return stage.first + np.array([first - is_sudden, last])


def _is_late(stage: Stage, llc: Smooth, loss: Smooth, fall: float) -> bool:
    """Whether little of the run's fall in loss is still to come where λ̂ is steepest."""
    at = int(np.abs(llc.x - stage.steepest.x).argmin())
    return float(loss.value[at] - loss.value[at:].min()) < HIDDEN_SHARE * fall


def _steps(place: Place, axis: Axis) -> tuple[float, float]:
    """A place's interval, in steps."""
    return axis.step(place.low), axis.step(place.high)


def _interval(smooth: Smooth, x: Array, errors: Array | None) -> Array:
    variance = smooth.value_draws.var(axis=0)
    if errors is not None:
        variance = variance + np.interp(smooth.x, x, errors) ** 2
    return smooth.value + np.outer([-1.96, 1.96], np.sqrt(variance))
