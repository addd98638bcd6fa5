"""Which kinds of numbers a checkpoint may hold in place of a model's, such as float16 or float8 for float32."""

from __future__ import annotations

import torch
from torch import Tensor

# What torch converts by value; the others, such as float4, are packed or without functions.
_NUMBERS = {
    dtype
    for dtype in vars(torch).values()
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype != getattr(torch, "float4_e2m1fn_x2", None)
} | {torch.bool, *(getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64))}


def can_become(given: torch.dtype, own: torch.dtype, *, is_parameter: bool) -> bool:
    """Whether values of a checkpoint's type stand for the same values of the model's type, but for rounding.

    Args:
        given: The checkpoint's type.
        own: The model's.
        is_parameter: Integers in place of floating-point parameters are quantized, with their scale elsewhere; buffers
            may be either.

    Returns:
        False for complex numbers in place of real ones, quantized weights, and packed types.
    """
    if given == own or (given.is_complex and own.is_complex):
        return True
    return given in _NUMBERS and (given.is_floating_point or not (is_parameter and own.is_floating_point))


def is_broken(value: Tensor, *, is_parameter: bool) -> bool:
    """Whether a tensor holds NaN, or infinities if it is a parameter."""
    if not value.is_complex() and not (value.is_floating_point() and value.dtype in _NUMBERS):
        return False
    value = comparable(value)
    return not bool(value.isfinite().all()) if is_parameter else bool(value.isnan().any())


def has_fractions_for(value: Tensor, own: torch.dtype) -> bool:
    """Whether conversion to the model's type, one of integers, would change floating-point values."""
    if value.dtype not in _NUMBERS or not value.is_floating_point() or own.is_floating_point or own.is_complex:
        return False
    value = comparable(value)
    return not torch.equal(value, value.to(own).to(value.dtype))


def comparable(value: Tensor) -> Tensor:
    """The same values in a type that torch has functions for, which it does not for float8."""
    return value.float() if value.is_floating_point() and value.dtype.itemsize == 1 else value
