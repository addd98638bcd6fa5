"""Curves and spectrograms in documents: the columns of their CSV, from which pictures are drawn again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import llckit as lk
from llckit.llc import read_curve
from llckit.tables import read_table, write_table


def columns_of(curve: lk.LLCCurve | lk.Spectrogram) -> dict[str, list[float | str | None]]:
    """The columns that `to_csv` writes, by name; None is an empty cell."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "curve.csv"
        curve.to_csv(path)
        names, rows = read_table(path)
    return {name: [_value(row[name]) for row in rows] for name in names}


def curve_from(columns: Mapping[str, list[Any]]) -> lk.LLCCurve | lk.Spectrogram:
    """What `columns_of` was given."""
    cells = {name: [math.nan if cell is None else cell for cell in column] for name, column in columns.items()}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "curve.csv"
        write_table(path, cells)
        return read_curve(path)


def _value(cell: str) -> float | str | None:
    try:
        number = float(cell)
    except ValueError:
        return cell or None
    return int(number) if number.is_integer() and "." not in cell else number
