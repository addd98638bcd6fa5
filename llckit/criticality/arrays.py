"""Arrays of measurements, as every part of this room takes them: lists of numbers, one entry per measurement."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llckit.errors import InputError

__all__ = ["Array", "check_equal_lengths", "check_numbers", "check_positive_entries"]

Array = NDArray[np.float64]


def check_numbers(name: str, values: ArrayLike, *, missing: bool = False) -> Array:
    """Refuse what is not a list of finite numbers.

    Args:
        name: Name of the list, for the message.
        values: Numbers, shape (n,).
        missing: Whether NaN is accepted, for a measurement that was not made.

    Returns:
        The numbers as float64, shape (n,).

    Raises:
        InputError: The shape or the type is another, or an entry is not finite.
    """
    numbers = np.asarray(values)
    if numbers.ndim != 1 or numbers.size == 0 or numbers.dtype.kind not in "iuf":
        raise InputError(
            f"{name} has shape {numbers.shape} and type {numbers.dtype}; expected a list of numbers, one for each "
            "measurement"
        )
    numbers = numbers.astype(np.float64)
    wrong = np.isinf(numbers) if missing else ~np.isfinite(numbers)
    if wrong.any():
        where = int(np.flatnonzero(wrong)[0])
        raise InputError(f"{name}[{where}] is {numbers[where]}; expected a finite number; drop that measurement")
    return numbers


def check_positive_entries(name: str, numbers: Array) -> None:
    """Refuse numbers that are not all above zero.

    Args:
        name: Name of the list, for the message.
        numbers: Finite numbers, shape (n,).

    Raises:
        InputError: An entry is zero or negative.
    """
    if not (numbers > 0).all():
        raise InputError(f"{name} has the entry {numbers.min():g}; expected positive numbers")


def check_equal_lengths(arrays: Mapping[str, Array]) -> None:
    """Refuse lists of different lengths.

    Args:
        arrays: Lists by the name that a message calls them.

    Raises:
        InputError: The lengths differ.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InputError(f"{shown} entries; expected equal lengths, one entry per measurement")
