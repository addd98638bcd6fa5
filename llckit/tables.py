"""Tables of comma-separated values: reading with clear errors, and writing to new files only."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from llckit.errors import InputError
from llckit.files import write_new_file

__all__ = ["naming", "read_table", "read_tracked_table", "table_column", "table_words", "write_table"]

BEFORE_NAME = re.compile(r"(.* - )?(.*/)?")  # a run and a path


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors about what a file holds name it.

    Args:
        path: The file.

    Raises:
        InputError: That of the block, with the file before it.
    """
    try:
        yield
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(path)) else f"{path}: {text}") from error


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


def read_tracked_table(path: str | os.PathLike[str], wanted: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """Read a table that may be an export of an experiment tracker.

    A table in which a wanted name is missing is read as one of these:

    * names in another case, or behind a path: `Loss`, `train/loss`; for `step` also `_step` and `global_step`;
    * Weights & Biases: `RUN - loss`, with `RUN - loss__MIN` and `RUN - loss__MAX` beside it, which are left out;
    * MLflow: a row for each value, with columns `key`, `value` and `step`; they become a column for each key.

    Runs and paths are taken off other columns, too, where that leaves every name once.

    Args:
        path: A text file.
        wanted: Names of columns.

    Returns:
        As of `read_table`.

    Raises:
        InputError: As for `read_table`; or several columns, or runs, could be meant.
    """
    names, rows = read_table(path)
    if {*wanted} <= {*names}:
        return names, rows
    if {"key", "value", "step"} <= {*names}:
        names, rows = _by_step(path, rows)
    extremes = {f"{name}__{end}" for name in names for end in ("MIN", "MAX")}
    columns = {name: _tracked_name(name, wanted) for name in names if name not in extremes}
    for name in wanted:
        meant = [column for column, tracked in columns.items() if tracked == name]
        if name not in names and len(meant) > 1:
            raise InputError(f"{path} has columns {', '.join(meant)}; expected one that may be {name}; name it {name}")
    count = Counter([*names, *columns.values()])
    known = {column: name if count[name] == 1 else column for column, name in columns.items()}
    return list(known.values()), [{name: row[column] for column, name in known.items()} for row in rows]


def _tracked_name(column: str, wanted: Sequence[str]) -> str:
    """What a tracker's column is called without the run and the path, and a wanted one without its case."""
    name = column[len(BEFORE_NAME.match(column)[0]) :]  # pyright: ignore[reportOptionalSubscript]
    lower = "step" if name.casefold() in ("_step", "global_step") else name.casefold()
    return lower if lower in wanted else name


def _by_step(path: str | os.PathLike[str], rows: Sequence[Mapping[str, str]]) -> tuple[list[str], list[dict[str, str]]]:
    """A row for each step and a column for each key; a value that was not recorded is empty."""
    runs = sorted({row["run_id"] for row in rows if "run_id" in row})
    if len(runs) > 1:
        raise InputError(f"{path} holds the runs {', '.join(runs)}; expected one")
    names = ["step", *dict.fromkeys(row["key"] for row in rows)]
    table: dict[float, dict[str, str]] = {}
    for line, row in enumerate(rows, 2):
        step = _number(row["step"], path, line, "step")
        cells = table.setdefault(step, dict.fromkeys(names, "") | {"step": row["step"]})
        if cells[row["key"]]:
            raise InputError(f"{path}, line {line} has {row['key']} of step {row['step']} again; expected it once")
        cells[row["key"]] = row["value"]
    return names, [table[step] for step in sorted(table)]


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
