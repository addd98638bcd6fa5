"""The group that an activation lets through: which changes of units before it are changes of units after it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llckit.geometry.symmetry import Kind

__all__ = ["activation_kind", "common_kind"]

TRANSPARENT = (nn.Identity, nn.modules.dropout._DropoutNd)
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU)
ODD = (nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink)
POINTWISE = (nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Softplus, nn.ELU, nn.CELU, nn.SELU, nn.ReLU6, nn.Hardtanh)


def activation_kind(activation: nn.Module | Callable[[Tensor], Tensor]) -> Kind | None:
    """The kind of the largest group that an activation lets through.

    Args:
        activation: A module or a function, applied to the units one by one.

    Returns:
        "linear", "homogeneous", "odd" or "pointwise"; None for an unknown activation.
    """
    if isinstance(activation, TRANSPARENT):
        return "linear"
    if isinstance(activation, HOMOGENEOUS) or activation in {F.relu, F.leaky_relu, torch.relu}:
        return "homogeneous"
    if isinstance(activation, ODD) or activation in {F.tanh, torch.tanh}:
        return "odd"
    theirs = type(activation).__module__ == "transformers.activations"
    return "pointwise" if theirs or isinstance(activation, POINTWISE) or activation in {F.gelu, F.silu} else None


def common_kind(one: Kind | None, other: Kind | None) -> Kind | None:
    """The kind of the largest group that two activations in sequence let through; None if either lets none through."""
    if one is None or other is None or one == other:
        return one and other
    if "linear" in {one, other}:
        return other if one == "linear" else one
    return "pointwise"
