"""Transitions at every scale of the loss: found one scale at a time, and linked where neighbouring scales agree.

At nβ the estimate sees what moves the loss by more than 1/nβ, so a change of the model shows at some scales and not at
others. A transition of one scale continues one of the next if both go the same way and each is steepest inside the
other.
"""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError
from llckit.transitions.caution import FALSE_BOUNDARIES, check_false_boundaries
from llckit.transitions.detect_transitions import detect_transitions
from llckit.transitions.observations import MIN_CHECKPOINTS, Curve, check_numbers
from llckit.transitions.scale_transitions import ScaleTransitions, link
from llckit.transitions.transition import Transitions

__all__ = ["CurveAtScales", "detect_across_scales"]

Array = NDArray[np.float64]


class CurveAtScales(Curve, Protocol):
    """A run's curve at several scales: an `llckit.Spectrogram`, or anything with these arrays.

    `llc`, `mcse` and `is_minimum` have the shape `(steps, scales)`, `llc_per_chain` `(steps, scales, chains)`.
    """

    @property
    def n_beta(self) -> ArrayLike:
        """nβ of each scale, ascending, shape `(scales,)`."""
        ...

    @property
    def is_minimum(self) -> ArrayLike:
        """Whether w* is a minimum at that scale; λ̂ is a gap where it is not."""
        ...

    @property
    def mcse(self) -> ArrayLike | None:
        """Standard error of each λ̂, or None."""
        ...

    @property
    def llc_per_chain(self) -> NDArray[np.float64] | None:
        """λ̂ of each chain, or None."""
        ...


def detect_across_scales(
    spectrogram: CurveAtScales | None = None,
    *,
    step: ArrayLike | None = None,
    loss: ArrayLike | None = None,
    llc: ArrayLike | None = None,
    n_beta: ArrayLike | None = None,
    llc_se: ArrayLike | None = None,
    axis: Literal["log", "linear"] = "log",
    false_boundaries: float = FALSE_BOUNDARIES,
) -> ScaleTransitions:
    """Find the transitions of a run at each of several scales, and which of them are the same.

    `detect_transitions` sees each scale by itself. Each is allowed its share of the false boundaries, so that the bound
    holds for all of them together.

    Args:
        spectrogram: What `llckit.estimate_curve` gives for several nβ; or None, with the arrays given one by one.
        step: Training steps, shape `(steps,)`.
        loss: Loss at each, shape `(steps,)`.
        llc: λ̂, shape `(steps, scales)`; NaN is a gap.
        n_beta: nβ of each scale, ascending, shape `(scales,)`.
        llc_se: Standard error of each λ̂, shape `(steps, scales)`.
        axis: Axis to smooth over: "log" is ln(step + 1), "linear" the step.
        false_boundaries: How many false boundaries all scales together may have on average in a run without any.

    Returns:
        The linked transitions, ordered by location.

    Raises:
        InputError: The arrays are no curves at several scales, or no scale has enough checkpoints.
    """
    chains = None
    if spectrogram is not None:
        if any(given is not None for given in (step, loss, llc, n_beta, llc_se)):
            raise InputError("spectrogram and single arrays are both given; expected one or the other")
        if np.ndim(getattr(spectrogram, "llc", 0.0)) != 2:
            raise InputError(
                f"spectrogram is a {type(spectrogram).__name__}; expected what llckit.estimate_curve gives for several "
                "n_beta, or the arrays step=, loss=, llc=, n_beta="
            )
        step, loss, n_beta = spectrogram.step, spectrogram.loss, spectrogram.n_beta
        llc = np.where(spectrogram.is_minimum, spectrogram.llc, np.nan)
        llc_se, chains = spectrogram.mcse, spectrogram.llc_per_chain
    steps, cells, scales = _check_cells(step, llc, n_beta)
    errors = None if llc_se is None else check_numbers("llc_se", llc_se)
    if errors is not None and errors.shape != cells.shape:
        raise InputError(f"llc_se has shape {errors.shape}; expected that of llc, {cells.shape}")
    bound = check_false_boundaries(false_boundaries) / len(scales)

    def at(scale: int) -> Transitions | None:
        if len(np.unique(steps[np.isfinite(cells[:, scale])])) < MIN_CHECKPOINTS:
            return None
        return detect_transitions(
            step=steps,
            loss=loss,
            llc=cells[:, scale],
            llc_se=None if errors is None else errors[:, scale],
            llc_per_chain=None if chains is None else chains[:, scale],
            axis=axis,
            false_boundaries=bound,
        )

    by_scale = tuple(at(scale) for scale in range(len(scales)))
    if all(found is None for found in by_scale):
        raise InputError(f"llc has no scale with {MIN_CHECKPOINTS} estimates; expected that many checkpoints at least")
    return ScaleTransitions(link(by_scale, scales), scales, by_scale)


def _check_cells(step: ArrayLike | None, llc: ArrayLike | None, n_beta: ArrayLike | None) -> tuple[Array, Array, Array]:
    steps, cells, scales = (
        check_numbers(name, np.nan if given is None else given)
        for name, given in (("step", step), ("llc", llc), ("n_beta", n_beta))
    )
    if cells.ndim != 2 or cells.shape != steps.shape + scales.shape:
        raise InputError(
            f"step, llc and n_beta have shapes {steps.shape}, {cells.shape} and {scales.shape}; expected (steps,), "
            "(steps, scales) and (scales,)"
        )
    if not ((scales > 0).all() and (np.diff(scales) > 0).all()):
        raise InputError(f"n_beta is {scales.tolist()}; expected positive scales in ascending order")
    return steps, cells, scales
