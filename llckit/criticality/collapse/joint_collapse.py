"""Several observables collapsed together, with one critical point and one ν*: fit, covariance and resampling."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llckit.criticality.arrays import Array
from llckit.criticality.collapse.master_curve import ControlUnit, MasterCurve
from llckit.criticality.collapse.maximise_likelihood import LOG_OMEGA, maximise_likelihood, own_parameters

__all__ = ["JointCollapse", "joint_collapse"]

CONTROLS = np.linspace(0.03, 0.97, 20)
KAPPAS = np.geomspace(0.05, 2.5, 12)
RATIOS = np.linspace(-0.6, 0.6, 9)  # about the growth of the values themselves
STARTS = 3
REFINEMENTS = 3
STEPS, RESAMPLED_STEPS = 25, 4  # resampled data start near their minimum
SMALLEST_SCATTER = 1e-9  # of exact data, in units of the spread of the values
SMALLEST = 1e-200  # keeps the logarithm of a perfect fit finite


@dataclass(frozen=True)
class JointCollapse:
    """Curves of several observables collapsed with one critical point and one ν*.

    theta is (c*, κ, ln ω, r of each observable) with κ = 1/ν*, and each observable follows its `MasterCurve`. The free
    parameters maximise the marginal likelihood, in which the curves are integrated out. Without standard errors each
    observable's noise is its scatter about its curve.

    Attributes:
        curves: The master curves.
        theta: The parameters, shape (3 + observables,).
        free: Whether each parameter was fitted, shape (3 + observables,).
        chi_square: Sum of squared weighted residuals of each observable, shape (observables,).
        freedom: Degrees of freedom left to each observable, shape (observables,).
        covariance: Covariance from the curvature of the likelihood, 0 for fixed parameters, shape
            (3 + observables, 3 + observables).
        information: Bayesian information criterion (Schwarz 1978), in which each curve counts with its effective
            degrees of freedom; comparable between fits of the same data.
        unit: Unit of the control, hence of c*.
    """

    curves: tuple[MasterCurve, ...]
    theta: Array
    free: NDArray[np.bool_]
    chi_square: Array
    freedom: Array
    covariance: Array
    information: float
    unit: ControlUnit

    @property
    def quality(self) -> float:
        """Reduced chi-square about the master curves."""
        return float(self.chi_square.sum() / self.freedom.sum())

    @property
    def unexplained(self) -> float:
        """Largest share, over observables, of the variance within sizes that the master curve does not explain."""
        shares = []
        for curve, total in zip(self.curves, self.chi_square, strict=True):
            groups = [curve.value[curve.log_size == size] for size in np.unique(curve.log_size)]
            within = np.sum([((group - group.mean()) ** 2).sum() for group in groups])
            shares.append(total * float(np.mean(curve.se**2)) / within)
        return float(max(shares))

    @property
    def corrected(self) -> bool:
        """Whether the curves have a correction to scaling."""
        return self.curves[0].correction is not None

    def resampled(self, count: int, random: np.random.Generator, place: Array | None = None) -> Array:
        """Parameters fitted to data drawn from the curves.

        Args:
            count: Number of data sets.
            random: Source of randomness.
            place: (c*, κ, ln ω) of each data set if they are not free, shape (count, 3), count even. The second half
                of the noise is then the first half with its sign reversed (antithetic variates, Hammersley and Morton
                1956): a place in both halves has no correlation with the noise, not even by chance.

        Returns:
            The parameters, shape (count, 3 + observables).
        """
        theta = np.repeat(self.theta[None], count, axis=0)
        drawn_count = count if place is None else count // 2
        samples = []
        for k, curve in enumerate(self.curves):
            weighted = curve.weighted
            fitted = (
                weighted - curve.linearise(own_parameters(theta[:1], k), weighted[None]).residual[0, : len(weighted)]
            )
            reduced, freedom = self.chi_square[k] / self.freedom[k], self.freedom[k]
            # A given noise is raised if the curve does not fit. An estimated one is itself uncertain.
            spread = max(reduced, 1.0)
            if not curve.known_se:
                uncertain = reduced * freedom / random.chisquare(freedom, (drawn_count, 1))
                spread = uncertain * _correlation(weighted - fitted)
            noise = np.sqrt(spread) * random.standard_normal((drawn_count, len(weighted)))
            samples.append(fitted + (noise if place is None else np.vstack([noise, -noise])))
        if place is not None:
            theta[:, :3] = place
        drawn = maximise_likelihood(self.curves, theta, samples, self.free, RESAMPLED_STEPS)[0]
        # The penalty was chosen from the data, so its choice contributes to the error.
        curves = [
            curve.resmoothed(own_parameters(drawn, k), sample)
            for k, (curve, sample) in enumerate(zip(self.curves, samples, strict=True))
        ]
        drawn = maximise_likelihood(curves, drawn, samples, self.free, RESAMPLED_STEPS)[0]
        # Data drawn from a smoothed curve do not show how far smoothing has moved it. The curvature of the marginal
        # likelihood, in which the curve is random, does (Nychka, J. Am. Stat. Assoc. 83, 1134, 1988).
        spread = np.sqrt(np.mean((drawn - self.theta) ** 2, axis=0))
        wider = np.sqrt(np.diag(self.covariance)) / np.maximum(spread, 1e-300)
        return self.theta + (drawn - self.theta) * np.where(self.free, np.maximum(wider, 1.0), 1.0)


def joint_collapse(
    curves: Sequence[MasterCurve],
    unit: ControlUnit,
    *,
    corrected: bool = False,
    start: Array | None = None,
    fixed: Sequence[int] = (),
) -> JointCollapse:
    """Collapse several observables together.

    Args:
        curves: The observables, as `master_curves` makes them.
        unit: Unit of their controls.
        corrected: Whether the curves have a correction to scaling. Its ω has a prior: ln ω is normal about ln 0.7 with
            standard deviation 0.05. In volumes ω is 1/2 at the mean-field point and 2/5 to 1 in two dimensions. Without
            a prior, corrections of higher order drive ω to 0, where the correction replaces the law.
        start: Where the ascent starts, shape (3 + observables,). None: a search over c*, κ and the ratios.
        fixed: Indices of parameters that keep their value in `start`.

    Returns:
        The fit.
    """
    free = np.array([True, True, corrected, *(curve.ratio_free for curve in curves)])
    free[list(fixed)] = False
    plain = free & (np.arange(len(free)) != 2)
    tried = []
    for theta in _starts(curves) if start is None else [start]:
        fitted = list(curves)
        for _ in range(2):
            fitted = [one.smoothed(own_parameters(theta, k), False) for k, one in enumerate(fitted)]
            fitted = [_reweighted(one, own_parameters(theta, k)) for k, one in enumerate(fitted)]
            theta = maximise_likelihood(fitted, theta[None], [one.weighted[None] for one in fitted], plain, STEPS)[0][0]
        tried.append((_information(fitted, curves, theta)[0], theta, fitted))
    _, theta, fitted = min(tried, key=lambda one: one[0])
    curvature = np.eye(1)
    for _ in range(REFINEMENTS):
        fitted = [_reweighted(one, own_parameters(theta, k)) for k, one in enumerate(fitted)]
        fitted = [one.smoothed(own_parameters(theta, k), corrected) for k, one in enumerate(fitted)]
        found, curvature = maximise_likelihood(fitted, theta[None], [one.weighted[None] for one in fitted], free, STEPS)
        theta = found[0]
    information, chi_square, freedom = _information(fitted, curves, theta)
    information += free.sum() * np.log(sum(len(one.value) for one in curves))
    covariance = np.zeros((len(theta), len(theta)))
    inflation = max(1.0, chi_square.sum() / freedom.sum()) if any(one.known_se for one in curves) else 1.0
    if free.any():
        covariance[np.ix_(free, free)] = np.linalg.pinv(curvature[0]) * inflation
    return JointCollapse(tuple(fitted), theta, free, chi_square, freedom, covariance, float(information), unit)


def _correlation(residual: Array) -> float:
    """Factor (1 + c) / (1 - c) by which scatter with correlation c along the control raises the variance."""
    # Exact data deviate from the model smoothly; taken as independent, such deviations give too narrow intervals.
    lag_one = float(residual[1:] @ residual[:-1] / max(residual @ residual, SMALLEST))
    return (1 + min(lag_one, 0.9)) / (1 - min(lag_one, 0.9)) if lag_one > 2 / np.sqrt(len(residual)) else 1.0


def _starts(curves: Sequence[MasterCurve]) -> list[Array]:
    """The best places of a grid over c* and κ; at each, every observable takes the best of nine ratios."""
    place = np.stack(np.meshgrid(CONTROLS, KAPPAS, indexing="ij"), axis=-1).reshape(-1, 2)
    score, ratios = np.zeros(len(place)), np.zeros((len(place), len(curves)))
    for k, one in enumerate(curves):
        sizes = np.unique(one.log_size)
        spread = [np.log(np.mean(one.value[one.log_size == size] ** 2)) / 2 for size in sizes]
        growth = np.polyfit(sizes, spread, 1)[0]
        lowest = np.full(len(place), np.inf)
        for ratio in growth + RATIOS if one.ratio_free else [0.0]:
            sum_of_squares = one.misfit(place, ratio)
            ratios[:, k] = np.where(sum_of_squares < lowest, ratio, ratios[:, k])
            lowest = np.minimum(lowest, sum_of_squares)
        score += len(one.value) * np.log(np.maximum(lowest, SMALLEST))
    chosen: list[int] = []
    for i in np.argsort(score):
        apart = [abs(place[i, 0] - place[j, 0]) > 0.1 or abs(np.log(place[i, 1] / place[j, 1])) > 0.7 for j in chosen]
        if all(apart):
            chosen.append(int(i))
        if len(chosen) == STARTS:
            break
    return [np.concatenate([place[i], [LOG_OMEGA], ratios[i]]) for i in chosen]


def _reweighted(curve: MasterCurve, theta: Array) -> MasterCurve:
    """The curve itself; without given standard errors, with its scatter in their place."""
    if curve.known_se:
        return curve
    fit = curve.linearise(theta[None], curve.weighted[None])
    count = len(curve.value)
    freedom = max(count - fit.degrees[0] - 1, 1.0)
    scatter = np.sqrt((fit.residual[0, :count] ** 2).sum() / freedom)
    return replace(curve, se=curve.se * max(float(scatter), SMALLEST_SCATTER))


def _information(
    fitted: Sequence[MasterCurve], given: Sequence[MasterCurve], theta: Array
) -> tuple[float, Array, Array]:
    """Schwarz's criterion of all curves together; chi-square and remaining degrees of freedom of each."""
    total, squares, left = 0.0, [], []
    count = sum(len(one.value) for one in given)
    for k, (curve, original) in enumerate(zip(fitted, given, strict=True)):
        fit = curve.linearise(own_parameters(theta[None], k), curve.weighted[None])
        residual = fit.residual[0, : len(curve.value)]
        squares.append((residual**2).sum())
        left.append(max(len(curve.value) - float(fit.degrees[0]) - 1, 1.0))
        if curve.known_se:
            total += squares[-1]
        else:
            raw = ((residual * curve.se / original.se) ** 2).mean()
            total += len(residual) * np.log(max(raw, SMALLEST_SCATTER**2))
        total += float(fit.degrees[0]) * np.log(count)
    return total, np.array(squares), np.array(left)
