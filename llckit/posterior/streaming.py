"""`Stream`: data that do not fit into memory, read again at every pass and cut into the same chunks as data kept."""

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

MEMORY_BYTES = 2**32  # that a data set may take in memory; a larger one is read again at every pass
CHUNK_BYTES = 2**30  # in one chunk of samples read again; three times that is in memory while the next is put together
REREAD = 16  # samples that are read twice, to notice augmentation
HEAD = 16  # first samples that are kept: many trials need just a few
LINE = 64  # bytes of a cache line


@dataclass
class Stream:
    """Samples that are read again at every pass.

    Attributes:
        reader: Reads the samples.
        order: Indices of the samples in the dataset.
        blocks: The same indices by batch, as they are read.
        checksums: Checksum of each batch; None before it is read.
        lengths: Number of samples in each batch.
        form: Shapes and types of a sample; None if batches differ.
        sample_bytes: Bytes that a sample takes in memory.
        head: The first batches, which are kept.
        is_indexable: Whether single samples can be gathered.
        values: What is paired with the samples, a tensor or several for each of `sizes`; None without.
    """

    reader: Reader
    order: Sequence[int]
    blocks: Sequence[Sequence[int]]
    checksums: list[int | None]
    lengths: list[int]
    form: Form | None
    sample_bytes: int
    head: list[Tree]
    is_indexable: bool
    values: list[Tree] | None = None

    @property
    def sizes(self) -> list[int]:
        """Numbers of samples that are cut into chunks together: all, or each batch alone if batches differ."""
        return self.lengths if self.form is None else [sum(self.lengths)]

    @property
    def most(self) -> int:
        """Largest number of samples in a chunk."""
        return max(1, CHUNK_BYTES // max(1, self.sample_bytes))

    def chunks(self, size: int) -> Iterator[tuple[Tree, int]]:
        """One pass, in pieces of at most `size` and `most`: pairs (batch, number of samples in it)."""
        blocks = self._read()
        for number in range(len(self.sizes)):
            within = blocks if self.form is not None else (next(blocks) for _ in range(1))
            start = 0
            for batch, count in _pieces(within, min(size, self.most)):
                stop = start + count
                yield (batch if self.values is None else (batch, cut(self.values[number], start, stop))), count
                start = stop

    def _read(self) -> Iterator[Tree]:
        yield from self.head
        known = len(self.head)
        for k, (block, crc) in enumerate(self.reader.read(self.blocks[known:]), known):
            if self.checksums[k] is None:
                self.checksums[k] = crc
            elif self.checksums[k] != crc:
                raise InputError(
                    f"samples {self.blocks[k][0]} to {self.blocks[k][-1]} of the data are not what they were when they "
                    "were first read; expected one fixed value per index: switch random augmentation off, and leave "
                    "the files alone"
                )
            yield block

    def paired(self, values: list[Tree]) -> Stream:
        """The same samples, each paired with a value, which is kept in memory.

        Args:
            values: For each of `sizes` a tensor, or several, whose first dimension counts the samples.

        Returns:
            A stream of pairs.
        """
        return replace(self, values=values)

    def gather(self, indices: Tensor) -> Tree:
        """The samples with these indices; see `Samples.gather`.

        Args:
            indices: Integers, of any shape.

        Returns:
            A batch whose leaves have the shape of `indices` in place of their first dimension.

        Raises:
            InputError: The batches that were read differ in shape from those of a full pass.
        """
        wanted = [self.order[i] for i in indices.reshape(-1).tolist()]
        blocks = [block for block, _ in self.reader.read(_by(self.reader.size, wanted))]
        if any(form(block) != self.form for block in blocks):
            raise InputError(
                "the collate function gives other shapes to batches of samples drawn at random, so single samples "
                "cannot be drawn; use the full loss (batch_size=None) or a collate function that pads all samples alike"
            )
        batch = tree_map(lambda x: x.reshape(*indices.shape, *x.shape[1:]), _join(blocks, 0))
        return batch if self.values is None else (batch, tree_map(lambda x: x[indices.to(x.device)], self.values[0]))

    def part(self, indices: Tensor) -> Stream | None:
        """Some of the samples.

        Args:
            indices: Integers, shape (size,).

        Returns:
            A stream; None if the samples fit into memory.
        """
        if not self.is_indexable or len(indices) * self.sample_bytes <= MEMORY_BYTES:
            return None
        order = [self.order[i] for i in indices.tolist()]
        blocks = _by(self.reader.size, order)
        checksums: list[int | None] = [None] * len(blocks)
        values = None if self.values is None else [tree_map(lambda x: x[indices.to(x.device)], self.values[0])]
        lengths = [*map(len, blocks)]
        return replace(self, order=order, blocks=blocks, checksums=checksums, lengths=lengths, head=[], values=values)

    def close(self) -> None:
        """End the worker processes; the next pass starts new ones."""
        self.reader.close()


def read_once(reader: Reader) -> tuple[list[Tree] | Stream, tuple[Tree, Tree] | None]:
    """Read all samples, and keep them if they take no more than `MEMORY_BYTES`.

    Args:
        reader: Reads the dataset.

    Returns:
        The batches, or a stream of them; and two batches of the same indices if reading them twice gave different
        tensors, else None.
    """
    again = np.unique(np.linspace(0, reader.n - 1, REREAD).astype(int)).tolist()
    kept: list[Tree] = []
    rows: list[Tree] = []
    checksums: list[int | None] = []
    lengths, forms, total_bytes = [], [], 0
    reading = zip(reader.blocks, reader.read(reader.blocks), strict=True)
    for indices, (block, crc) in tqdm(
        reading, desc="reading data", total=len(reader.blocks), disable=None, leave=False
    ):
        total_bytes = total_bytes or num_bytes(block) * len(reader.blocks)
        fits = total_bytes <= MEMORY_BYTES
        if not fits and type(reader.dataset) is TensorDataset and reader.collate is default_collate:
            return [reader.place(list(reader.dataset.tensors))], None  # its tensors are in memory already
        if fits or sum(lengths) < HEAD:
            kept.append(block)
        if not fits:
            rows += [
                tree_map(torch.clone, cut(block, i - indices[0], i - indices[0] + 1)) for i in again if i in indices
            ]
        checksums.append(crc)
        lengths.append(length(block))
        forms.append(form(block))
    # Workers may augment alike, each in its own first batch: with one batch more than workers, one worker reads twice.
    once, *others = reader.read([again] * max(2, reader.num_workers + 1))
    reread = next(((once[0], batch) for batch, crc in others if crc != once[1]), None)
    if total_bytes <= MEMORY_BYTES:
        reader.close()
        return kept, reread
    joined = alike(forms)
    # Batches that happen to be padded to one length do not mean that samples can be read one by one.
    singly = lengths == [*map(len, reader.blocks)] and joined
    singly = singly and (reread is not None or checksum(_join(rows, 0)) == checksum(once[0]))
    stream = Stream(
        reader=reader,
        order=range(reader.n),
        blocks=reader.blocks,
        checksums=checksums,
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
    waiting: list[Tree] = []
    count = start = 0
    for block in blocks:
        at, total = 0, length(block)
        while at < total:
            take = min(size - count, total - at)
            waiting.append(block if take == total else cut(block, at, at + take))
            at, count = at + take, count + take
            if count == size:
                joined, waiting = _join(waiting, start), []  # blocks are freed before anyone computes
                yield joined, count
                count, start = 0, start + count
    if waiting:
        yield _join(waiting, start), count


def _join(blocks: Sequence[Tree], start: int) -> Tree:
    """Several batches as one, laid out in memory as if cut at sample `start` from a batch of all samples."""
    columns = zip(*(leaves(block) for block in blocks), strict=True)
    return rebuilt(blocks[0], [_column(column, start) for column in columns])


def _column(column: tuple[Tensor, ...], start: int) -> Tensor:
    # The rounding of a matrix product depends on where in a cache line its operands begin.
    first, itemsize = column[0], column[0].element_size()
    phase = start * first[:1].numel() * itemsize % LINE
    if len(column) == 1 and first.data_ptr() % LINE == phase:
        return first
    dense = torch.cat([torch.empty_like(x, device="meta") for x in column])  # in the order of dimensions that cat gives
    buffer = first.new_empty(dense.numel() + LINE // itemsize)
    return torch.cat(column, out=buffer.as_strided(dense.shape, dense.stride(), phase // itemsize))
