"""`Samples`: the user's data, whether tensors, dictionaries, a dataset or a loader, read by index and in order."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.posterior.containers import check_columns, check_dataset
from llckit.posterior.streaming import Reader, Stream, read_once
from llckit.posterior.trees import Tree, alike, cut, form, joined, leaves, length, num_bytes, placed, tree_map

PAIRED_BYTES = 2**28  # of a function's values that are kept beside the samples


class Samples:
    """`n` samples, kept in memory as collated batches, or read again at every pass if they do not fit there.

    A Dataset or DataLoader is read once at the start. Data that would take more than `MEMORY_BYTES` (4 GiB, by the
    first batch times the number of batches) are not kept. Each full pass reads them again in order, batch by batch, in
    as many worker processes as the DataLoader has, and serves all rows; a minibatch reads only its own samples. The
    chunks, and so all numbers, are those of data in memory, bit for bit, as long as a chunk stays below 1 GiB.

    Args:
        data: A tensor, a tuple, list or dictionary of tensors (or NumPy arrays) whose first dimension counts the
            samples; a map-style `Dataset`; or a `DataLoader`. From a loader the dataset, collate function, batch size
            and worker processes are used; its order is not, so it may shuffle.
        device: Where the tensors are kept.
        half_to: The type that half-precision tensors are converted to; None leaves them.

    Attributes:
        n: Number of samples.
        reread: Two batches of the same indices, if reading them twice gave different tensors; else None.
        is_separable: Whether the loss of all is the mean of the losses of parts; see `inseparable`.

    Raises:
        InputError: There are no samples, lengths differ, or the data cannot be indexed or read.
    """

    def __init__(self, data: Any, device: torch.device | str = "cpu", half_to: torch.dtype | None = None) -> None:
        self.reread: tuple[Tree, Tree] | None = None
        if isinstance(data, (Tensor, np.ndarray, Mapping)) or (
            isinstance(data, (tuple, list)) and data and all(isinstance(x, (Tensor, np.ndarray)) for x in data)
        ):
            found = [placed(data, device, half_to)]
            check_columns(found[0])
        else:
            check_dataset(data)
            reader = Reader(data, torch.device(device), half_to)
            try:
                found, self.reread = read_once(reader)
            except BaseException:
                reader.close()
                raise
        self._source = found if isinstance(found, Stream) else _Kept(found)
        self.n, self.is_separable = sum(self._source.sizes), True
        if self.n == 0:
            raise InputError("data is empty; expected at least one sample")

    @staticmethod
    def _of(source: _Source) -> Samples:
        new = object.__new__(Samples)
        new.n, new.reread, new._source, new.is_separable = sum(source.sizes), None, source, True
        return new

    def inseparable(self) -> Samples:
        """The same samples for a loss that weighs those of a batch against each other: only all together define it.

        Returns:
            Samples of which no part may stand for all.
        """
        new = self._of(self._source)
        new.reread, new.is_separable = self.reread, False
        return new

    @property
    def is_indexable(self) -> bool:
        """Whether single samples can be gathered; not if a collate function pads batches to different lengths."""
        return self.is_separable and self._source.is_indexable

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all samples that are in memory; an empty string for others."""
        if not isinstance(self._source, _Kept):
            return ""
        found = hashlib.sha256()
        for batch, _ in self.chunks(self.n):
            for leaf in leaves(batch):
                found.update(leaf.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return found.hexdigest()

    @property
    def block(self) -> Tree | None:
        """All samples as one batch, the same object each time; None if they are not kept as one."""
        return self._source.block if isinstance(self._source, _Kept) else None

    def chunks(self, size: int) -> Iterator[tuple[Tree, int]]:
        """All samples in order, in pieces of at most `size`: pairs (batch, number of samples in it)."""
        return self._source.chunks(size)

    def first(self, size: int) -> Tree:
        """The first `size` samples of the first block (or the whole block), as one batch."""
        return next(self.chunks(size))[0]

    def paired(self, function: Callable[[Tree], Tree], size: int, *, keep: bool = True) -> Samples:
        """The same samples, each as a pair (sample, function of it), sharing memory with these.

        The function's values are kept in memory even if the samples are not. As a model's outputs they tend to be far
        smaller, and to compute them again would cost one more forward at every pass. They are computed whenever samples
        are asked for if they would take more than 256 MiB, or if only few samples will be.

        Args:
            function: Maps a batch to a tensor, or several, whose first dimension is the batch.
            size: Largest number of samples in a call.
            keep: Whether values may be computed now, for all samples.

        Returns:
            Samples whose batches are tuples (batch, value).
        """
        size = min(size, self._source.most)
        value = function(cut(self.first(1), 0, 1))
        if not keep or num_bytes(value) * self.n > PAIRED_BYTES:
            return self._of(_PairedLater(self._source, function, size))
        assert not isinstance(self._source, _PairedLater)  # pairs are not paired again
        pieces = iter([function(batch) for batch, _ in self._source.chunks(size)])
        values = [joined([next(pieces) for _ in range(0, each, size)]) for each in self._source.sizes]
        return self._of(self._source.paired(values))

    def subset(self, indices: Tensor) -> Samples:
        """Some of the samples; kept in memory if they fit there.

        Args:
            indices: Integers below `n`, shape (size,).

        Returns:
            These samples.
        """
        part = self._source.part(indices) if isinstance(self._source, Stream | _PairedLater) else None
        return self._of(_Kept([self.gather(indices)]) if part is None else part)

    def gather(self, indices: Tensor) -> Tree:
        """The samples with these indices; an index tensor of shape (rows, batch) gives leaves (rows, batch, …).

        Args:
            indices: Integers below `n`, of any shape.

        Returns:
            A batch whose leaves have the shape of `indices` in place of their first dimension.

        Raises:
            InputError: The samples are kept as batches of different shapes.
        """
        if not self.is_separable:
            raise InputError(
                "the loss weighs the samples of a batch against each other (a mean over tokens, or class weights), so "
                "minibatches do not have it as their mean; use the full loss (batch_size=None) or give one loss per "
                "sample, shape (batch,)"
            )
        if not self.is_indexable:
            raise InputError(
                "the data's batches differ in shape, so single samples cannot be drawn; use the full loss "
                "(batch_size=None) or a collate function that pads all samples alike"
            )
        return self._source.gather(indices)

    def close(self) -> None:
        """End the worker processes that read the data, if any; the next pass starts new ones."""
        if isinstance(self._source, Stream | _PairedLater):
            self._source.close()


class _Kept:
    """Samples in memory: one block, or the batches of the collate function if these cannot be joined."""

    def __init__(self, blocks: list[Tree]) -> None:
        lengths = [length(block) for block in blocks]
        if alike([form(block) for block in blocks]):
            blocks = [joined(blocks)] if len(blocks) > 1 else blocks
            lengths = [sum(lengths)]
        self._blocks, self.sizes = blocks, lengths
        self.most = max(1, sum(lengths))

    @property
    def is_indexable(self) -> bool:
        return len(self._blocks) == 1

    @property
    def block(self) -> Tree | None:
        return self._blocks[0] if len(self._blocks) == 1 else None

    def chunks(self, size: int) -> Iterator[tuple[Tree, int]]:
        for block, total in zip(self._blocks, self.sizes, strict=True):
            for start in range(0, total, size):
                stop = min(start + size, total)
                whole = start == 0 and stop == total
                yield block if whole else cut(block, start, stop), stop - start

    def paired(self, values: list[Tree]) -> _Kept:
        return _Kept(list(zip(self._blocks, values, strict=True)))

    def gather(self, indices: Tensor) -> Tree:
        return tree_map(lambda x: x[indices.to(x.device)], self._blocks[0])


class _PairedLater:
    """Samples paired with a function of them that is computed whenever they are asked for."""

    def __init__(self, source: _Source, function: Callable[[Tree], Tree], size: int) -> None:
        self._source, self._function, self._size = source, function, size
        self.sizes, self.most, self.is_indexable = source.sizes, min(size, source.most), source.is_indexable

    def chunks(self, size: int) -> Iterator[tuple[Tree, int]]:
        for batch, count in self._source.chunks(min(size, self.most)):
            yield (batch, self._function(batch)), count

    def gather(self, indices: Tensor) -> Tree:
        batch = self._source.gather(indices.reshape(-1))
        pieces = [cut(batch, i, i + self._size) for i in range(0, indices.numel(), self._size)]
        values = joined([self._function(piece) for piece in pieces])
        return tree_map(lambda x: x.reshape(*indices.shape, *x.shape[1:]), (batch, values))

    def part(self, indices: Tensor) -> _PairedLater | None:
        part = self._source.part(indices) if isinstance(self._source, Stream) else None
        few = _Kept([self._source.gather(indices)]) if part is None else part
        return _PairedLater(few, self._function, self._size)

    def close(self) -> None:
        if isinstance(self._source, Stream):
            self._source.close()


_Source = _Kept | Stream | _PairedLater
