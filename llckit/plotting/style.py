"""The look that all pictures share: sizes, colours, hatches, and an empty figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llckit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "HATCHES", "MARKERS", "MEANINGS", "TEXT", "WIDTH", "new_figure"]

WIDTH, HEIGHT = 5.8, 5.8  # inches; narrow, so that its text stays readable when scaled to a phone
TEXT = 11  # points
# By kind of stage. Okabe and Ito's blue and vermilion differ in every form of colour blindness, hatches without colour.
COLORS = {"A": "#0072B2", "B": "#D55E00", "unclassified": "#777777"}
HATCHES = {"A": "///", "B": "...", "unclassified": ""}
MARKERS = {"A": "^", "B": "v", "unclassified": "o"}
MEANINGS = {"A": "type A: LLC rises", "B": "type B: LLC falls", "unclassified": "?: unclassified"}


def new_figure() -> Figure:
    """Make an empty figure.

    Returns:
        A figure of `WIDTH` by `HEIGHT`.

    Raises:
        InputError: Matplotlib is not installed; says what to install.
    """
    try:
        import matplotlib  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            'matplotlib cannot be imported; plots and reports need it; pip install "llckit[plot]"'
        ) from error
    return Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
