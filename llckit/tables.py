"""Tables of comma-separated values: reading with clear errors, and writing to new files only."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llckit.errors import InputError
from llckit.files import write_new_file

__all__ = ["read_table", "table_column", "write_table"]


def read_table(path: str | os.PathLike[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Read comma-separated values with a header.

    Args:
        path: A text file.

    Returns:
        The names of the columns, and one dictionary per row.

    Raises:
        InputError: The file is missing, or is not a table of comma-separated values.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = names
            return names, list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file with comma-separated values"
        raise InputError(f"{path} cannot be read: {reason}") from error


def table_column(path: str | os.PathLike[str], rows: Sequence[Mapping[str, str]], name: str) -> np.ndarray:
    """One column of what `read_table` read, as numbers; an empty cell is NaN.

    Args:
        path: The file the rows came from, for the message.
        rows: The rows.
        name: Name of the column.

    Returns:
        Shape (rows,).

    Raises:
        InputError: A cell is not a number.
    """
    return np.array([_number(row[name], path, line, name) for line, row in enumerate(rows, 2)])


def write_table(path: str | os.PathLike[str], columns: Mapping[str, Sequence[object] | np.ndarray]) -> None:
    """Write columns of equal length as CSV with a header; a NaN is an empty cell.

    Args:
        path: A new file.
        columns: Values of each column by its name.

    Raises:
        InputError: The file exists already, or its folder is missing.
    """
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in zip(*columns.values(), strict=True))
    write_new_file(Path(path), table.getvalue().encode())


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(float(value))
    return value


def _number(cell: str | None, path: object, line: int, name: str) -> float:
    text = (cell or "").strip()
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}, line {line}: column {name} holds {text!r}; expected a number") from None
