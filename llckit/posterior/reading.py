"""`Reader`: reads a dataset by index, in this process or in the worker processes that the DataLoader asks for."""

from __future__ import annotations

import signal
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import current_process
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, default_collate

from llckit.errors import InputError
from llckit.posterior.loader_order import check_order
from llckit.posterior.trees import Tree, leaves, placed

COLLATE_SIZE = 256  # samples in a batch if there is no DataLoader to say
WORKERS = "num_workers", "worker_init_fn", "multiprocessing_context", "prefetch_factor", "timeout"


class Reader:
    """Reads samples of a map-style dataset in batches, here or in worker processes, which stay for the next pass.

    Args:
        data: A dataset, or a DataLoader over one.
        device: Where batches are put.
        half_to: The type that half-precision tensors are converted to; None leaves them.

    Attributes:
        blocks: The indices of each batch of a full pass.
        size: Samples in a batch.
        n: Samples in the dataset.

    Raises:
        InputError: The data cannot be indexed or are empty, or a sampler leaves samples out.
    """

    def __init__(self, data: Any, device: torch.device, half_to: torch.dtype | None) -> None:
        self.dataset: Any = data
        self.collate, self.size = default_collate, COLLATE_SIZE
        self._workers: dict[str, Any] = {}
        if isinstance(data, DataLoader):
            self.dataset, self.collate, self.size = data.dataset, data.collate_fn, data.batch_size or COLLATE_SIZE
            check_order(data)
            if data.num_workers and not current_process().daemon:  # daemons may not have children
                self._workers = {name: getattr(data, name) for name in WORKERS}
        if isinstance(self.dataset, IterableDataset) or not (
            hasattr(self.dataset, "__getitem__") and hasattr(self.dataset, "__len__")
        ):
            raise InputError(
                f"data is a {type(data).__name__} that cannot be indexed; expected tensors, a Dataset with __len__ and "
                "__getitem__, or a DataLoader over one: list(...) of a stream that ends and fits into memory. What "
                "does not fit there is read again at every pass, which needs a Dataset whose __getitem__(i) reads "
                "sample i, such as from a memory-mapped file"
            )
        self._name, self._device, self._half_to = type(data).__name__, device, half_to
        self.n = len(self.dataset)
        if self.n == 0:
            raise InputError("data is empty; expected at least one sample")
        self.blocks = [range(i, min(i + self.size, self.n)) for i in range(0, self.n, self.size)]
        self._loader: DataLoader | None = None
        self._busy = False

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_loader": None, "_busy": False}  # processes cannot be copied

    @property
    def num_workers(self) -> int:
        """Worker processes; 0 reads here."""
        return self._workers.get("num_workers", 0)

    def read(self, blocks: Sequence[Sequence[int]]) -> Iterator[tuple[Tree, int]]:
        """Batches of the samples with these indices, in order.

        Args:
            blocks: The indices of each batch.

        Yields:
            The batch and a checksum of its values.

        Raises:
            InputError: Reading or collating fails, or the dataset's length has changed.
        """
        if len(self.dataset) != self.n:
            raise InputError(
                f"the data ({self._name}) had {self.n} samples when they were first read and has {len(self.dataset)} "
                "now; expected a data set that does not change"
            )
        by_workers = self.num_workers > 0 and not self._busy  # workers serve one pass; a second one reads here
        batches = self._from_workers(blocks) if by_workers else map(self._load, blocks)
        self._busy |= by_workers
        try:
            for indices in blocks:
                try:
                    batch, crc = next(batches)
                except Exception as error:
                    why = (self._death() if by_workers else None) or (
                        f"{_cause(error)}; expected tensors with one row per sample, or a Dataset whose samples "
                        "collate into batches"
                    )
                    del batches
                    self.close()
                    raise InputError(
                        f"reading samples {min(indices)} to {max(indices)} of the data ({self._name}) failed: {why}"
                    ) from error.with_traceback(None)  # whose frames would keep the workers
                yield self.place(batch, copy=by_workers), crc
        finally:
            if by_workers:
                self._busy = False

    def place(self, batch: Tree, copy: bool = False) -> Tree:
        """The batch on the device where it is computed with.

        Args:
            batch: As collated.
            copy: Whether to copy tensors that are there already. A worker shares the memory of what it sends, and each
                such tensor holds a file open.

        Returns:
            A batch of the same values.
        """
        return placed(batch, self._device, self._half_to, copy=copy, non_blocking=self._device.type == "cuda")

    def close(self) -> None:
        """End the worker processes; the next pass starts new ones."""
        self._loader = None

    def _load(self, indices: Sequence[int]) -> tuple[Tree, int]:
        together = getattr(self.dataset, "__getitems__", None)
        return _checked(self.collate, together([*indices]) if together else [self.dataset[i] for i in indices])

    def _from_workers(self, blocks: Sequence[Sequence[int]]) -> Iterator[tuple[Tree, int]]:
        with warnings.catch_warnings():
            # The number of workers, and forking them, is the user's choice; the user's DataLoader has warned.
            warnings.filterwarnings("ignore", message="This DataLoader will create|.*multi-threaded, use of fork")
            if self._loader is None:
                self._loader = DataLoader(
                    self.dataset,
                    batch_sampler=_Order(),
                    collate_fn=partial(_checked, self.collate),
                    persistent_workers=True,
                    pin_memory=self._device.type == "cuda",
                    generator=torch.Generator(),  # for the workers' seeds, else drawn from the user's generator
                    **self._workers,
                )
            assert isinstance(self._loader.batch_sampler, _Order)
            self._loader.batch_sampler.blocks = blocks
            with torch.device("cpu"):  # where torch draws the workers' seed, whatever the user's default device
                batches = iter(self._loader)
        yield from batches

    def _death(self) -> str | None:
        """How a worker process ended, if one did: torch only says that its connection is lost."""
        for process in getattr(getattr(self._loader, "_iterator", None), "_workers", ()):
            with suppress(RuntimeError):  # which torch raises from a signal as soon as a worker has ended
                process.join(0.1)
            code = process.exitcode
            if code is not None:
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
                memory = " (as where memory runs out)" if code == -signal.SIGKILL else ""
                return (
                    f"a worker process {how}{memory}; expected workers that live: num_workers=0 reads in this process "
                    "and shows what is wrong, and fewer workers take less memory"
                )
        return None


class _Order:
    """A batch sampler whose batches are set before each pass."""

    blocks: Sequence[Sequence[int]] = ()

    def __iter__(self) -> Iterator[list[int]]:
        return (list(indices) for indices in self.blocks)


def checksum(tree: Tree) -> int:
    """CRC-32 of a batch's shapes, types and values."""
    crc = 0
    for x in leaves(tree):
        crc = zlib.crc32(repr((x.dtype, x.shape)).encode(), crc)
        values = x.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        crc = zlib.crc32(memoryview(values.numpy()), crc)  # pyright: ignore[reportArgumentType]
    return crc


def _checked(collate: Callable[[list[Any]], Tree], samples: list[Any]) -> tuple[Tree, int]:
    batch = collate(samples)
    try:
        return batch, checksum(batch)
    except InputError:  # not only tensors: the process that receives the batch refuses it
        return batch, 0


def _cause(error: Exception) -> str:
    name, text = type(error).__name__, str(error)
    if "DataLoader worker process" not in text:
        return f"{name}: {text}"
    last = text.rfind(f"{name}: ")  # a worker's whole traceback comes as the message
    return (text[last:] if last >= 0 else text.strip().splitlines()[-1]).strip()
