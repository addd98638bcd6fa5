"""Figures as files: PNG, SVG or PDF, never written over another."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from llckit.files import check_new_file, write_new_file
from llckit.plotting.style import house_style

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
    with house_style():
        figure.savefig(image, format=path.suffix[1:].lower(), dpi=DOTS_PER_INCH)
    write_new_file(path, image.getvalue())
