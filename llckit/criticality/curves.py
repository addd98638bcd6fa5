"""Curves of one observable against a control, one per size: checked, scaled and compared."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError

__all__ = ["NODES", "Array", "Curves", "vector"]

Array = NDArray[np.float64]

MIN_SIZES = 2
NODES = 4  # controls of one size that carry its interpolation, hence also the fewest a size may have


@dataclass(frozen=True)
class Curves:
    """Measurements sorted by size and control, repeats averaged, in units in which a search is well scaled.

    The parameters of a collapse are `theta` = (place of the critical point in the control range, ln ν*, ratio).

    Attributes:
        log_size: ln size, centred on the mean over sizes so that powers of the size stay near 1, shape (n,).
        log_size_centre: That mean.
        control: Control from 0 to 1 over the whole range, shape (n,).
        value: The observable in units of its largest magnitude, shape (n,).
        scale: That magnitude.
        se: Standard errors of `value`, shape (n,); unless known, each size's standard deviation over its controls.
        known_se: Whether standard errors were given.
        group: Which size each measurement has, counted from 0, shape (n,).
        first: Index of the first measurement of each size, shape (sizes,).
        last: Index of the last measurement of each size, shape (sizes,).
        control_range: Lowest and highest control in its own unit.
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
        arrays = {
            "size": vector("size", size),
            "control": vector("control", control),
            "value": vector("value", value),
        }
        if value_se is not None:
            arrays["value_se"] = vector("value_se", value_se)
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"Lengths differ: {lengths}. Give one entry per measurement in every array.")
        for name in ("size", "value_se"):
            if name in arrays and not (arrays[name] > 0).all():
                raise InputError(f"{name} has the entry {arrays[name].min():g}, expected positive numbers.")
        sizes = np.unique(arrays["size"])
        if len(sizes) < MIN_SIZES:
            raise InputError(f"Got {len(sizes)} size, expected at least {MIN_SIZES}: measure at more sizes.")

        low, high = float(arrays["control"].min()), float(arrays["control"].max())
        # Controls that differ by rounding alone are repeats: interpolation cannot tell them apart.
        place = np.round((arrays["control"] - low) / ((high - low) or 1.0), 12)
        (size_of, place), repeat = np.unique(np.stack([arrays["size"], place]), axis=1, return_inverse=True)
        group = np.searchsorted(sizes, size_of)
        _check_ranges(sizes, [low + place[size_of == one] * (high - low) for one in sizes])

        scale = np.abs(arrays["value"]).max() or 1.0
        weight = np.ones(len(repeat)) if value_se is None else (scale / arrays["value_se"]) ** 2
        total = np.bincount(repeat, weight)
        mean = np.bincount(repeat, weight * (arrays["value"] / scale)) / total
        deviation = np.array([mean[size_of == one].std() for one in sizes])
        if (deviation == 0).any():
            raise InputError(
                f"The values of size {sizes[deviation == 0][0]:g} are constant and fix no exponent: widen the "
                "range of the control, or leave this size out."
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
        """The same without the smallest size; units stay as they are."""
        kept = self.group > 0
        return replace(
            self,
            **{name: getattr(self, name)[kept] for name in ("log_size", "control", "value", "se")},
            group=self.group[kept] - 1,
            first=self.first[1:] - self.first[1],
            last=self.last[1:] - self.first[1],
        )

    def growth(self) -> float:
        """Exponent of the root mean square value against size."""
        mean_square = np.bincount(self.group, self.value**2) / np.bincount(self.group)
        return float(np.polyfit(self.log_size[self.first], np.log(mean_square) / 2, 1)[0])

    def scaled_control(self, theta: Array) -> Array:
        """Scaled control x = (control - critical point) · size^(1/ν*), shape (n,), up to a factor common to all."""
        return (self.control - theta[0]) * np.exp(self.log_size * np.exp(-theta[1]))

    def size_factor(self, theta: Array) -> Array:
        """Factor size^ratio, shape (n,), up to a factor common to all."""
        return np.exp(theta[2] * self.log_size)

    def reach(self, x: Array) -> NDArray[np.bool_]:
        """Whether each scaled control lies in the range of each other size, shape (sizes, n)."""
        others = self.group != np.arange(len(self.first))[:, None]
        return others & (x >= x[self.first][:, None]) & (x <= x[self.last][:, None])

    def distance(self, theta: Array, value: Array) -> tuple[Array, Array]:
        """How far values lie from the master curve of the other sizes, where there is one.

        Args:
            theta: Parameters of the collapse.
            value: The observable, shape (n,).

        Returns:
            (y - Y)² / (dy² + dY²) and dY² / dy², each of the length of the values that can be compared.
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
        weight = np.ones_like(x_nodes)  # of the cubic through four points (Lagrange)
        for j in range(NODES):
            for k in range(NODES):
                if k != j:
                    weight[j] *= (x_nodes[k] - place) / (x_nodes[k] - x_nodes[j])
        precision = reach / (weight**2 * variance[nodes]).sum(axis=0)
        total = precision.sum(axis=0)
        compared = total > 0
        curve = (precision * (weight * y[nodes]).sum(axis=0)).sum(axis=0)[compared] / total[compared]
        curve_variance, own = 1 / total[compared], variance[compared]
        return (y[compared] - curve) ** 2 / (own + curve_variance), curve_variance / own


def vector(name: str, array: ArrayLike, missing: bool = False) -> Array:
    """Numbers, one per measurement.

    Args:
        name: What they are called in an error.
        array: The numbers, shape (n,).
        missing: Whether NaN is accepted.

    Returns:
        The numbers, shape (n,).

    Raises:
        InputError: They are no list of finite numbers.
    """
    numbers = np.asarray(array)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has shape {numbers.shape} and type {numbers.dtype}, expected a list of numbers, one entry per "
            "measurement."
        )
    numbers = numbers.astype(np.float64)
    wrong = np.isinf(numbers) if missing else ~np.isfinite(numbers)
    if wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{name}[{where}] is {numbers[where]}, expected finite numbers: drop that measurement.")
    return numbers


def _check_ranges(sizes: Array, controls: list[Array]) -> None:
    for size, control in zip(sizes, controls, strict=True):
        if len(control) < NODES:
            raise InputError(
                f"Size {size:g} has {len(control)} different control value(s), expected at least {NODES}: measure "
                "more of them, or leave this size out."
            )
    starts, ends = np.array([c.min() for c in controls]), np.array([c.max() for c in controls])
    if starts.max() >= ends.min():
        raise InputError(
            f"The control ranges of the sizes do not overlap: size {sizes[starts.argmax()]:g} starts at "
            f"{starts.max():g}, size {sizes[ends.argmin()]:g} ends at {ends.min():g}. Measure all sizes around the "
            "same transition."
        )
