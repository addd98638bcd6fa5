"""Files written safely: a new file is checked before any work starts, and a file is replaced whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from llckit.checks import shown
from llckit.errors import InputError

__all__ = ["check_new_file", "check_path", "replace_file", "sync", "write_new_file"]


def check_path(name: str, value: object, hint: str = "") -> Path:
    """Check that a value is a path.

    Args:
        name: Name of the argument, for the message.
        value: A string or a path.
        hint: What else is allowed, or what to do; it follows "expected a string or a path" in the message.

    Returns:
        The path.

    Raises:
        InputError: The value is something else, is empty, or holds a NUL character.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path or "\0" in path:
        raise InputError(f"{name} is {shown(value)}; expected a string or a path{hint}")
    return Path(path)


def check_new_file(path: str | os.PathLike[str], endings: Sequence[str]) -> Path:
    """Check, before any work starts, that a file can be written later.

    Args:
        path: The file to be written.
        endings: The endings that are allowed, such as ".png".

    Returns:
        The path.

    Raises:
        InputError: The path is not a path or has another ending, the file exists, or its folder does not.
    """
    path = check_path("path", path)
    if path.suffix.lower() not in endings:
        raise InputError(
            f"{path} ends in {path.suffix or 'nothing'}; expected a name that ends in {', '.join(endings)}"
        )
    if os.path.lexists(path):
        raise InputError(f"{path} exists already; choose another name or remove it")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    return path


def write_new_file(path: Path, content: bytes) -> None:
    """Write a file that does not exist yet.

    Args:
        path: The file.
        content: Bytes of the file.

    Raises:
        InputError: The file exists by now, or cannot be written.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise InputError(f"{path} exists already; choose another name or remove it") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write or replace a file. Readers find either the old content or the new one, also after a crash.

    Args:
        path: The file; its folder must exist.
        content: Bytes of the file.
    """
    temporary = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")
    with open(temporary, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk.

    Args:
        path: The file or folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
