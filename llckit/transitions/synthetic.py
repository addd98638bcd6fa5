"""Curves with planted transitions, whose place, size and type are known: what the detector is measured on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["SyntheticCurve", "planted_curve"]


class SyntheticCurve(NamedTuple):
    """A run's curve, as `detect_transitions` takes it: three arrays of shape `(checkpoints,)`."""

    step: NDArray[np.float64]
    loss: NDArray[np.float64]
    llc: NDArray[np.float64]


def planted_curve(
    step: ArrayLike,
    location: Sequence[float],
    delta_llc: Sequence[float],
    delta_loss: Sequence[float],
    *,
    width: float = 0.3,
    llc_noise: float = 0.0,
    loss_noise: float = 0.0,
    seed: int = 0,
) -> SyntheticCurve:
    """A curve whose λ̂ and loss change in logistic steps over x = ln(step + 1), plus independent normal noise.

        λ̂(x) = Σ_k Δλ_k / (1 + exp(-(x - x_k) / width)),   x_k = ln(location_k + 1), + noise,

    and the loss likewise.

    Args:
        step: Training steps, shape `(checkpoints,)`.
        location: Step of the steepest point of each transition.
        delta_llc: Change of λ̂ in each.
        delta_loss: Change of the loss in each.
        width: Scale of the logistic steps in x; 96 % of a change happen within ± 4 widths.
        llc_noise: Standard deviation of the noise of λ̂.
        loss_noise: Standard deviation of the noise of the loss.
        seed: Seed of the noise.

    Returns:
        The curve.
    """
    steps = np.asarray(step, dtype=np.float64)
    distance = np.log1p(steps)[:, None] - np.log1p(np.asarray(location, dtype=np.float64))
    done = 1 / (1 + np.exp(-distance / width))
    rng = np.random.default_rng(seed)
    llc = done @ np.asarray(delta_llc) + llc_noise * rng.standard_normal(len(steps))
    loss = done @ np.asarray(delta_loss) + loss_noise * rng.standard_normal(len(steps))
    return SyntheticCurve(steps, loss, llc)
