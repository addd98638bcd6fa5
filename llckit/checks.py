"""One helper for each check that many rooms make, with one form of error: `NAME is VALUE; expected …`."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import TypeGuard

import numpy as np

from llckit.errors import InputError

__all__ = ["check_bool", "check_integer", "check_number", "check_positive", "check_seed", "is_finite_number", "shown"]


def check_integer(name: str, value: object, least: int, hint: str = "") -> int:
    """Refuse what is not an integer, or too small.

    Args:
        name: What it is called, for the message.
        value: The value: an int, a NumPy integer or a 0-d integer tensor; not a bool.
        least: The smallest value allowed.
        hint: What to do, or what else is allowed, after "expected an integer >= …".

    Returns:
        The value as an int.

    Raises:
        InputError: It is not an integer, or below `least`.
    """
    number = None
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        try:
            number = operator.index(value)  # pyright: ignore[reportArgumentType]
        except TypeError:  # an array or a tensor that is no single integer
            number = None
    if number is None or number < least:
        raise InputError(f"{name} is {shown(value)}; expected an integer >= {least}{hint}")
    return number


def check_seed(value: object) -> int:
    """Refuse what cannot seed a generator.

    Args:
        value: An integer >= 0.

    Returns:
        The value as an int.

    Raises:
        InputError: It is not such an integer.
    """
    return check_integer("seed", value, 0)


def check_number(name: str, value: object, least: float | None = None, hint: str = "") -> float:
    """Refuse what is not a finite real number, or too small.

    Args:
        name: What it is called, for the message.
        value: The value: a float, an int or a NumPy number; not a bool.
        least: The smallest value allowed; None allows all.
        hint: What to do, or what else is allowed, after "expected a finite number".

    Returns:
        The value as a float.

    Raises:
        InputError: It is not a number, is NaN or infinite, or is below `least`.
    """
    if not is_finite_number(value) or (least is not None and value < least):
        bound = "" if least is None else f" >= {least:g}"
        raise InputError(f"{name} is {shown(value)}; expected a finite number{bound}{hint}")
    return float(value)


def check_positive(name: str, value: object, hint: str = "") -> float:
    """Refuse what is not a finite number above zero.

    Args:
        name: What it is called, for the message.
        value: The value: a float, an int or a NumPy number; not a bool.
        hint: What to do, or what else is allowed, after "expected a positive number".

    Returns:
        The value as a float.

    Raises:
        InputError: It is not a number, is NaN or infinite, or is not above zero.
    """
    if not is_finite_number(value) or value <= 0:
        raise InputError(f"{name} is {shown(value)}; expected a positive number{hint}")
    return float(value)


def check_bool(name: str, value: object) -> bool:
    """Refuse what is neither True nor False.

    Args:
        name: What it is called, for the message.
        value: The value.

    Returns:
        The value.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; expected True or False")
    return value


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, neither a bool nor NaN nor infinite."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: object) -> str:
    """A value as a message shows it: short ones as they are, of others the type."""
    if isinstance(value, np.generic):
        value = value.item()
    return repr(value) if isinstance(value, Real | str | None) else f"a {type(value).__name__}"
