"""Several observables collapsed together, with one critical point and one ν*: fit, covariance and resampling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llckit.criticality.curves import Array, Curves
from llckit.criticality.master_curve import MasterCurve

__all__ = ["JointCollapse", "joint_collapse", "master_curves"]

LOG_OMEGA, LOG_OMEGA_SPREAD = float(np.log(0.7)), 0.05
CONTROLS = np.linspace(0.03, 0.97, 20)
KAPPAS = np.geomspace(0.05, 2.5, 12)
RATIOS = np.linspace(-0.6, 0.6, 9)  # about the growth of the values themselves
LOW, HIGH = np.array([0.0, -0.2, np.log(0.25)]), np.array([1.0, 5.0, np.log(1.5)])
RATIO_BOUND = 4.0
STARTS = 3
REFINEMENTS = 3
STEPS, RESAMPLED_STEPS = 25, 4  # resampled data begin where their minimum is near
SETTLED = 1e-5  # in units of the log likelihood
SMALLEST_SCATTER = 1e-9  # of exact data, in units of the spread of the values
SMALLEST = 1e-200  # keeps the logarithm of a perfect fit finite


@dataclass(frozen=True)
class JointCollapse:
    """Curves of several observables collapsed with one critical point and one ν*.

    theta is (c*, κ, ln ω, r of each observable): κ = 1/ν*, and each observable follows its `MasterCurve`. The free
    ones maximise the marginal likelihood, the curves integrated out. Without standard errors each observable's noise
    is its scatter about its curve.

    Attributes:
        curves: The master curves.
        theta: The parameters, shape (3 + observables,).
        free: Which of them were fitted.
        chi_square: Sum of squared weighted residuals of each observable.
        freedom: Degrees of freedom left to each observable.
        covariance: Of the free parameters, from the curvature of the likelihood.
        information: Bayesian information criterion (Schwarz 1978), each curve counted with its effective degrees of
            freedom; comparable between fits of the same data.
        unit: Lowest control and range of controls, the unit of c*.
    """

    curves: tuple[MasterCurve, ...]
    theta: Array
    free: NDArray[np.bool_]
    chi_square: Array
    freedom: Array
    covariance: Array
    information: float
    unit: tuple[float, float]

    @property
    def quality(self) -> float:
        """Reduced chi-square about the master curves."""
        return float(self.chi_square.sum() / self.freedom.sum())

    @property
    def unexplained(self) -> float:
        """Largest share of an observable's variance within sizes that its master curve leaves."""
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
        """Parameters fitted to data drawn from the curves, shape (count, 3 + observables).

        Args:
            count: Number of data sets.
            random: Source of randomness.
            place: (c*, κ, ln ω) of each data set where they are not free, shape (count, 3), count even. The second
                half of the noise is then the first half with its sign reversed (antithetic variates, Hammersley and
                Morton 1956): places that come in both halves have no correlation with it, not even by chance.

        Returns:
            The parameters.
        """
        theta = np.repeat(self.theta[None], count, axis=0)
        drawn_count = count if place is None else count // 2
        samples = []
        for k, curve in enumerate(self.curves):
            weighted = curve.weighted
            fitted = weighted - curve.linearise(_own(theta[:1], k), weighted[None]).residual[0, : len(weighted)]
            reduced, freedom = self.chi_square[k] / self.freedom[k], self.freedom[k]
            # An estimated noise is itself uncertain; a given one is raised where the curve does not fit.
            spread = max(reduced, 1.0)
            if not curve.known_se:
                uncertain = reduced * freedom / random.chisquare(freedom, (drawn_count, 1))
                spread = uncertain * _correlation(weighted - fitted)
            noise = np.sqrt(spread) * random.standard_normal((drawn_count, len(weighted)))
            samples.append(fitted + (noise if place is None else np.vstack([noise, -noise])))
        if place is not None:
            theta[:, :3] = place
        drawn = _ascend(self.curves, theta, samples, self.free, RESAMPLED_STEPS)[0]
        # The penalty was chosen from the data: its choice has a share in the error.
        curves = [
            curve.resmoothed(_own(drawn, k), sample)
            for k, (curve, sample) in enumerate(zip(self.curves, samples, strict=True))
        ]
        drawn = _ascend(curves, drawn, samples, self.free, RESAMPLED_STEPS)[0]
        # Data drawn from a smoothed curve do not know how far smoothing has moved it; the curvature of the marginal
        # likelihood, in which the curve is random, does (Nychka, J. Am. Stat. Assoc. 83, 1134, 1988).
        spread = np.sqrt(np.mean((drawn - self.theta) ** 2, axis=0))
        wider = np.sqrt(np.diag(self.covariance)) / np.maximum(spread, 1e-300)
        return self.theta + (drawn - self.theta) * np.where(self.free, np.maximum(wider, 1.0), 1.0)


def master_curves(curves: Mapping[str, Curves]) -> tuple[tuple[MasterCurve, ...], tuple[float, float]]:
    """Curves of several observables in one unit of control and size.

    Args:
        curves: Curves by name of the observable. A "binder" has no power of the size, a "specific_heat" a background.

    Returns:
        The master curves to be, and the lowest control and the range of controls, the unit.
    """
    low = min(one.control_range[0] for one in curves.values())
    width = max(one.control_range[1] for one in curves.values()) - low
    sizes = np.unique(np.round(np.concatenate([one.log_size + one.log_size_centre for one in curves.values()]), 9))
    centre = float(sizes.mean())
    found = []
    for name, one in curves.items():
        control = one.control_range[0] + one.control * (one.control_range[1] - one.control_range[0])
        found.append(
            MasterCurve(
                log_size=np.round(one.log_size + one.log_size_centre, 9) - centre,
                control=(control - low) / width,
                value=one.value,
                se=one.se,
                known_se=one.known_se,
                largest=float(sizes[-1]) - centre,
                ratio_free=name != "binder",
                background=name == "specific_heat",
            )
        )
    return tuple(found), (low, width)


def joint_collapse(
    curves: Sequence[MasterCurve],
    unit: tuple[float, float],
    *,
    corrected: bool = False,
    start: Array | None = None,
    fixed: Sequence[int] = (),
) -> JointCollapse:
    """Collapse several observables together.

    Args:
        curves: The observables.
        unit: Lowest control and range of controls.
        corrected: Whether the curves have a correction to scaling. Its ω is found with a prior: ln ω is normal
            about ln 0.7 with standard deviation 0.05. In volumes ω is 1/2 at the mean-field point, 2/5 to 1 in two
            dimensions; left free, corrections of higher order drive it to 0, where the correction takes the place
            of the law.
        start: Where to begin, shape (3 + observables,); a search over c*, κ and the ratios without it.
        fixed: Indices of parameters that keep the value they have in `start`.

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
            fitted = [one.smoothed(_own(theta, k), False) for k, one in enumerate(fitted)]
            fitted = [_reweighted(one, _own(theta, k)) for k, one in enumerate(fitted)]
            theta = _ascend(fitted, theta[None], [one.weighted[None] for one in fitted], plain, STEPS)[0][0]
        tried.append((_information(fitted, curves, theta)[0], theta, fitted))
    _, theta, fitted = min(tried, key=lambda one: one[0])
    curvature = np.eye(1)
    for _ in range(REFINEMENTS):
        fitted = [_reweighted(one, _own(theta, k)) for k, one in enumerate(fitted)]
        fitted = [one.smoothed(_own(theta, k), corrected) for k, one in enumerate(fitted)]
        found, curvature = _ascend(fitted, theta[None], [one.weighted[None] for one in fitted], free, STEPS)
        theta = found[0]
    information, chi_square, freedom = _information(fitted, curves, theta)
    information += free.sum() * np.log(sum(len(one.value) for one in curves))
    covariance = np.zeros((len(theta), len(theta)))
    inflation = max(1.0, chi_square.sum() / freedom.sum()) if any(one.known_se for one in curves) else 1.0
    if free.any():
        covariance[np.ix_(free, free)] = np.linalg.pinv(curvature[0]) * inflation
    return JointCollapse(tuple(fitted), theta, free, chi_square, freedom, covariance, float(information), unit)


def _own(theta: Array, k: int) -> Array:
    return theta[..., [0, 1, 2, 3 + k]]


def _correlation(residual: Array) -> float:
    """Factor (1 + c) / (1 - c) by which scatter of correlation c along the control counts for less."""
    # Deviations of exact data from the model are smooth: taken as independent they would give intervals too narrow.
    lag_one = float(residual[1:] @ residual[:-1] / max(residual @ residual, SMALLEST))
    return (1 + min(lag_one, 0.9)) / (1 - min(lag_one, 0.9)) if lag_one > 2 / np.sqrt(len(residual)) else 1.0


def _starts(curves: Sequence[MasterCurve]) -> list[Array]:
    """The best places of a grid over c* and κ, at each of which every observable has the best of nine ratios."""
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
    """Without standard errors: the scatter about the curve in their place."""
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
    """Schwarz's criterion of the curves, and chi-square and degrees of freedom left of each."""
    total, squares, left = 0.0, [], []
    count = sum(len(one.value) for one in given)
    for k, (curve, original) in enumerate(zip(fitted, given, strict=True)):
        fit = curve.linearise(_own(theta[None], k), curve.weighted[None])
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


def _ascend(
    curves: Sequence[MasterCurve], theta: Array, samples: Sequence[Array], free: NDArray[np.bool_], steps: int
) -> tuple[Array, Array]:
    """Maxima of the marginal likelihood of several data sets at once, by Levenberg and Marquardt's method.

    Args:
        curves: The observables, splines chosen.
        theta: Where to begin, shape (R, 3 + observables).
        samples: Weighted values of each observable, shape (R, n).
        free: Which parameters to move.
        steps: Most steps.

    Returns:
        The parameters and the curvature of the free ones, shape (R, free, free).
    """
    index = np.flatnonzero(free)
    if not len(index):
        return theta, np.zeros((len(theta), 0, 0))
    reach = np.full(len(curves), RATIO_BOUND)
    low, high = np.concatenate([LOW, -reach]), np.concatenate([HIGH, reach])

    def look(at: Array) -> tuple[Array, Array, Array]:
        cost, slope = np.zeros(len(at)), np.zeros(at.shape)
        curvature = np.zeros((len(at), at.shape[1], at.shape[1]))
        for k, (curve, sample) in enumerate(zip(curves, samples, strict=True)):
            own = [0, 1, 2, 3 + k]
            fit = curve.linearise(at[:, own], sample)
            cost += (fit.residual**2).sum(axis=1) + fit.log_determinant
            transposed = np.swapaxes(fit.jacobian, 1, 2)
            slope[:, own] += (transposed @ fit.residual[..., None])[..., 0] - fit.log_determinant_slope
            curvature[:, np.array(own)[:, None], own] += transposed @ fit.jacobian
        off = at[:, 2] - LOG_OMEGA
        cost += off**2 / LOG_OMEGA_SPREAD**2
        slope[:, 2] -= off / LOG_OMEGA_SPREAD**2
        curvature[:, 2, 2] += 1 / LOG_OMEGA_SPREAD**2
        return cost, slope[:, index], curvature[:, index[:, None], index]

    cost, slope, curvature = look(theta)
    damping = np.full(len(theta), 1e-4)
    identity = np.eye(len(index))
    for _ in range(steps):
        diagonal = np.einsum("rii->ri", curvature)
        scale = damping[:, None] * diagonal + 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-290
        trial = theta.copy()
        trial[:, index] += np.linalg.solve(curvature + scale[..., None] * identity, slope[..., None])[..., 0]
        trial = np.clip(trial, low, high)
        new_cost, new_slope, new_curvature = look(trial)
        better = new_cost <= cost
        settled = better & (cost - new_cost < SETTLED)
        theta = np.where(better[:, None], trial, theta)
        cost = np.where(better, new_cost, cost)
        slope[better], curvature[better] = new_slope[better], new_curvature[better]
        damping = np.where(better, damping / 10, damping * 10)
        if (settled | (damping > 1e8)).all():
            break
    return theta, curvature
