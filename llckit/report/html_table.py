"""Tables of the page: what a column is, and the HTML of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Generic, TypeVar

__all__ = ["Column", "html_table", "scrolling"]

Row = TypeVar("Row")


def _always(rows: Sequence[object]) -> bool:
    return True


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table.

    Attributes:
        heading: Text at the top.
        cell: Text of a cell, from the row's value.
        is_text: Whether cells are words, which are set flush left, or numbers.
        is_known: Whether a table of these rows has the column at all.
    """

    heading: str
    cell: Callable[[Row], str]
    is_text: bool = False
    is_known: Callable[[Sequence[Row]], bool] = _always


def html_table(
    caption: str,
    columns: Sequence[Column[Row]],
    rows: Sequence[Row],
    mark: Callable[[Row], str] = lambda row: "",
) -> str:
    """A table with a caption, which scrolls by itself.

    Args:
        caption: Text above the table.
        columns: Columns from left to right; the cells of the first are headings of their rows.
        rows: Values from which the columns make their cells.
        mark: The class of a row in the style sheet, such as "doubtful"; "" for none.

    Returns:
        HTML.
    """
    columns = [column for column in columns if column.is_known(rows)]
    forms = [' class="words"' if column.is_text else "" for column in columns]
    head = "".join(
        f'<th scope="col"{form}>{escape(column.heading)}</th>' for column, form in zip(columns, forms, strict=True)
    )
    lines = []
    for row in rows:
        first, *cells = (escape(column.cell(row)) for column in columns)
        body = "".join(f"<td{form}>{cell}</td>" for cell, form in zip(cells, forms[1:], strict=True))
        kind = f' class="{escape(mark(row))}"' if mark(row) else ""
        lines.append(f'<tr{kind}><th scope="row">{first}</th>{body}</tr>')
    body = "\n".join(lines)
    table = (
        f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}\n</tbody>\n</table>"
    )
    return scrolling(caption, table)


def scrolling(label: str, table: str) -> str:
    """A table in a box that scrolls and takes the focus.

    Args:
        label: Name of the box for screen readers.
        table: HTML of the table.

    Returns:
        HTML.
    """
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">\n{table}\n</div>'
