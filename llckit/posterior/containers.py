"""`check_columns` and `check_dataset`: refuse containers that would be read as something else than what was meant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from llckit.errors import InputError


def check_columns(data: Any) -> None:
    """Refuse columns that look like a list of samples: more tensors of one shape than each has rows.

    Args:
        data: A tensor, or tuples, lists and mappings of such, whose first dimension counts the samples.

    Raises:
        InputError: A list holds more tensors than these would have samples.
    """
    if isinstance(data, Mapping):
        for value in data.values():
            check_columns(value)
    if not isinstance(data, (tuple, list)):
        return
    for value in data:
        check_columns(value)
    if len(data) > 1 and all(isinstance(x, Tensor) for x in data) and _are_alike(data):
        shape = tuple(data[0].shape)
        if shape and len(data) > shape[0]:
            raise InputError(
                f"data holds a {type(data).__name__} of {len(data)} tensors of shape {shape}, understood as "
                f"{len(data)} columns of {shape[0]} samples; expected columns, whose first dimension counts the "
                "samples: join single samples with torch.stack"
            )


def check_dataset(data: Any) -> None:
    """Refuse a short list of long lists, which is read as few samples and was meant as columns.

    Args:
        data: What will be read as a dataset, item by item.

    Raises:
        InputError: A tuple or list holds lists of more items than it has samples, all alike.
    """
    if not isinstance(data, (tuple, list)) or not data or not all(isinstance(x, (tuple, list)) for x in data):
        return
    lengths = {len(x) for x in data}
    if min(lengths) > 1 and min(lengths) > len(data) and all(_are_alike(x) for x in data):
        each = f"{min(lengths)}" if len(lengths) == 1 else f"{min(lengths)} to {max(lengths)}"
        raise InputError(
            f"data is a {type(data).__name__} of {len(data)} lists of {each} items, understood as {len(data)} samples; "
            "expected columns as tensors, such as (torch.stack(inputs), torch.tensor(labels)), or a list of samples "
            "[(input, label), ...]: list(zip(inputs, labels))"
        )


def _are_alike(items: Any) -> bool:
    """Whether all are of one type and shape, as the entries of a column are and the fields of a sample seldom."""
    return len({(type(x), tuple(getattr(x, "shape", ()))) for x in items}) == 1
