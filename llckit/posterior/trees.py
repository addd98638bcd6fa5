"""Batches as trees of tensors: tuples, lists and mappings, however nested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError

Tree = Any  # a tensor, or tuples, lists and mappings of such
Form = tuple[tuple[torch.Size, torch.dtype], ...]  # shape and type of every leaf of one sample


def tree_map(function: Callable[[Tensor], object], tree: Tree) -> Tree:
    """The same tree with `function` applied to every tensor in it.

    Args:
        function: Called with each tensor; NumPy arrays are converted to tensors first.
        tree: A tensor, or nested tuples, lists and mappings of tensors.

    Returns:
        A tree of the same shape.

    Raises:
        InputError: A leaf is neither a tensor nor a NumPy array.
    """
    if isinstance(tree, np.ndarray) and tree.dtype != object:
        tree = torch.as_tensor(tree)
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return type(tree)({key: tree_map(function, value) for key, value in tree.items()})  # pyright: ignore[reportCallIssue]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, value) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(tree_map(function, value) for value in tree)
    raise InputError(
        f"data holds a {type(tree).__name__}; expected tensors, or tuples, lists and dictionaries of tensors"
    )


def leaves(tree: Tree) -> list[Tensor]:
    """All tensors of a tree, in order."""
    found: list[Tensor] = []
    tree_map(found.append, tree)
    return found


def rebuilt(tree: Tree, tensors: Iterable[Tensor]) -> Tree:
    """The same tree with other tensors, given in order."""
    left = iter(tensors)
    return tree_map(lambda _: next(left), tree)


def cut(tree: Tree, start: int, stop: int) -> Tree:
    """The samples `start` to `stop` of a batch, as views."""
    return tree_map(lambda x: x[start:stop], tree)


def length(tree: Tree) -> int:
    """The number of samples in a batch.

    Args:
        tree: A batch.

    Returns:
        The first dimension of its leaves.

    Raises:
        InputError: There are no leaves, or they differ in their first dimension.
    """
    shapes = [list(x.shape) for x in leaves(tree)]
    if not shapes:
        raise InputError("data is empty; expected at least one tensor of samples")
    if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise InputError(
            f"data tensors have shapes {shapes}; expected the same first dimension, the number of samples, in all"
        )
    return shapes[0][0]


def form(tree: Tree) -> Form:
    """Shape and type of one sample."""
    return tuple((x.shape[1:], x.dtype) for x in leaves(tree))


def alike(forms: Sequence[Form]) -> bool:
    """Whether batches of these forms can be joined into one.

    Args:
        forms: Form of each batch's samples.

    Returns:
        Whether all forms are the same.

    Raises:
        InputError: The batches hold different numbers of tensors.
    """
    if len({len(each) for each in forms}) > 1:
        raise InputError("the collate function gives batches of different structure; expected the same in all")
    return len(set(forms)) == 1


def num_bytes(tree: Tree) -> int:
    """Bytes that the values of a tree take in memory."""
    return sum(x.numel() * x.element_size() for x in leaves(tree))


def placed(
    tree: Tree,
    device: torch.device | str,
    half_to: torch.dtype | None,
    *,
    copy: bool = False,
    non_blocking: bool = False,
) -> Tree:
    """The tree on a device, without its graph.

    Args:
        tree: A batch.
        device: Where its tensors go.
        half_to: The type that half-precision tensors are converted to; None leaves them.
        copy: Whether tensors that are on the device already are copied, too.
        non_blocking: Whether this process goes on while tensors are copied from pinned memory.

    Returns:
        A tree of the same shape.
    """

    def place(x: Tensor) -> Tensor:
        dtype = half_to if x.dtype in (torch.float16, torch.bfloat16) and half_to is not None else x.dtype
        return x.detach().to(device, dtype, non_blocking=non_blocking, copy=copy)

    return tree_map(place, tree)
