"""The look that all pictures share, whatever the user's matplotlibrc says: sizes, colours, hatches, an empty figure."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec

from llckit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "HATCHES", "MARKERS", "MEANINGS", "TEXT", "WIDTH", "house_style", "in_house_style", "new_figure"]

WIDTH, HEIGHT = 5.8, 5.8  # inches; narrow, so that its text stays readable when scaled to a phone
TEXT = 11  # points
# By kind of stage. Okabe and Ito's blue and vermilion differ in every form of colour blindness, hatches without colour.
COLORS = {"A": "#0072B2", "B": "#D55E00", "unclassified": "#777777"}
HATCHES = {"A": "///", "B": "...", "unclassified": ""}
MARKERS = {"A": "^", "B": "v", "unclassified": "o"}
MEANINGS = {"A": "type A: LLC rises", "B": "type B: LLC falls", "unclassified": "?: unclassified"}


# Settings of the user's that stay: which fonts there are, and how they are put into files.
_USERS_OWN = ("font.family", "font.sans-serif", "font.serif", "font.monospace", "pdf.fonttype", "svg.fonttype")

Given = ParamSpec("Given")


@contextmanager
def house_style() -> Iterator[None]:
    """Matplotlib's own settings in the block, and the user's fonts: others may ask for LaTeX, or black on black.

    Yields:
        Nothing.

    Raises:
        InputError: Matplotlib cannot be imported; says what to do.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # noqa: F401
    except ImportError as error:
        raise InputError(
            'matplotlib cannot be imported; plots and reports need it; pip install "llckit[plot]"'
        ) from error
    except Exception as error:  # such as MPLBACKEND of a backend that there is not
        raise InputError(
            f"matplotlib cannot be imported ({error}); expected settings that it accepts; see MPLBACKEND and "
            f"matplotlibrc"
        ) from error
    fonts: Any = {key: matplotlib.rcParams[key] for key in _USERS_OWN}
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(fonts)
        yield


def in_house_style(plot: Callable[Given, Figure]) -> Callable[Given, Figure]:
    """A function that draws a figure, in `house_style`."""

    @functools.wraps(plot)
    def drawn(*arguments: Given.args, **settings: Given.kwargs) -> Figure:
        with house_style():
            figure = plot(*arguments, **settings)
            figure.draw_without_rendering()  # labels of ticks take their settings when they are first drawn
        return figure

    return drawn


def new_figure() -> Figure:
    """Make an empty figure of `WIDTH` by `HEIGHT`, within `house_style`."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
