"""Files that appear under their name whole or not at all, whoever is killed meanwhile."""

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
from llckit.store.messages import one_line, system_error

__all__ = ["make_folder", "publish"]

_TEMPORARY = re.compile(r"\.writing-([0-9a-f]{8})-([0-9]{1,9})-[0-9a-f]{8}\.h5")
# What file systems say that have no hard links.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def publish(file: Path, write: Callable[[Path], None]) -> bool:
    """Write a file under a temporary name, and only then give it its own.

    Args:
        file: What it will be called.
        write: Writes it whole to the path that it is given, and syncs it if it is to be durable.

    Returns:
        Whether this call made it; False if there is one of that name.

    Raises:
        InputError: The disk refuses; nothing has been published then.
    """
    temporary = file.parent / f".writing-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.h5"
    try:
        _sweep(file.parent)
        try:
            write(temporary)
            _name(temporary, file)
        finally:
            with suppress(OSError):  # what cannot be removed now is swept once this process has ended
                temporary.unlink()
    except FileExistsError:
        return False
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{file} could not be written: {system_error(error) or one_line(error)}. "
            f"Check that the folder is writable and that its disk has space"
        ) from None
    return True


def make_folder(path: Path) -> None:
    """Make a folder, and the names of all that were missing durable.

    Args:
        path: The folder.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync(folder.parent)


def _name(temporary: Path, file: Path) -> None:
    """Give a whole file its name, unless that is taken (FileExistsError)."""
    try:
        os.link(temporary, file)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(file.parent / ".lock", "ab") as lock:  # a lock that ends with whoever holds it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.lexists(file):
                raise FileExistsError from None
            os.rename(temporary, file)


def _sweep(folder: Path) -> None:
    """Remove what dead writers of this host have left."""
    with os.scandir(folder) as entries:
        found = [(entry.path, match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    for path, match in found:
        if match[1] == _host() and not _is_alive(int(match[2])):
            with suppress(OSError):  # such as another user's, or gone by now
                os.unlink(path)


def _host() -> str:
    """Where process numbers mean the same: this host, or this container on it."""
    try:
        numbering = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbering = 0
    return hashlib.sha256(f"{socket.gethostname()} {numbering}".encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and another user's
    return True
