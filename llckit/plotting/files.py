"""New files: refused before any work where they cannot be written, and never written over."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llckit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


FIGURE_ENDINGS = (".png", ".svg", ".pdf")
DOTS_PER_INCH = 200  # of a PNG


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure to a new file.

    Args:
        figure: Any matplotlib figure.
        path: Ends in .png, .svg or .pdf.

    Raises:
        InputError: Another ending, a file that exists, or a folder that does not.
    """
    path = check_new_file(path, FIGURE_ENDINGS)
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH)
    write_new_file(path, image.getvalue())


def check_new_file(path: str | os.PathLike[str], endings: Sequence[str] = FIGURE_ENDINGS) -> Path:
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
