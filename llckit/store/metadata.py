"""The scalars that may stand beside the weights of a checkpoint, and their form in JSON."""

import math

import numpy as np
import torch

from llckit.checks import shown
from llckit.errors import InputError

__all__ = ["Scalar", "as_scalar", "scalar_from_json", "scalar_to_json"]

Scalar = bool | int | float | str | None

_NONFINITE = ("nan", "inf", "-inf")


def as_scalar(name: str, value: object) -> Scalar:
    """Convert one metadata value to a plain Python scalar.

    Args:
        name: Name of the value, for the message.
        value: A number, string, bool, None, NumPy scalar, or a 0-d tensor or array.

    Returns:
        The scalar; NaN and infinities stay what they are.

    Raises:
        InputError: The name is not a string, or the value is something else or an integer beyond 64 bits.
    """
    if not isinstance(name, str):
        raise InputError(f"a name of the metadata is {shown(name)}; expected a string")
    given = value
    is_meta = isinstance(value, torch.Tensor) and value.is_meta
    if isinstance(value, torch.Tensor | np.ndarray | np.generic) and value.ndim == 0 and not is_meta:
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise InputError(
        f"metadata {name!r} is {_described(given)}; expected a number (integers of at most 64 bits), a string, a bool "
        f"or None"
    )


def scalar_to_json(value: Scalar) -> object:
    """The form of a scalar in JSON, which has no NaN: NaN and infinities become {"float": "nan" | "inf" | "-inf"}."""
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def scalar_from_json(value: object) -> Scalar:
    """The scalar that `scalar_to_json` was given; any other value is a ValueError."""
    if isinstance(value, dict) and set(value) == {"float"} and value["float"] in _NONFINITE:
        return float(value["float"])
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError("its manifest has metadata that are not scalars")


def _described(value: object) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        return f"a {type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    return f"a {type(value).__name__}"
