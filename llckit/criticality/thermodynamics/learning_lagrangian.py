"""The learning Lagrangian of a recorded run: kinetic minus potential energy of its updates. It only describes."""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import trapezoid
from scipy.optimize import lsq_linear
from scipy.stats import kendalltau

from llckit.checks import check_number, check_seed
from llckit.criticality.arrays import Array, check_positive_entries
from llckit.errors import InputError

__all__ = ["LagrangianAt", "LearningLagrangian", "learning_lagrangian"]

BLOCKS = 10  # of the trend test; Kendall's tau of ten blocks has p-values down to 5e-7
FEWEST_STEPS = 2 * BLOCKS
PERMUTATIONS = 9999
FLAT = 1e-9  # relative spread below which a quantity counts as constant


@dataclass(frozen=True)
class LagrangianAt:
    """What the Lagrangian does at one place of the run.

    Attributes:
        step: The recorded step nearest to the place in ln(1 + step).
        value: The Lagrangian at that step.
        rate: Change of the Lagrangian per unit of ln(1 + step) at that step.
        rank: Share of all recorded steps at which it changes more slowly (ties count half): on average 1/2 for places
            that have nothing to do with it, near 1 where it changes fastest.
    """

    step: float
    value: float
    rate: float
    rank: float


@dataclass(frozen=True)
class LearningLagrangian:
    """K - U along a run; arrays of shape (steps,).

    Attributes:
        step: The recorded steps.
        kinetic: K = ½ η² |∇L|².
        potential: U = a/B + b (1 - EV·I).
        lagrangian: K - U, the density of the action.
        energy: K + U.
        action: Integral of the Lagrangian over the steps, by the trapezoidal rule.
        noise_coefficient: Coefficient a, as given or fitted.
        potential_scale: Coefficient b, as given or fitted.
        balanced: Share of the variance of K over the run that U takes up, 1 - Var(K + U)/Var(K), with trapezoidal
            weights: 0 if U does not balance K at all, below 0 if a given U adds to the changes of K.
        energy_variation: Standard deviation of the energy over its absolute mean; infinite if the mean is 0.
        lagrangian_variation: Standard deviation of the Lagrangian over its absolute mean; infinite if the mean is 0.
        energy_trend: Kendall's τ of the energy's means over ten successive blocks of steps against their order.
        energy_trend_p_value: Two-sided p-value of `energy_trend`.
        lagrangian_trend: Kendall's τ of the Lagrangian's means over the same blocks against their order.
        lagrangian_trend_p_value: Two-sided p-value of `lagrangian_trend`.
        at_transitions: Value and change of the Lagrangian at each given transition, in the order given.
        transitions_p_value: Chance that as many steps picked at random have ranks as high on average; None without
            transitions.
    """

    step: Array
    kinetic: Array
    potential: Array
    lagrangian: Array
    energy: Array
    action: float
    noise_coefficient: float
    potential_scale: float
    balanced: float
    energy_variation: float
    lagrangian_variation: float
    energy_trend: float
    energy_trend_p_value: float
    lagrangian_trend: float
    lagrangian_trend_p_value: float
    at_transitions: tuple[LagrangianAt, ...]
    transitions_p_value: float | None

    def to_dict(self) -> dict[str, object]:
        """The attributes as plain Python values, ready for JSON; infinite variations are None."""
        plain: dict[str, object] = {
            name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in vars(self).items()
        }
        for name in ("energy_variation", "lagrangian_variation"):
            plain[name] = getattr(self, name) if math.isfinite(getattr(self, name)) else None
        return plain | {"at_transitions": [asdict(one) for one in self.at_transitions]}


def learning_lagrangian(
    step: ArrayLike,
    learning_rate: ArrayLike,
    batch_size: ArrayLike,
    grad_norm: ArrayLike,
    loss: ArrayLike,
    *,
    noise_coefficient: float | None = None,
    potential_scale: float | None = None,
    transitions: ArrayLike = (),
    seed: int = 0,
) -> LearningLagrangian:
    """The Lagrangian of learning along a recorded run, how constant it is, and what it does at transitions.

        K = ½ η² |∇L|²            half the squared length of a step of plain gradient descent, at unit mass and time
        U = a/B + b (1 - EV·I)    gradient noise of a batch of B samples, and what is left to be learned
        EV = 1 - L/L_0            explained variance: the share of the first recorded loss that is gone
        I = ln(1 + s)/ln(1 + S)   data information: s samples used so far, of S in the whole run; s = ∫ B dstep

    **U is a modelling choice**, no consequence of the training algorithm. Training is dissipative, so energy need not
    be conserved; the figures here say how far it is from being so. A coefficient that is not given is fitted, with a
    lower bound of 0, so that the energy K + U is most constant over the run. A fit flatters the constancy of the
    energy. See docs/notes/learning_lagrangian.md for the fit and the p-values.

    Args:
        step: Recorded steps, strictly increasing from 0 or later, shape (steps,), at least 20.
        learning_rate: η at each step, a number or shape (steps,), 0 or more.
        batch_size: B at each step, a number or shape (steps,), positive.
        grad_norm: |∇L| at each step, shape (steps,), 0 or more.
        loss: L at each step, shape (steps,), the first one positive.
        noise_coefficient: Coefficient a, 0 or more; None fits it.
        potential_scale: Coefficient b, 0 or more; None fits it.
        transitions: Places of transitions, in steps within the run, shape (transitions,).
        seed: Seed of the random choices.

    Returns:
        K, U, the Lagrangian and the energy, how constant they are, and what the Lagrangian does at the transitions.

    Raises:
        InputError: The arrays do not describe a run.
    """
    steps, rate, batch, norm, losses = _check_run(step, learning_rate, batch_size, grad_norm, loss)
    given = [
        None if value is None else check_number(name, value, 0, ", or None to fit it")
        for name, value in (("noise_coefficient", noise_coefficient), ("potential_scale", potential_scale))
    ]
    places = _check_transitions(transitions, steps)
    check_seed(seed)

    kinetic = (rate * norm) ** 2 / 2
    used = batch[0] * steps[0] + np.append(0, np.cumsum(np.diff(steps) * (batch[1:] + batch[:-1]) / 2))
    left = 1 - (1 - losses / losses[0]) * np.log1p(used) / np.log1p(used[-1])
    weight = np.gradient(steps)
    weight[[0, -1]] /= 2  # the trapezoidal rule: an end has half an interval on one side only
    weight /= weight.sum()
    a, b = _coefficients(kinetic, np.stack([1 / batch, left], axis=1), weight, given)
    potential = a / batch + b * left
    lagrangian, energy = kinetic - potential, kinetic + potential
    spread = _variance(kinetic, weight)
    slopes = np.gradient(lagrangian, np.log1p(steps))
    ranks = _ranks(np.abs(slopes))
    energy_trend, lagrangian_trend = _trend(energy), _trend(lagrangian)
    at = [int(np.abs(np.log1p(steps) - np.log1p(place)).argmin()) for place in places]
    return LearningLagrangian(
        step=steps,
        kinetic=kinetic,
        potential=potential,
        lagrangian=lagrangian,
        energy=energy,
        action=float(trapezoid(lagrangian, steps)),
        noise_coefficient=a,
        potential_scale=b,
        balanced=1 - _variance(energy, weight) / spread if spread > 0 else 0.0,
        energy_variation=_variation(energy, weight),
        lagrangian_variation=_variation(lagrangian, weight),
        energy_trend=energy_trend.tau,
        energy_trend_p_value=energy_trend.p_value,
        lagrangian_trend=lagrangian_trend.tau,
        lagrangian_trend_p_value=lagrangian_trend.p_value,
        at_transitions=tuple(
            LagrangianAt(float(steps[i]), float(lagrangian[i]), float(slopes[i]), float(ranks[i])) for i in at
        ),
        transitions_p_value=_p_value(ranks, at, seed) if at else None,
    )


def _coefficients(kinetic: Array, parts: Array, weight: Array, given: list[float | None]) -> tuple[float, float]:
    """A and b as given; those that are not given, as they make K + U most constant."""
    found = [0.0 if one is None else one for one in given]
    moves = [i for i in (0, 1) if given[i] is None and np.ptp(parts[:, i]) > FLAT * np.abs(parts[:, i]).max()]
    scale = np.sqrt(_variance(kinetic, weight))
    if moves and scale > 0:
        target = kinetic + parts @ found
        centred = (parts[:, moves] - weight @ parts[:, moves]) * np.sqrt(weight)[:, None]
        units = np.sqrt(np.sum(centred**2, axis=0))
        offset = (target - weight @ target) * np.sqrt(weight)
        unit = np.sqrt(np.sum(offset**2)) or 1.0
        fitted = lsq_linear(centred / units, -offset / unit, bounds=(0, np.inf)).x
        fitted[fitted < FLAT] = 0  # the solver keeps inside its bounds
        for i, one in zip(moves, fitted * unit / units, strict=True):
            found[i] = float(one)
    return found[0], found[1]


def _variance(values: Array, weight: Array) -> float:
    return float(weight @ (values - weight @ values) ** 2)


def _variation(values: Array, weight: Array) -> float:
    mean, deviation = abs(float(weight @ values)), math.sqrt(_variance(values, weight))
    if deviation <= FLAT * np.abs(values).max():
        return 0.0
    return deviation / mean if mean > 0 else math.inf


class _Trend(NamedTuple):
    tau: float
    p_value: float


def _trend(values: Array) -> _Trend:
    """Kendall's tau of block means against time; a constant has no trend."""
    means = np.array([block.mean() for block in np.array_split(values, BLOCKS)])
    if np.ptp(means) <= FLAT * np.abs(values).max():
        return _Trend(0.0, 1.0)
    test = kendalltau(np.arange(BLOCKS), means)
    return _Trend(float(test.statistic), float(test.pvalue))  # pyright: ignore[reportAttributeAccessIssue]


def _ranks(speeds: Array) -> Array:
    """Share of the other entries that are smaller, ties counted half."""
    slower, ties = np.sum(speeds < speeds[:, None], axis=1), np.sum(speeds == speeds[:, None], axis=1) - 1
    return (slower + ties / 2) / (len(speeds) - 1)


def _p_value(ranks: Array, at: list[int], seed: int) -> float:
    """Chance of a mean rank as high, for steps picked at random without repetition."""
    places = sorted(set(at))
    rng = np.random.default_rng(seed)
    chosen = rng.permuted(np.tile(ranks, (PERMUTATIONS, 1)), axis=1)[:, : len(places)].mean(axis=1)
    as_high = np.sum(chosen >= ranks[places].mean() - FLAT)
    return float((1 + as_high) / (1 + PERMUTATIONS))


def _check_run(*given: ArrayLike) -> tuple[Array, Array, Array, Array, Array]:
    names = ("step", "learning_rate", "batch_size", "grad_norm", "loss")
    arrays = {name: np.asarray(one) for name, one in zip(names, given, strict=True)}
    count = arrays["step"].size
    for name, array in arrays.items():
        scalar_allowed = name in ("learning_rate", "batch_size") and array.ndim == 0
        if array.dtype.kind not in "iuf" or not (array.shape == (count,) or scalar_allowed):
            raise InputError(
                f"{name} has shape {array.shape} and type {array.dtype}; expected {count} numbers, one per step"
            )
        if not np.isfinite(array).all():
            where = int(np.flatnonzero(~np.isfinite(array))[0])
            raise InputError(f"{name}[{where}] is {array.flat[where]}; expected finite numbers; leave that step out")
    if count < FEWEST_STEPS:
        raise InputError(f"step has {count} entries; expected at least {FEWEST_STEPS}; record more often")
    steps, rate, batch, norm, losses = (
        np.broadcast_to(array, (count,)).astype(np.float64) for array in arrays.values()
    )
    if steps[0] < 0 or (np.diff(steps) <= 0).any():
        raise InputError(
            "step has entries below 0 or out of order; expected steps that increase strictly from 0 or later"
        )
    for name, array in (("learning_rate", rate), ("grad_norm", norm)):
        if (array < 0).any():
            raise InputError(f"{name} has the entry {array.min():g}; expected numbers >= 0")
    check_positive_entries("batch_size", batch)
    if losses[0] <= 0:
        raise InputError(
            f"loss[0] is {losses[0]:g}; expected a positive number; explained variance is measured against it"
        )
    return steps, rate, batch, norm, losses


def _check_transitions(transitions: ArrayLike, steps: Array) -> Array:
    places = np.asarray(transitions, dtype=np.float64) if np.size(transitions) else np.empty(0)
    if places.ndim != 1 or not np.isfinite(places).all() or ((places < steps[0]) | (places > steps[-1])).any():
        raise InputError(
            f"transitions is {places.tolist()}; expected a list of steps between {steps[0]:g} and {steps[-1]:g}"
        )
    return places
