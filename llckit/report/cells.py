"""Tables, and numbers as they stand in their cells."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass

MISSING = "–"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


def html_table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], highlight: np.ndarray | None = None
) -> str:
    """A table with a caption, scrolling by itself; `highlight` marks rows, shape (rows,)."""
    shape = [' class="words"' if column in ("kind", "hidden", "outcome") else "" for column in columns]
    head = "".join(f'<th scope="col"{form}>{escape(column)}</th>' for column, form in zip(columns, shape, strict=True))
    lines = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td{form}>{escape(cell)}</td>" for cell, form in zip(row[1:], shape[1:], strict=True))
        mark = ' class="doubtful"' if highlight is not None and highlight[index] else ""
        lines.append(f'<tr{mark}><th scope="row">{escape(row[0])}</th>{cells}</tr>')
    body = "\n".join(lines)
    table = (
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )
    return scrolling(caption, table)


def scrolling(label: str, table: str) -> str:
    """A table in a box that scrolls and takes the focus."""
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">\n{table}\n</div>'


def estimate(value: float, error: float) -> str:
    """A value to the digits that its error leaves, with the error."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return number(value)
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def with_interval(step: float, interval: tuple[float, float]) -> str:
    """A step, and below it its interval where it has one."""
    low, high = interval
    return step_cell(step) if low == high else f"{step_cell(step)}\n({step_cell(low)}–{step_cell(high)})"


def step_cell(step: float) -> str:
    """A step with thin spaces between thousands."""
    return f"{step:,.0f}".replace(",", THIN_SPACE) if np.isfinite(step) else MISSING


def signed(value: float) -> str:
    """A number with its sign, to three digits."""
    return ("+" if value > 0 else "") + number(value, 3)


def number(value: float, digits: int = 4) -> str:
    """A number to so many significant digits, plain where that is short."""
    if np.isnan(value):
        return MISSING
    if value == 0 or not np.isfinite(value) or not 1e-4 <= abs(value) < 1e6:
        text = f"{value:.{digits - 1}e}" if value != 0 and np.isfinite(value) else f"{value:g}"
    else:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
        text = f"{value:.{decimals}f}"
    return text.replace("-", "−")
