"""Results as files: valid JSON, indented, and replaced whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from llckit.files import replace_file

WIDTH = 120  # columns that a list or an object may take on one line


def plain(value: Any) -> Any:
    """A value in JSON's types: arrays and tuples as lists, NaN and infinities as None.

    Args:
        value: Numbers, strings, mappings, sequences, arrays and tensors, nested at will.

    Returns:
        The same in dictionaries with string keys, lists, strings, finite numbers, booleans and None.
    """
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(document: Mapping[str, Any]) -> str:
    """A document as indented JSON: what fits into a line stands on one, long lists of numbers are filled."""
    return _text(plain(document), 0, 0) + "\n"


def _text(value: Any, indent: int, used: int) -> str:
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or used + len(flat) <= WIDTH:
        return flat
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        names = [f"{json.dumps(name, ensure_ascii=False)}: " for name in value]
        items = [
            name + _text(item, indent + 1, indent + 2 + len(name))
            for name, item in zip(names, value.values(), strict=True)
        ]
        return "{\n" + ",\n".join(inner + item for item in items) + "\n" + " " * indent + "}"
    items = [_text(item, indent + 1, indent + 2) for item in value]
    lines = _filled(items, indent) if not any(isinstance(item, dict | list) for item in value) else items
    return "[\n" + ",\n".join(inner + line for line in lines) + "\n" + " " * indent + "]"


def _filled(items: list[str], indent: int) -> list[str]:
    """Items side by side, as many as fit into a line."""
    lines = items[:1]
    for item in items[1:]:
        if indent + 4 + len(lines[-1]) + len(item) <= WIDTH:
            lines[-1] += f", {item}"
        else:
            lines.append(item)
    return lines


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document, or replace it.

    Args:
        path: The file; its folder must exist.
        document: What it shall hold.
    """
    replace_file(path, as_text(document).encode())


def read_document(path: Path) -> dict[str, Any]:
    """Read a document.

    Args:
        path: A file of valid JSON.

    Returns:
        What it holds.

    Raises:
        ValueError: It is no valid JSON; NaN and Infinity are none.
    """
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON; expected a number or null")
