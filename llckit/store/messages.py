"""What other libraries and the system said, as part of a sentence."""

import re

__all__ = ["one_line", "system_error"]


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
