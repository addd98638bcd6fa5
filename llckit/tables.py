"""Tables of comma-separated values: reading with clear errors, and writing to new files only."""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from llckit.errors import InputError
from llckit.files import write_new_file

__all__ = ["read_table", "table_column", "table_words", "write_table"]


def read_table(path: str | os.PathLike[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Read comma-separated values with a header.

    Args:
        path: A text file.

    Returns:
        The names of the columns, and one dictionary per row.

    Raises:
        InputError: The file is missing or no table of comma-separated values, a name comes twice, or a line has more
            or fewer cells than there are names.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, skipinitialspace=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file with comma-separated values"
        raise InputError(f"{path} cannot be read: {reason}") from error
    names = [name.strip() for name in lines[0][1]] if lines else []
    _check_names(path, names)
    for number, cells in lines[1:]:
        if len(cells) != len(names):
            raise InputError(
                f"{path}, line {number} has {len(cells)} cells; expected {len(names)}, one for each of "
                f"{', '.join(names)}; write numbers with a point, 0.5, as commas separate cells"
            )
    return names, [dict(zip(names, cells, strict=True)) for _, cells in lines[1:]]


def _check_names(path: str | os.PathLike[str], names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if name and count > 1]
    if twice:
        raise InputError(f"{path} has {Counter(names)[twice[0]]} columns {twice[0]}; expected every name once")
    for sign, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and sign in names[0]:
            raise InputError(f"{path} separates its columns by {word}; expected commas")


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


def table_words(
    path: str | os.PathLike[str], rows: Sequence[Mapping[str, str]], name: str, words: Sequence[str]
) -> list[str]:
    """One column of what `read_table` read, of which every cell holds one of some words.

    Args:
        path: The file the rows came from, for the message.
        rows: The rows.
        name: Name of the column.
        words: Those that are known; case and spaces around them do not matter.

    Returns:
        One of the words for each row; none if all cells are empty.

    Raises:
        InputError: A cell holds another word, or nothing where others hold something.
    """
    known = {word.casefold(): word for word in words}
    cells = [" ".join(row[name].split()) for row in rows]
    if not any(cells):
        return []
    for line, cell in enumerate(cells, 2):
        if cell.casefold() not in known:
            raise InputError(f"{path}, line {line}: column {name} holds {cell!r}; expected one of {', '.join(words)}")
    return [known[cell.casefold()] for cell in cells]


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


def _number(cell: str, path: object, line: int, name: str) -> float:
    text = cell.strip()
    if not text:
        return math.nan
    try:
        return float(text.replace("_", "?"))  # Python would read 1_5 as 15
    except ValueError:
        raise InputError(f"{path}, line {line}: column {name} holds {text!r}; expected a number") from None
