"""Curves of one observable against a control, one per size: checked, scaled and compared."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.criticality.arrays import Array, check_equal_lengths, check_numbers, check_positive_entries
from llckit.errors import InputError

__all__ = ["FEWEST_CONTROLS", "Curves"]

FEWEST_SIZES = 2
NODES = 4  # points of one size that carry its interpolation, a cubic
FEWEST_CONTROLS = NODES  # of one size


@dataclass(frozen=True)
class Curves:
    """Measurements sorted by size and control, repeats averaged, in units that keep a search well scaled.

    The parameters of a collapse are `theta` = (place of the critical point in the control range, ln ν*, ratio).

    Attributes:
        log_size: ln size minus its mean over sizes, which keeps powers of the size near 1, shape (n,).
        log_size_centre: The mean of ln size over sizes.
        control: Control, from 0 to 1 over the whole range, shape (n,).
        value: The observable, in units of its largest magnitude, shape (n,).
        scale: The largest magnitude of the observable, in its own unit.
        se: Standard errors of `value`, shape (n,). If none were given: each size's standard deviation over its
            controls.
        known_se: Whether standard errors were given.
        group: Index of the size of each measurement, shape (n,).
        first: Index of the first measurement of each size, shape (sizes,).
        last: Index of the last measurement of each size, shape (sizes,).
        control_range: Lowest and highest control, in their own unit.
    """

    log_size: Array
    log_size_centre: float
    control: Array
    value: Array
    scale: float
    se: Array
    known_se: bool
    group: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    control_range: tuple[float, float]

    @classmethod
    def from_input(cls, size: ArrayLike, control: ArrayLike, value: ArrayLike, value_se: ArrayLike | None) -> "Curves":
        """Check the measurements, one entry each, and sort them into curves.

        Args:
            size: Sizes, shape (n,).
            control: Controls, shape (n,).
            value: Values, shape (n,).
            value_se: Standard errors, shape (n,), or None.

        Returns:
            The curves.

        Raises:
            InputError: The arrays do not describe curves at several sizes that can be compared.
        """
        given = {"size": size, "control": control, "value": value}
        given |= {} if value_se is None else {"value_se": value_se}
        arrays = {name: check_numbers(name, numbers) for name, numbers in given.items()}
        check_equal_lengths(arrays)
        for name in ("size", "value_se"):
            if name in arrays:
                check_positive_entries(name, arrays[name])
        sizes = np.unique(arrays["size"])
        if len(sizes) < FEWEST_SIZES:
            raise InputError(f"size has {len(sizes)} different entry; expected at least {FEWEST_SIZES}")

        low, high = float(arrays["control"].min()), float(arrays["control"].max())
        # Controls that differ only by rounding count as repeats: interpolation cannot tell them apart.
        place = np.round((arrays["control"] - low) / ((high - low) or 1.0), 12)
        (size_of, place), repeat = np.unique(np.stack([arrays["size"], place]), axis=1, return_inverse=True)
        group = np.searchsorted(sizes, size_of)
        _check_ranges(sizes, [low + place[size_of == one] * (high - low) for one in sizes])

        scale = np.abs(arrays["value"]).max() or 1.0
        weight = (scale / arrays["value_se"]) ** 2 if "value_se" in arrays else np.ones(len(repeat))
        total = np.bincount(repeat, weight)
        mean = np.bincount(repeat, weight * (arrays["value"] / scale)) / total
        deviation = np.array([mean[size_of == one].std() for one in sizes])
        if (deviation == 0).any():
            raise InputError(
                f"value is constant at size {sizes[deviation == 0][0]:g}; expected values that change with the "
                "control; widen its range, or leave this size out"
            )
        return cls(
            log_size=np.log(size_of) - np.log(sizes).mean(),
            log_size_centre=float(np.log(sizes).mean()),
            control=place,
            value=mean,
            scale=float(scale),
            se=(deviation[group] if value_se is None else 1.0) / np.sqrt(total),
            known_se=value_se is not None,
            group=group,
            first=np.searchsorted(group, np.arange(len(sizes))),
            last=np.searchsorted(group, np.arange(len(sizes)), side="right") - 1,
            control_range=(low, high),
        )

    def without_smallest(self) -> "Curves":
        """These curves without the smallest size; the units stay as they are."""
        kept = self.group > 0
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in ("log_size", "control", "value", "se")},
            group=self.group[kept] - 1,
            first=self.first[1:] - self.first[1],
            last=self.last[1:] - self.first[1],
        )

    def growth(self) -> float:
        """Exponent of the size in the root mean square of the values."""
        mean_square = np.bincount(self.group, self.value**2) / np.bincount(self.group)
        return float(np.polyfit(self.log_size[self.first], np.log(mean_square) / 2, 1)[0])

    def scaled_control(self, theta: Array) -> Array:
        """Scaled control x = (control - critical point) · size^(1/ν*), up to a common factor, shape (n,)."""
        return (self.control - theta[0]) * np.exp(self.log_size * np.exp(-theta[1]))

    def size_factor(self, theta: Array) -> Array:
        """Factor size^ratio, up to a common factor, shape (n,)."""
        return np.exp(theta[2] * self.log_size)

    def reach(self, x: Array) -> NDArray[np.bool_]:
        """Whether each scaled control lies in the range of each other size, shape (sizes, n)."""
        others = self.group != np.arange(len(self.first))[:, None]
        return others & (x >= x[self.first][:, None]) & (x <= x[self.last][:, None])

    def distance(self, theta: Array, value: Array) -> tuple[Array, Array]:
        """Squared distance of each value from the master curve of the other sizes, in units of its variance.

        At each value, every other size that reaches there gives a cubic through its four nearest points (Lagrange).
        The master curve Y is the mean of these cubics with inverse variances.

        Args:
            theta: Parameters of the collapse, shape (3,).
            value: The observable, shape (n,).

        Returns:
            (y - Y)² / (dy² + dY²) and dY² / dy² of the values that some other size reaches, each shape (compared,).
        """
        x, factor = self.scaled_control(theta), self.size_factor(theta)
        y, variance = value / factor, (self.se / factor) ** 2
        reach = self.reach(x)
        place = np.minimum(np.maximum(x, x[self.first][:, None]), x[self.last][:, None])
        start = np.empty(place.shape, dtype=np.int64)
        for i, (a, b) in enumerate(zip(self.first, self.last + 1, strict=True)):
            start[i] = x[a:b].searchsorted(x, side="right") + (a - NODES // 2)
        start = np.minimum(np.maximum(start, self.first[:, None]), self.last[:, None] + (1 - NODES))
        nodes = start + np.arange(NODES)[:, None, None]
        x_nodes = x[nodes]
        pairs = (NODES, NODES, *place.shape)
        factors = np.ones(pairs)
        others = ~np.eye(NODES, dtype=bool)[:, :, None, None]
        np.divide(x_nodes[:, None] - place, x_nodes[:, None] - x_nodes, out=factors, where=others)
        weight = factors.prod(axis=0)  # of each point in the cubic
        precision = reach / (weight**2 * variance[nodes]).sum(axis=0)
        total = precision.sum(axis=0)
        compared = total > 0
        curve = (precision * (weight * y[nodes]).sum(axis=0)).sum(axis=0)[compared] / total[compared]
        curve_variance, own = 1 / total[compared], variance[compared]
        return (y[compared] - curve) ** 2 / (own + curve_variance), curve_variance / own


def _check_ranges(sizes: Array, controls: list[Array]) -> None:
    for size, control in zip(sizes, controls, strict=True):
        if len(control) < FEWEST_CONTROLS:
            raise InputError(
                f"control has {len(control)} different value(s) at size {size:g}; expected at least {FEWEST_CONTROLS}; "
                "measure at more of them, or leave this size out"
            )
    starts, ends = np.array([c.min() for c in controls]), np.array([c.max() for c in controls])
    if starts.max() >= ends.min():
        raise InputError(
            f"control starts at {starts.max():g} for size {sizes[starts.argmax()]:g} and ends at {ends.min():g} for "
            f"size {sizes[ends.argmin()]:g}; expected ranges that overlap; measure all sizes around the same transition"
        )
