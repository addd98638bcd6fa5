"""Finite-size scaling: critical point and exponents from the collapse of curves measured at several sizes."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_array

from llckit.errors import InputError

__all__ = ["FiniteSizeScaling", "finite_size_scaling"]

Array = NDArray[np.float64]

MIN_SIZES = 2
NODES = 4  # controls of one size that carry its interpolation, hence also the fewest a size may have
NU_STAR_RANGE = (0.1, 50.0)
RATIO_REACH = 3.0  # searched on both sides of the growth of the values themselves
GRID = (13, 10, 13)
WALKERS = 40
SETTLING_ROUNDS = 60
CANDIDATE_ROUNDS = 60
SPREAD = 8.0  # temperature of the candidates: resampled minima must not lie outside their cloud
RESAMPLES = 400
ROUNDING = 1e-28  # S of curves that agree to double precision


@dataclass(frozen=True)
class FiniteSizeScaling:
    """A data collapse `value ~ size^ratio · f((control - critical_point) · size^(1/nu_star))`.

    Intervals are central 95 % bootstrap intervals (low, high).

    Attributes:
        critical_point: Where the transition happens, in units of the control.
        nu_star: Exponent ν* of the size: the critical region narrows as `size^(-1/ν*)`. With a volume as size it
            is the volume exponent (dν below the upper critical dimension), with a length it is ν.
        ratio: Growth of the value at the critical point, `size^ratio`: -β/ν* for an order parameter, γ/ν* for a
            susceptibility, α/ν* for a specific heat, 0 for a Binder cumulant.
        quality: Reduced chi-square S about the master curve. With standard errors about 1 for a good collapse
            and well above 1 for a bad one. Without them in units of each size's variance: 0 is perfect, 1 is none.
        critical_point_interval: Interval of `critical_point`.
        nu_star_interval: Interval of `nu_star`.
        ratio_interval: Interval of `ratio`.
        quality_interval: Interval of `quality`.
        undetermined: Names of the parameters whose interval touches the end of what was searched; the data do
            not fix them. Searched are the range of the controls, ν* from 0.1 to 50, and ratios within 3 of the
            growth of the root mean square value with size.
    """

    critical_point: float
    nu_star: float
    ratio: float
    quality: float
    critical_point_interval: tuple[float, float]
    nu_star_interval: tuple[float, float]
    ratio_interval: tuple[float, float]
    quality_interval: tuple[float, float]
    undetermined: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The attributes as plain Python values, ready for JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


def finite_size_scaling(
    *,
    size: ArrayLike,
    control: ArrayLike,
    value: ArrayLike,
    value_se: ArrayLike | None = None,
    seed: int = 0,
) -> FiniteSizeScaling:
    """Collapse one observable, measured at several sizes, onto one curve.

    Near a continuous transition at c*, `value = size^ratio · f(x)` with `x = (control - c*) · size^(1/ν*)` and a
    function f shared by all sizes. The quality of a collapse is that of Houdayer and Hartmann (Phys. Rev. B 70,
    014418, 2004), a reduced chi-square about a master curve which the other sizes make:

        S = mean over i of (y_i - Y_i)² / (dy_i² + dY_i²),    y = value / size^ratio.

    Y_i and dY_i come from every other size whose range contains x_i. They draw one line through the points
    around x_i; here each size is interpolated by a cubic and the interpolations are averaged with their inverse
    variances: S is then continuous and its minimum is not moved by the curvature of f.

    S is minimised over (c*, ν*, ratio) by a grid, an affine-invariant ensemble (Goodman and Weare 2010) and
    Nelder-Mead. The intervals are those of a parametric bootstrap: 400 data sets made of the fitted master curve
    and Gaussian noise with the given standard errors, raised by √S where S > 1. Without standard errors the noise
    is the scatter about the master curve, taken proportional to each size's standard deviation over its controls.
    Intervals hold statistical errors only: corrections to scaling shift the estimates, visibly so when leaving
    out the smallest size moves them.

    Args:
        size: Size of the system of each measurement, shape (n,), positive. At least 2 sizes; with 3 or more the
            master curve is tested and not just fitted.
        control: Control parameter of each measurement, shape (n,). At least 4 different values per size, on
            ranges that all sizes share in part.
        value: The observable, shape (n,). Repeats at the same size and control are averaged.
        value_se: Standard error of each value, shape (n,), positive.
        seed: Seed of the search and of the bootstrap.

    Returns:
        The collapse with its intervals.

    Raises:
        InputError: The arrays do not describe curves at several sizes that can be compared.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed is {seed!r}, expected a non-negative integer.")
    curves = _Curves.from_input(size, control, value, value_se)
    random = np.random.default_rng(seed)
    best, candidates = _search(curves, random)
    quality = curves.deviance(best)[1]
    resampled = _bootstrap(curves, best, candidates, random)

    low, high = curves.bounds()
    interval_low, interval_high = np.quantile(resampled, [0.025, 0.975], axis=0)
    margin = 1e-2 * (high - low)
    touches = (interval_low[:3] < low + margin) | (interval_high[:3] > high - margin)
    names = ("critical_point", "nu_star", "ratio")
    point, lower, upper = (curves.to_units(theta) for theta in (best, interval_low, interval_high))
    intervals = [(float(a), float(b)) for a, b in zip(lower, upper, strict=True)]
    return FiniteSizeScaling(
        critical_point=float(point[0]),
        nu_star=float(point[1]),
        ratio=float(point[2]),
        quality=quality,
        critical_point_interval=intervals[0],
        nu_star_interval=intervals[1],
        ratio_interval=intervals[2],
        quality_interval=(float(interval_low[3]), float(interval_high[3])),
        undetermined=tuple(name for name, touched in zip(names, touches, strict=True) if touched),
    )


@dataclass(frozen=True)
class _Curves:
    """The measurements, sorted by size and control; theta = (place of c* in the control range, ln ν*, ratio)."""

    log_size: Array  # centred, so that powers of the size stay near 1
    control: Array  # 0 to 1 over the whole range
    value: Array
    se: Array
    known_se: bool
    first: NDArray[np.int64]  # index of the first measurement of each size
    count: NDArray[np.int64]
    group: NDArray[np.int64]  # which size each measurement has
    control_range: tuple[float, float]

    @classmethod
    def from_input(cls, size: ArrayLike, control: ArrayLike, value: ArrayLike, value_se: ArrayLike | None) -> "_Curves":
        """Check the input and average repeats."""
        arrays = {"size": _vector("size", size), "control": _vector("control", control)}
        arrays["value"] = _vector("value", value)
        if value_se is not None:
            arrays["value_se"] = _vector("value_se", value_se)
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"Lengths differ: {lengths}. Give one entry per measurement in every array.")
        for name in ("size", "value_se"):
            if name in arrays and not (arrays[name] > 0).all():
                raise InputError(f"{name} has the entry {arrays[name].min():g}, expected positive numbers.")
        sizes = np.unique(arrays["size"])
        if len(sizes) < MIN_SIZES:
            raise InputError(f"Got {len(sizes)} size(s), expected at least {MIN_SIZES}: measure at more sizes.")

        low, high = float(arrays["control"].min()), float(arrays["control"].max())
        # Controls that differ by rounding alone are repeats: interpolation cannot tell them apart.
        place = np.round((arrays["control"] - low) / max(high - low, np.finfo(float).tiny), 12)
        key, index = np.unique(np.stack([arrays["size"], place]), axis=1, return_inverse=True)
        group_size, group_control = key
        _check_ranges(sizes, group_size, low + group_control * (high - low))

        # Quality and exponents do not depend on the unit of the values.
        scale = max(float(np.abs(arrays["value"]).max()), np.finfo(float).tiny)
        weight = np.ones(len(index)) if value_se is None else (scale / arrays["value_se"]) ** 2
        total = np.bincount(index, weight)
        mean = np.bincount(index, weight * (arrays["value"] / scale)) / total
        for one in sizes:
            if np.ptp(mean[group_size == one]) == 0:
                raise InputError(
                    f"The values of size {one:g} are constant and fix no exponent: widen the range of the "
                    "control, or leave this size out."
                )
        first = np.searchsorted(group_size, sizes)
        se = 1 / np.sqrt(total)
        if value_se is None:
            deviation = np.array([mean[group_size == one].std() for one in sizes])
            se = se * deviation[np.searchsorted(sizes, group_size)]
        return cls(
            log_size=np.log(group_size) - np.log(sizes).mean(),
            control=group_control,
            value=mean,
            se=se,
            known_se=value_se is not None,
            first=first,
            count=np.diff(np.append(first, len(mean))),
            group=np.searchsorted(sizes, group_size),
            control_range=(low, high),
        )

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest theta searched."""
        rms = np.sqrt(np.add.reduceat(self.value**2, self.first) / self.count)
        growth = np.polyfit(self.log_size[self.first], np.log(rms), 1)[0]
        low = np.array([0.0, np.log(NU_STAR_RANGE[0]), growth - RATIO_REACH])
        return low, np.array([1.0, np.log(NU_STAR_RANGE[1]), growth + RATIO_REACH])

    def to_units(self, theta: Array) -> Array:
        """(critical_point, nu_star, ratio) of a theta."""
        low, high = self.control_range
        return np.array([low + theta[0] * (high - low), np.exp(theta[1]), theta[2]])

    def master_curve(self, theta: Array) -> tuple[NDArray[np.int64], Array, Array, Array]:
        """The master curve at every measurement, as a linear map of the scaled values.

        Args:
            theta: Parameters of the collapse.

        Returns:
            Indices and coefficients of the values that make Y, both (nodes, sizes, n); dY², infinite where no
            other size reaches; and the factor of value that gives y, both (n,).
        """
        x = (self.control - theta[0]) * np.exp(self.log_size * np.exp(-theta[1]))
        factor = np.exp(-theta[2] * self.log_size)
        n, sizes = len(x), len(self.first)
        last = self.first + self.count - 1
        place = np.minimum(np.maximum(x, x[self.first][:, None]), x[last][:, None])
        start = np.empty((sizes, n), dtype=np.int64)
        for i, (a, b) in enumerate(zip(self.first, last + 1, strict=True)):
            start[i] = x[a:b].searchsorted(x, side="right") + (a - NODES // 2)
        start = np.minimum(np.maximum(start, self.first[:, None]), last[:, None] + (1 - NODES))
        use = (place == x) & (self.group != np.arange(sizes)[:, None])
        nodes = start + np.arange(NODES)[:, None, None]
        x_nodes = x[nodes]
        coefficient = np.ones_like(x_nodes)
        for j in range(NODES):
            for k in range(NODES):
                if k != j:
                    coefficient[j] *= (x_nodes[k] - place) / (x_nodes[k] - x_nodes[j])
        precision = use / (coefficient**2 * ((self.se * factor) ** 2)[nodes]).sum(axis=0)
        total = precision.sum(axis=0)
        reached = total > 0
        coefficient *= precision / np.where(reached, total, 1)
        return nodes, coefficient, np.divide(1, total, out=np.full(n, np.inf), where=reached), factor

    def deviance(self, theta: Array) -> tuple[float, float]:
        """What is minimised, log S + mean log(1 + dY²/dy²), and S; infinite with fewer than half compared."""
        nodes, coefficient, variance, factor = self.master_curve(theta)
        compared = np.isfinite(variance)
        if 2 * compared.sum() < len(factor):
            return np.inf, np.inf
        y = self.value * factor
        distance = (y - (coefficient * y[nodes]).sum(axis=(0, 1)))[compared] ** 2
        own, variance = ((self.se * factor) ** 2)[compared], variance[compared]
        quality = float(np.mean(distance / (own + variance)))
        return float(np.log(max(quality, 1e-200)) + np.mean(np.log1p(variance / own))), quality

    def standardised_distance(self, theta: Array) -> csr_array:
        """The map from values to (y - Y) / √(dy² + dY²), for many data sets at once; S is its mean square."""
        nodes, coefficient, variance, factor = self.master_curve(theta)
        n = len(factor)
        columns = np.concatenate([np.arange(n)[None], nodes.reshape(-1, n)])
        entries = np.concatenate([np.ones((1, n)), -coefficient.reshape(-1, n)]) * factor[columns]
        entries /= np.sqrt((self.se * factor) ** 2 + variance)
        compared = np.isfinite(variance)
        rows = compared.sum()
        data, indices = entries[:, compared].T.ravel(), columns[:, compared].T.ravel()
        return csr_array((data, indices, np.arange(rows + 1) * len(columns)), shape=(rows, n)), float(np.mean(np.log1p(variance / (self.se * factor) ** 2)[compared]))


def _vector(name: str, array: ArrayLike) -> Array:
    vector = np.asarray(array)
    if vector.ndim != 1 or vector.size == 0 or vector.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has shape {vector.shape} and type {vector.dtype}, expected a list of numbers, one entry "
            "per measurement."
        )
    vector = vector.astype(np.float64)
    if not np.isfinite(vector).all():
        where = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise InputError(f"{name}[{where}] is {vector[where]}, expected finite numbers: drop that measurement.")
    return vector


def _check_ranges(sizes: Array, size: Array, control: Array) -> None:
    ranges = {float(one): control[size == one] for one in sizes}
    for one, controls in ranges.items():
        if len(controls) < NODES:
            raise InputError(
                f"Size {one:g} has {len(controls)} different control value(s), expected at least {NODES}: "
                "measure more of them, or leave this size out."
            )
    start = max(ranges, key=lambda one: ranges[one].min())
    end = min(ranges, key=lambda one: ranges[one].max())
    if ranges[start].min() >= ranges[end].max():
        raise InputError(
            f"The control ranges of the sizes do not overlap: size {start:g} starts at {ranges[start].min():g}, "
            f"size {end:g} ends at {ranges[end].max():g}. Measure all sizes around the same transition."
        )


def _search(curves: _Curves, random: np.random.Generator) -> tuple[Array, Array]:
    """Minimise S: the best theta, and candidates (m, 3) for the minima of resampled data.

    In noisy data S has many shallow local minima, so that one descent stops near its start. The ensemble samples
    exp(-n S / 2T) instead, with a temperature T at which it covers the region where resampled minima lie.
    """
    low, high = curves.bounds()
    axes = [np.linspace(a, b, m + 2)[1:-1] for a, b, m in zip(low, high, GRID, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    step = np.array([axis[1] - axis[0] for axis in axes])
    deviances = np.array([curves.deviance(theta)[0] for theta in grid])
    if not np.isfinite(deviances).any():
        raise InputError(
            "Wherever the critical point is put, fewer than half of the measurements lie in the range of another "
            "size: measure the sizes at controls that overlap more."
        )
    order = np.argsort(deviances)
    best, least = grid[order[0]], deviances[order[0]]
    # Off the grid, for the ensemble never leaves the plane that its walkers start in.
    position = grid[order[:WALKERS]] + step * random.uniform(-0.5, 0.5, (WALKERS, 3))
    deviance = np.array([curves.deviance(theta)[0] for theta in position])

    candidates = []
    for sweep in range(SETTLING_ROUNDS + CANDIDATE_ROUNDS):
        for half in (np.arange(WALKERS) < WALKERS // 2, np.arange(WALKERS) >= WALKERS // 2):
            others = np.flatnonzero(~half)
            for walker in np.flatnonzero(half):
                stretch = (1 + random.random()) ** 2 / 2
                partner = position[random.choice(others)]
                proposal = partner + stretch * (position[walker] - partner)
                level = np.log(random.random())
                if (proposal < low).any() or (proposal > high).any():
                    continue
                proposed = curves.deviance(proposal)[0]
                if not np.isfinite(proposed):
                    continue
                if proposed < least:
                    best, least = proposal, proposed
                gain = len(curves.value) * (deviance[walker] - proposed) / (2 * SPREAD)
                if 2 * np.log(stretch) + gain > level:
                    position[walker], deviance[walker] = proposal, proposed
                    if sweep >= SETTLING_ROUNDS:
                        candidates.append(proposal)
    start = best + np.vstack([np.zeros(3), np.diag(position.std(axis=0) / 10)])
    found = minimize(
        lambda theta: curves.deviance(theta)[0],
        best,
        method="Nelder-Mead",
        options={"initial_simplex": start, "xatol": 1e-9, "fatol": 1e-12},
    )
    return found.x, np.array([found.x, *candidates])


def _bootstrap(curves: _Curves, best: Array, candidates: Array, random: np.random.Generator) -> Array:
    """Theta and S, (resamples, 4), of data sets drawn from the fitted master curve."""
    nodes, coefficient, variance, factor = curves.master_curve(best)
    y, own = curves.value * factor, (curves.se * factor) ** 2
    curve = (coefficient * y[nodes]).sum(axis=(0, 1))
    fitted = (y + own / (own + variance) * (curve - y)) / factor
    quality = curves.deviance(best)[1]
    inflation = max(quality, 1.0) if curves.known_se else quality
    noise = random.standard_normal((len(y), RESAMPLES)) * (curves.se * np.sqrt(inflation))[:, None]
    values = fitted[:, None] + noise

    result = np.empty((RESAMPLES, 4))
    least = np.full(RESAMPLES, np.inf)
    for theta in candidates:
        distance, penalty = curves.standardised_distance(theta)
        quality = np.mean((distance @ values) ** 2, axis=0)
        deviance = np.log(np.maximum(quality, 1e-200)) + penalty
        better = deviance < least
        least[better] = deviance[better]
        result[better] = np.append(theta, 0)
        result[better, 3] = quality[better]
    return result
