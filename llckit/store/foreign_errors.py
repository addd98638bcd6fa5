"""What other libraries and the system said, as part of a message of ours."""

import re

__all__ = ["one_line", "system_error"]


def one_line(error: Exception) -> str:
    """Shorten the error of another library to one line.

    Args:
        error: The error.

    Returns:
        The first line of its message, or the name of its type if it has no message.
    """
    message = error.args[0] if isinstance(error, KeyError) and error.args else error  # str(KeyError) adds quotes
    return next(iter(str(message).splitlines()), "") or type(error).__name__


def system_error(error: Exception) -> str | None:
    """What the system said, if HDF5 failed because of it. h5py passes this on only within its message.

    Args:
        error: An error that h5py raised.

    Returns:
        The reason, such as "No space left on device", or None if the system is not to blame.
    """
    found = re.search(r"error message = '([^']+)'", str(error))
    return found[1] if found else None
