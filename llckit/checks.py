"""Checks of arguments that many rooms need, one function each.

Every check returns the value, or raises `InputError` with one form of message: `NAME is VALUE; expected WHAT`.
"""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import TypeGuard, TypeVar

import numpy as np

from llckit.errors import InputError

__all__ = [
    "check_bool",
    "check_instance",
    "check_integer",
    "check_number",
    "check_positive",
    "check_seed",
    "check_step",
    "is_finite_number",
    "shown",
]

T = TypeVar("T")

STEP_BOUND = 2**53  # curves, tables and detectors hold steps as floating-point numbers


def check_integer(name: str, value: object, least: int, hint: str = "") -> int:
    """Check that a value is an integer and not too small.

    Args:
        name: Name of the argument, for the message.
        value: An int, a NumPy integer or a 0-d integer tensor; a bool is refused.
        least: The smallest value allowed.
        hint: What else is allowed, or what to do; it follows "expected an integer >= …" in the message.

    Returns:
        The value as an int.

    Raises:
        InputError: The value is not an integer, or is below `least`.
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
    """Check that a value can seed a random generator.

    Args:
        value: An integer >= 0.

    Returns:
        The value as an int.

    Raises:
        InputError: The value is not an integer >= 0.
    """
    return check_integer("seed", value, 0)


def check_step(value: object) -> int:
    """Check that a value is a training step that can be saved.

    Args:
        value: An integer >= 0 and below 2^53.

    Returns:
        The value as an int.

    Raises:
        InputError: The value is not such an integer.
    """
    step = check_integer("step", value, 0)
    if step >= STEP_BOUND:
        raise InputError(f"step is {step}; expected one below 2^53, exact in every table; count steps, not nanoseconds")
    return step


def check_number(name: str, value: object, least: float | None = None, hint: str = "") -> float:
    """Check that a value is a finite real number and not too small.

    Args:
        name: Name of the argument, for the message.
        value: A float, an int or a NumPy number; a bool is refused.
        least: The smallest value allowed; None allows every finite number.
        hint: What else is allowed, or what to do; it follows "expected a finite number" in the message.

    Returns:
        The value as a Python number; an int stays one, since it may be part of a key under which results are kept.

    Raises:
        InputError: The value is not a number, is NaN or infinite, or is below `least`.
    """
    if not is_finite_number(value) or (least is not None and value < least):
        bound = "" if least is None else f" >= {least:g}"
        raise InputError(f"{name} is {shown(value)}; expected a finite number{bound}{hint}")
    return value if isinstance(value, int | float) else float(value)


def check_positive(name: str, value: object, hint: str = "") -> float:
    """Check that a value is a finite number above zero.

    Args:
        name: Name of the argument, for the message.
        value: A float, an int or a NumPy number; a bool is refused.
        hint: What else is allowed, or what to do; it follows "expected a positive number" in the message.

    Returns:
        The value as a Python number; an int stays one, since it may be part of a key under which results are kept.

    Raises:
        InputError: The value is not a number, is NaN or infinite, or is not above zero.
    """
    if not is_finite_number(value) or value <= 0:
        raise InputError(f"{name} is {shown(value)}; expected a positive number{hint}")
    return value if isinstance(value, int | float) else float(value)


def check_bool(name: str, value: object) -> bool:
    """Check that a value is True or False.

    Args:
        name: Name of the argument, for the message.
        value: True or False.

    Returns:
        The value.

    Raises:
        InputError: The value is something else.
    """
    if not isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; expected True or False")
    return value


def check_instance(name: str, value: object, kind: type[T], hint: str = "") -> T:
    """Check that a value is an instance of a class.

    Args:
        name: Name of the argument, for the message.
        value: The value.
        kind: The class.
        hint: What else is allowed, or what to do; it follows the name of the class in the message.

    Returns:
        The value.

    Raises:
        InputError: The value is an instance of another class.
    """
    if not isinstance(value, kind):
        raise InputError(f"{name} is {shown(value)}; expected a {kind.__name__}{hint}")
    return value


def is_finite_number(value: object) -> TypeGuard[float]:
    """Whether a value is a finite real number; a bool, NaN and infinities are none."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def shown(value: object) -> str:
    """A value as error messages show it: numbers, strings and None in full, everything else by its type."""
    if isinstance(value, np.generic):
        value = value.item()
    return repr(value) if isinstance(value, Real | str | None) else f"a {type(value).__name__}"
