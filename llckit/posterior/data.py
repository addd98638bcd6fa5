"""The user's data, in memory, indexed by us: tensors, dictionaries, datasets and loaders become `Samples`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, WeightedRandomSampler, default_collate
from tqdm import tqdm

from llckit.errors import InputError

COLLATE_SIZE = 256  # samples collated at a time when nobody named a batch size
REREAD = 16  # samples read twice, to notice augmentation

Tree = Any  # a tensor, or tuples, lists and mappings of such


def tree_map(function: Callable[[Tensor], Any], tree: Tree) -> Tree:
    """The same tree with `function` applied to every tensor in it.

    Args:
        function: called with each tensor (NumPy arrays arrive as tensors).
        tree: a tensor, or nested tuples, lists and mappings of tensors.

    Returns:
        A tree of the same shape.

    Raises:
        InputError: a leaf is neither a tensor nor a NumPy array.
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


class Samples:
    """`n` samples held in memory as blocks of collated batches.

    Args:
        data: a tensor, a tuple, list or dictionary of tensors (or NumPy arrays) whose first dimension counts the
            samples; a map-style `Dataset`; or a `DataLoader`, of which the dataset, collate function and batch
            size are used and the order is not: a shuffling loader is welcome.
        device: where the tensors are kept.
        half_to: the type that half-precision tensors become; None leaves them.

    Attributes:
        n: number of samples.
        reread: two trees made from the same indices where reading them twice gave different tensors, else None.

    Raises:
        InputError: no samples, unequal lengths, or data that cannot be indexed.
    """

    def __init__(self, data: Any, device: torch.device | str = "cpu", half_to: torch.dtype | None = None) -> None:
        def place(tensor: Tensor) -> Tensor:
            is_half = tensor.dtype in (torch.float16, torch.bfloat16)
            return tensor.detach().to(device, half_to if is_half else None)

        self.reread: tuple[Tree, Tree] | None = None
        if isinstance(data, (Tensor, np.ndarray, Mapping)) or (
            isinstance(data, (tuple, list)) and data and all(isinstance(x, (Tensor, np.ndarray)) for x in data)
        ):
            blocks = [tree_map(place, data)]
        else:
            blocks = self._read(data, place)
        sizes = [_length(block) for block in blocks]
        self.n = sum(sizes)
        if self.n == 0:
            raise InputError("data is empty: expected at least one sample")
        self._blocks = _merge(blocks)
        self._sizes = [_length(block) for block in self._blocks]

    def _read(self, data: Any, place: Callable[[Tensor], Tensor]) -> list[Tree]:
        dataset, collate, size = data, default_collate, COLLATE_SIZE
        if isinstance(data, DataLoader):
            dataset, collate, size = data.dataset, data.collate_fn, data.batch_size or COLLATE_SIZE
            _check_order(data)
        if isinstance(dataset, IterableDataset) or not (
            hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        ):
            raise InputError(
                f"data is a {type(data).__name__} that cannot be indexed; expected tensors, a Dataset with __len__ and "
                "__getitem__, or a DataLoader over one"
            )
        n = len(dataset)  # pyright: ignore[reportArgumentType]
        if n == 0:
            raise InputError("data is empty: expected at least one sample")

        def read(indices: Sequence[int]) -> Tree:
            try:
                batch = collate([dataset[i] for i in indices])
            except Exception as error:
                raise InputError(
                    f"reading samples {indices[0]} to {indices[-1]} of the data ({type(data).__name__}) failed: "
                    f"{type(error).__name__}: {error}. Expected tensors with one row per sample, or a Dataset whose "
                    "samples collate into batches"
                ) from error
            return tree_map(place, batch)

        starts = tqdm(range(0, n, size), desc="reading data", disable=None, leave=False)
        blocks = [read(range(i, min(i + size, n))) for i in starts]
        again = np.unique(np.linspace(0, n - 1, REREAD).astype(int)).tolist()
        first, second = read(again), read(again)
        if not all(
            a.shape == b.shape and torch.equal(a, b) for a, b in zip(leaves(first), leaves(second), strict=True)
        ):
            self.reread = first, second
        return blocks

    @property
    def is_indexable(self) -> bool:
        """Whether single samples can be gathered (not so where a collate function pads batches unequally)."""
        return len(self._blocks) == 1

    def chunks(self, size: int) -> Iterator[tuple[Tree, int]]:
        """All samples in order, in pieces of at most `size`: pairs (batch, number of samples in it)."""
        for block, length in zip(self._blocks, self._sizes, strict=True):
            for start in range(0, length, size):
                stop = min(start + size, length)
                whole = start == 0 and stop == length
                yield block if whole else tree_map(lambda x, a=start, b=stop: x[a:b], block), stop - start

    def first(self, size: int) -> Tree:
        """The first `size` samples of the first block (or the whole block), as one batch."""
        return next(self.chunks(size))[0]

    def paired(self, function: Callable[[Tree], Tensor], size: int) -> Samples:
        """The same samples, each as a pair (sample, function of it), sharing memory with these.

        Args:
            function: maps a batch to one tensor whose first dimension is the batch.
            size: samples per call.

        Returns:
            Samples whose batches are tuples (batch, value).
        """
        new = object.__new__(Samples)
        new.n, new.reread, new._sizes = self.n, None, self._sizes
        new._blocks = []
        for block, length in zip(self._blocks, self._sizes, strict=True):
            pieces = [tree_map(lambda x, a=a: x[a : a + size], block) for a in range(0, length, size)]
            new._blocks.append((block, torch.cat([function(piece) for piece in pieces])))
        return new

    def subset(self, indices: Tensor) -> Samples:
        """Some of the samples.

        Args:
            indices: integers below `n`, shape (size,).

        Returns:
            `size` samples.
        """
        new = object.__new__(Samples)
        new.n, new.reread, new._sizes, new._blocks = len(indices), None, [len(indices)], [self.gather(indices)]
        return new

    def gather(self, indices: Tensor) -> Tree:
        """The samples with these indices; an index tensor of shape (rows, batch) gives leaves (rows, batch, …).

        Args:
            indices: integers below `n`.

        Returns:
            A tree whose leaves are indexed by `indices`.

        Raises:
            InputError: the samples are kept as batches of unequal shapes.
        """
        if not self.is_indexable:
            raise InputError(
                "the data's batches differ in shape, so single samples cannot be drawn; use the full loss "
                "(batch_size=None) or a collate function that pads all samples alike"
            )
        return tree_map(lambda x: x[indices.to(x.device)], self._blocks[0])


def _length(tree: Tree) -> int:
    shapes = [list(x.shape) for x in leaves(tree)]
    if not shapes:
        raise InputError("data is empty: expected at least one tensor of samples")
    if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) > 1:
        raise InputError(
            f"data tensors have shapes {shapes}; expected the same first dimension, the number of samples, in all"
        )
    return shapes[0][0]


def _check_order(loader: DataLoader) -> None:
    # A loader's order does not matter; a sampler that leaves samples out or weighs them changes what L is.
    if isinstance(loader.dataset, IterableDataset):
        return
    if loader.batch_sampler is None:
        raise InputError(
            "data is a DataLoader with batch_size=None, whose items are batches already; expected a Dataset of single "
            "samples, or the tensors themselves"
        )
    total, drawn = len(loader.dataset), len(loader.sampler)  # pyright: ignore[reportArgumentType]
    if drawn != total or isinstance(loader.sampler, WeightedRandomSampler):
        raise InputError(
            f"data is a DataLoader whose sampler ({type(loader.sampler).__name__}) draws {drawn} of {total} samples; "
            "the loss needs to know which: give it torch.utils.data.Subset(dataset, indices) instead"
        )


def _merge(blocks: list[Tree]) -> list[Tree]:
    if len({len(leaves(block)) for block in blocks}) > 1:
        raise InputError("the collate function gives batches of different structure; expected the same in all")
    columns = list(zip(*(leaves(block) for block in blocks), strict=True))
    if any(len({(x.shape[1:], x.dtype) for x in column}) > 1 for column in columns):
        return blocks
    merged = iter([torch.cat(column) if len(blocks) > 1 else column[0] for column in columns])
    return [tree_map(lambda _: next(merged), blocks[0])]
