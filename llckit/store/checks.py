"""Two small things that every file of the store needs."""

import operator
import re

from llckit.errors import InputError

__all__ = ["one_line", "system_error", "whole_number"]


def whole_number(what: str, value: object, least: int = 0) -> int:
    """Check that a value is an integer (Python, numpy or a 0-d tensor; not a bool) and large enough.

    Args:
        what: What it is, for the error.
        value: The value.
        least: The smallest value allowed.

    Returns:
        It as an int.

    Raises:
        InputError: It is not an integer, or too small.
    """
    number = None
    if not isinstance(value, bool) and hasattr(value, "__index__"):
        try:
            number = operator.index(value)  # pyright: ignore[reportArgumentType]
        except TypeError:
            number = None
    if number is None or number < least:
        given = repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
        raise InputError(f"{what} is {given}, but it must be an integer of at least {least}")
    return number


def one_line(error: Exception) -> str:
    """Shorten an error of another library to what fits into a sentence.

    Args:
        error: The error.

    Returns:
        The first line of its message, or the name of its type if it has none.
    """
    message = error.args[0] if isinstance(error, KeyError) and error.args else error  # str(KeyError) has quotes
    return next(iter(str(message).splitlines()), "") or type(error).__name__


def system_error(error: Exception) -> str | None:
    """What the system said where HDF5 failed because of it; h5py hands this on within its message alone.

    Args:
        error: Whatever h5py raised.

    Returns:
        Such as "No space left on device", or None if the system is not to blame.
    """
    found = re.search(r"error message = '([^']+)'", str(error))
    return found[1] if found else None
