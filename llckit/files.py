"""New files, refused before any work where they cannot be written, and files replaced whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path

from llckit.errors import InputError

__all__ = ["check_new_file", "replace_file", "sync", "write_new_file"]


def check_new_file(path: str | os.PathLike[str], endings: Sequence[str]) -> Path:
    """Refuse, before any work, a path that cannot be written later.

    Args:
        path: Where a file is to be.
        endings: The endings it may have, such as ".png".

    Returns:
        The path.

    Raises:
        InputError: An ending that is not among `endings`, a file that exists, or a folder that does not.
    """
    path = Path(path)
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
    """Write a file that must not exist yet.

    Args:
        path: The file.
        content: Its bytes.

    Raises:
        InputError: It exists by now, or its folder does not let us write.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError as error:
        raise InputError(f"{path} exists already; choose another name or remove it") from error
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def replace_file(path: Path, content: bytes) -> None:
    """Write a file, or replace it, so that readers find the old content or the new one, also after a crash.

    Args:
        path: The file; its folder must exist.
        content: Its bytes.
    """
    temporary = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.tmp")
    with open(temporary, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, durable.

    Args:
        path: The file or folder.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
