"""Data that do not fit into memory: read again at every pass, and cut as if they were kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate
from tqdm import tqdm

from llckit.errors import InputError
from llckit.posterior.reading import Reader, checksum
from llckit.posterior.trees import Form, Tree, alike, cut, form, leaves, length, num_bytes, rebuilt, tree_map

MEMORY_BYTES = 2**32  # what a data set may take in memory; of a larger one samples are read again at every pass
CHUNK_BYTES = 2**30  # in one chunk of samples read again; three times that is in memory while the next is put together
REREAD = 16  # samples read twice, to notice augmentation
HEAD = 16  # samples at the start that are kept: much is tried on just a few
LINE = 64  # bytes of a cache line


@dataclass
class Stream:
    """Samples that are read again at every pass.

    Attributes:
        reader: Reads them.
        order: Their indices in the dataset.
        blocks: The same by batch, as they are read.
        marks: Checksum of each batch; None before it is read.
        lengths: Samples in each batch.
        form: Of a sample; None where batches differ.
        sample_bytes: What one takes in memory.
        head: The first batches.
        is_indexable: Whether single samples can be gathered.
        values: What is paired with them, for each of `sizes`.
    """

    reader: Reader
    order: Sequence[int]
    blocks: Sequence[Sequence[int]]
    marks: list[int | None]
    lengths: list[int]
    form: Form | None
    sample_bytes: int
    head: list[Tree]
    is_indexable: bool
    values: list[Tensor] | None = None

    @property
    def sizes(self) -> list[int]:
        """Samples within whose borders chunks are cut: all, or those of each batch where batches differ."""
        return self.lengths if self.form is None else [sum(self.lengths)]

    @property
    def most(self) -> int:
        """Samples that one chunk may hold."""
        return max(1, CHUNK_BYTES // max(1, self.sample_bytes))

    def chunks(self, size: int) -> Iterator[tuple[Tree, int]]:
        """One pass, in pieces of at most `size` and `most`: pairs (batch, number of samples in it)."""
        blocks = self._read()
        for number in range(len(self.sizes)):
            within = blocks if self.form is not None else (next(blocks) for _ in range(1))
            start = 0
            for batch, count in _pieces(within, min(size, self.most)):
                stop = start + count
                yield (batch if self.values is None else (batch, self.values[number][start:stop])), count
                start = stop

    def _read(self) -> Iterator[Tree]:
        yield from self.head
        known = len(self.head)
        for k, (block, mark) in enumerate(self.reader.read(self.blocks[known:]), known):
            if self.marks[k] is None:
                self.marks[k] = mark
            elif self.marks[k] != mark:
                raise InputError(
                    f"samples {self.blocks[k][0]} to {self.blocks[k][-1]} of the data are not what they were when they "
                    "were first read; expected one fixed value per index: switch random augmentation off, and leave "
                    "the files alone"
                )
            yield block

    def paired(self, values: list[Tensor]) -> Stream:
        """The same samples, each with a value that is kept.

        Args:
            values: For each of `sizes`.

        Returns:
            Samples that are pairs.
        """
        return replace(self, values=values)

    def gather(self, indices: Tensor) -> Tree:
        """The samples with these indices, as `Samples.gather` has it.

        Args:
            indices: Of any shape.

        Returns:
            A tree whose leaves are indexed by `indices`.

        Raises:
            InputError: Batches of other samples have another shape.
        """
        wanted = [self.order[i] for i in indices.reshape(-1).tolist()]
        blocks = [block for block, _ in self.reader.read(_by(self.reader.size, wanted))]
        if any(form(block) != self.form for block in blocks):
            raise InputError(
                "the collate function gives other shapes to batches of samples drawn at random, so single samples "
                "cannot be drawn; use the full loss (batch_size=None) or a collate function that pads all samples alike"
            )
        batch = tree_map(lambda x: x.reshape(*indices.shape, *x.shape[1:]), _join(blocks, 0))
        return batch if self.values is None else (batch, self.values[0][indices.to(self.values[0].device)])

    def part(self, indices: Tensor) -> Stream | None:
        """Some of the samples.

        Args:
            indices: Shape (size,).

        Returns:
            A stream; None where they are few enough to be kept.
        """
        if not self.is_indexable or len(indices) * self.sample_bytes <= MEMORY_BYTES:
            return None
        order = [self.order[i] for i in indices.tolist()]
        blocks = _by(self.reader.size, order)
        part = replace(self, order=order, blocks=blocks, marks=[None] * len(blocks), lengths=[*map(len, blocks)])
        part.head = []
        part.values = None if self.values is None else [self.values[0][indices.to(self.values[0].device)]]
        return part

    def close(self) -> None:
        """End the worker processes; the next pass starts new ones."""
        self.reader.close()


def read_once(reader: Reader) -> tuple[list[Tree] | Stream, tuple[Tree, Tree] | None]:
    """Read all samples, and keep them if they take no more than `MEMORY_BYTES`.

    Args:
        reader: Of the dataset.

    Returns:
        The batches, or a stream of them; and two trees made from the same indices, where these differ.
    """
    again = np.unique(np.linspace(0, reader.n - 1, REREAD).astype(int)).tolist()
    kept: list[Tree] = []
    rows: list[Tree] = []
    marks: list[int | None] = []
    lengths, forms, total_bytes = [], [], 0
    reading = zip(reader.blocks, reader.read(reader.blocks), strict=True)
    for indices, (block, mark) in tqdm(
        reading, desc="reading data", total=len(reader.blocks), disable=None, leave=False
    ):
        total_bytes = total_bytes or num_bytes(block) * len(reader.blocks)
        fits = total_bytes <= MEMORY_BYTES
        if not fits and type(reader.dataset) is TensorDataset and reader.collate is default_collate:
            return [reader.place(list(reader.dataset.tensors))], None  # which are in memory already
        if fits or sum(lengths) < HEAD:
            kept.append(block)
        if not fits:
            rows += [
                tree_map(torch.clone, cut(block, i - indices[0], i - indices[0] + 1)) for i in again if i in indices
            ]
        marks.append(mark)
        lengths.append(length(block))
        forms.append(form(block))
    # Workers may each augment alike: one more batch than there are of them makes one read twice.
    once, *others = reader.read([again] * max(2, reader.num_workers + 1))
    reread = next(((once[0], batch) for batch, mark in others if mark != once[1]), None)
    if total_bytes <= MEMORY_BYTES:
        reader.close()
        return kept, reread
    joined = alike(forms)
    # Batches that happen to be padded alike do not make samples that can be read one by one.
    singly = lengths == [*map(len, reader.blocks)] and joined
    singly = singly and (reread is not None or checksum(_join(rows, 0)) == checksum(once[0]))
    stream = Stream(
        reader=reader,
        order=range(reader.n),
        blocks=reader.blocks,
        marks=marks,
        lengths=lengths,
        form=forms[0] if joined else None,
        sample_bytes=num_bytes(kept[0]) // max(1, lengths[0]),
        head=kept,
        is_indexable=singly,
    )
    return stream, reread


def _by(size: int, order: Sequence[int]) -> list[Sequence[int]]:
    return [order[i : i + size] for i in range(0, len(order), size)]


def _pieces(blocks: Iterable[Tree], size: int) -> Iterator[tuple[Tree, int]]:
    """Batches cut and joined anew, each of `size` samples but the last."""
    held: list[Tree] = []
    count = start = 0
    for block in blocks:
        at, total = 0, length(block)
        while at < total:
            take = min(size - count, total - at)
            held.append(block if take == total else cut(block, at, at + take))
            at, count = at + take, count + take
            if count == size:
                joined, held = _join(held, start), []  # blocks are let go before anyone computes
                yield joined, count
                count, start = 0, start + count
    if held:
        yield _join(held, start), count


def _join(blocks: Sequence[Tree], start: int) -> Tree:
    """One batch of several, in memory as if cut at sample `start` from one of all samples."""
    columns = zip(*(leaves(block) for block in blocks), strict=True)
    return rebuilt(blocks[0], [_column(column, start) for column in columns])


def _column(column: tuple[Tensor, ...], start: int) -> Tensor:
    # How a matrix product is rounded depends on where in a cache line its operands begin.
    first, itemsize = column[0], column[0].element_size()
    phase = start * first[:1].numel() * itemsize % LINE
    if len(column) == 1 and first.data_ptr() % LINE == phase:
        return first
    dense = torch.cat([torch.empty_like(x, device="meta") for x in column])  # in the order of dimensions it would have
    buffer = first.new_empty(dense.numel() + LINE // itemsize)
    return torch.cat(column, out=buffer.as_strided(dense.shape, dense.stride(), phase // itemsize))
