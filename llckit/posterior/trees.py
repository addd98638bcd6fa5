"""Batches as trees of tensors: tuples, lists and mappings, however nested."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.masked import MaskedTensor

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
        tree = _from_numpy(tree)
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


def joined(trees: Sequence[Tree]) -> Tree:
    """Several batches of one form as one batch."""
    columns = zip(*(leaves(tree) for tree in trees), strict=True)
    return rebuilt(trees[0], [torch.cat(column) for column in columns])


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

    Raises:
        InputError: A tensor is not dense or holds no values, or `tree_map` refuses a leaf.
    """

    def place(x: Tensor) -> Tensor:
        _check_dense(x)
        dtype = half_to if x.dtype in (torch.float16, torch.bfloat16) and half_to is not None else x.dtype
        x = x.clone() if x.is_inference() else x  # autograd cannot save what was made in inference mode
        return x.detach().to(device, dtype, non_blocking=non_blocking, copy=copy)

    return tree_map(place, tree)


def _from_numpy(array: np.ndarray) -> Tensor:
    """The array as a tensor: it shares memory where torch can, and is a copy of the same values where it cannot."""
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise InputError(
                f"data holds a masked array with {np.ma.count_masked(array)} of {array.size} values masked; expected "
                "values in every place: give the mask as an array of its own, which loss_fn can use, or fill it"
            )
        array = array.data
    # torch takes neither negative strides (flipped images), nor another byte order (FITS, IDX), nor read-only memory.
    native = array.dtype.newbyteorder("=")
    if not array.dtype.isnative or not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = np.array(array, dtype=native, order="C")
    try:
        return torch.as_tensor(array, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"data holds a NumPy array of type {array.dtype}, which torch cannot hold ({error}); expected numbers: "
            "convert it with astype"
        ) from error


def _check_dense(x: Tensor) -> None:
    """Refuse what has no row of numbers for every sample."""
    if x.is_meta:
        raise InputError("data holds a tensor on the meta device, which has no values; expected tensors in memory")
    if isinstance(x, MaskedTensor):
        raise InputError(
            "data holds a MaskedTensor; expected a dense tensor: give values and mask as two tensors, and let loss_fn "
            "apply the mask"
        )
    if x.is_nested:
        raise InputError(
            "data holds a nested tensor; expected a dense tensor: pad it (torch.nested.to_padded_tensor), and give the "
            "mask as a tensor of its own"
        )
    if x.layout is not torch.strided:
        raise InputError(
            f"data holds a sparse tensor ({x.layout}); expected a dense tensor: x.to_dense(), or a Dataset whose "
            "samples are dense"
        )
    if x.is_quantized:
        raise InputError(f"data holds a quantized tensor ({x.dtype}); expected a dense tensor: x.dequantize()")
