"""Files that appear under their name whole or not at all, even if the writer is killed."""

import errno
import fcntl
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from llckit.errors import InputError
from llckit.files import sync
from llckit.store.foreign_errors import one_line, system_error

__all__ = ["host_id", "make_folder", "publish"]

_TEMPORARY = re.compile(r"\.writing-([0-9a-f]{8})-([0-9]{1,9})-[0-9a-f]{8}\.h5")
# Errors of file systems that have no hard links.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def publish(file: Path, write: Callable[[Path], None]) -> bool:
    """Write a file under a temporary name, and then give it its own name.

    Args:
        file: Path of the finished file.
        write: Function that writes the whole file to a given path, and syncs it if it is to be durable.

    Returns:
        Whether this call made the file; False if a file of that name exists.

    Raises:
        InputError: The disk refuses. Nothing has been published then.
    """
    temporary = file.parent / f".writing-{host_id()}-{os.getpid()}-{secrets.token_hex(4)}.h5"
    try:
        _sweep(file.parent)
        try:
            write(temporary)
            _name(temporary, file)
        finally:
            with suppress(OSError):  # a later writer removes it, once this process has ended
                temporary.unlink()
    except FileExistsError:
        return False
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{file} could not be written: {system_error(error) or one_line(error)}; "
            f"check that the folder is writable and that its disk has space"
        ) from None
    return True


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, and wait until their names are on the disk.

    Args:
        path: The folder.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def host_id() -> str:
    """Identifier of the space in which process numbers are unique: this host, or this container on it.

    Returns:
        Eight hexadecimal digits.
    """
    try:
        numbering = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbering = 0
    return hashlib.sha256(f"{socket.gethostname()} {numbering}".encode()).hexdigest()[:8]


def _name(temporary: Path, file: Path) -> None:
    """Give a finished file its name; a FileExistsError if the name is taken."""
    try:
        os.link(temporary, file)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(file.parent / ".lock", "ab") as lock:  # the lock ends with the process that has it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.lexists(file):
                raise FileExistsError from None
            os.rename(temporary, file)


def _sweep(folder: Path) -> None:
    """Remove temporary files of writers on this host that have ended."""
    with os.scandir(folder) as entries:
        found = [(entry.path, match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for path, match in found:
        if match[1] == host_id() and not _is_alive(int(match[2])):
            with suppress(OSError):  # another user's, or removed meanwhile
                os.unlink(path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and another user's
    return True
