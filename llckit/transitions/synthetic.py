"""Curves to score detectors on: with planted transitions of known place, size and type, and with none."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["TRENDS", "Planted", "SyntheticCurve", "Trend", "planted_curve", "random_planted", "random_trend"]

Trend = Literal["constant", "linear", "power", "saturating"]
TRENDS: tuple[Trend, ...] = ("constant", "linear", "power", "saturating")


class SyntheticCurve(NamedTuple):
    """A run's curve, as `detect_transitions` takes it: three arrays of shape `(checkpoints,)`."""

    step: NDArray[np.float64]
    loss: NDArray[np.float64]
    llc: NDArray[np.float64]


def planted_curve(
    step: ArrayLike,
    location: ArrayLike,
    delta_llc: ArrayLike,
    delta_loss: ArrayLike,
    *,
    width: float = 0.3,
    llc_noise: float = 0.0,
    loss_noise: float = 0.0,
    seed: int | Sequence[int] = 0,
) -> SyntheticCurve:
    """A curve whose λ̂ and loss change in logistic steps over x = ln(step + 1), plus independent normal noise.

        λ̂(x) = Σ_k Δλ_k / (1 + exp(-(x - x_k) / width)),   x_k = ln(location_k + 1), + noise,

    The loss is the same sum with ΔL_k in place of Δλ_k.

    Args:
        step: Training steps, shape `(checkpoints,)`.
        location: Step of the steepest point of each transition.
        delta_llc: Change of λ̂ in each transition, Δλ.
        delta_loss: Change of the loss in each transition, ΔL.
        width: Scale of the logistic steps in x; 96 % of a change happens within ± 4 widths.
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


class Planted(NamedTuple):
    """A curve and the truth about it.

    Attributes:
        curve: The curve that a detector gets.
        location: Step of the steepest point of each transition, ascending.
        width: Scale of the logistic steps in x = ln(step + 1).
        delta_llc: Change of λ̂ in each transition.
        kinds: Type of each transition, "A" or "B".
        signal_to_noise: |Δλ̂| ÷ standard deviation of one checkpoint's λ̂.
    """

    curve: SyntheticCurve
    location: NDArray[np.float64]
    width: float
    delta_llc: NDArray[np.float64]
    kinds: tuple[Literal["A", "B"], ...]
    signal_to_noise: float


def random_planted(seed: int, *, signal_to_noise: float | None = None) -> Planted:
    """One to four transitions of equal size and random direction, with flat intervals between them.

    The curve has 30 to 300 checkpoints, evenly spaced in x up to a step of 1e3 to 5e5. Type A takes 0.5 to 3 off the
    loss, type B at most 0.003. The first transition is of type A, so that later ones have something to be flat against.
    Neighbours are 8 to 20 widths apart.

    Args:
        seed: Seed of the curve and its noise.
        signal_to_noise: |Δλ̂| ÷ standard deviation of a checkpoint; None draws it from 3 to 30, uniform in its
            logarithm.

    Returns:
        The curve and the truth.
    """
    rng = np.random.default_rng([12, seed])
    step = _random_steps(rng)
    end, count = float(np.log1p(step[-1])), int(rng.integers(1, 5))
    gap = end / (count + 0.6)
    x = gap * (0.8 + np.arange(count) + 0.2 * rng.uniform(-1, 1, count))
    width = float((np.diff(x).min() if count > 1 else gap) / rng.uniform(8, 20))
    ratio = float(np.exp(rng.uniform(np.log(3), np.log(30)))) if signal_to_noise is None else signal_to_noise
    rises = np.append(True, rng.random(count - 1) < 0.5)
    delta_loss = np.where(rises, -rng.uniform(0.5, 3, count), -rng.uniform(0, 0.003, count))
    location, delta_llc = np.expm1(x), np.where(rises, ratio, -ratio)
    curve = planted_curve(
        step, location, delta_llc, delta_loss, width=width, llc_noise=1.0, loss_noise=0.003, seed=[13, seed]
    )
    kinds: tuple[Literal["A", "B"], ...] = tuple("A" if rise else "B" for rise in rises)
    return Planted(curve, location, width, delta_llc, kinds, ratio)


def random_trend(seed: int) -> tuple[Trend, SyntheticCurve]:
    """One trend without a transition, with noise as runs have it.

    λ̂ is constant, linear in x = ln(step + 1), a power (step + 1)^0.1 … 0.5, or 1 − e^(−c x) with c of 1 to 4 over the
    run. It rises or falls. Its noise is 1 to 20 % of the trend's range, and in half of the curves proportional to λ̂.

    Args:
        seed: Seed of the curve and its noise; seed mod 4 chooses the kind of trend.

    Returns:
        The kind and the curve.
    """
    rng = np.random.default_rng([11, seed])
    step = _random_steps(rng)
    x = np.log1p(step) / np.log1p(step[-1])
    kind = TRENDS[seed % len(TRENDS)]
    shape = {
        "constant": 0 * x,
        "linear": x,
        "power": (step + 1) ** rng.uniform(0.1, 0.5),
        "saturating": 1 - np.exp(-x * rng.uniform(1, 4)),
    }[kind]
    shape = (shape - shape[0]) / (np.ptp(shape) or 1)
    level = rng.uniform(1, 5) + rng.choice([-1, 1]) * shape
    noise = np.exp(rng.uniform(np.log(0.01), np.log(0.2))) * rng.standard_normal(len(x))
    if rng.random() < 0.5:
        noise *= level / level.mean()
    return kind, SyntheticCurve(step, 3 - shape, 20 * (level + noise))


def _random_steps(rng: np.random.Generator) -> NDArray[np.float64]:
    count = int(np.exp(rng.uniform(np.log(30), np.log(300))))
    return np.unique(np.expm1(np.linspace(0, np.log1p(10 ** rng.uniform(3, 5.7)), count)).round())
