"""Reading HDF5 that may be damaged or forged: an allow-list of forms, and nothing allocated or followed on trust."""

import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.store.messages import one_line, system_error

__all__ = ["CHUNK_BYTES", "MAX_INFLATION", "Source", "attribute", "hard_link", "inflate_row", "read_row", "require"]

CHUNK_BYTES = 4 << 20  # of a compressed row
MAX_INFLATION = 1032  # what deflate can make of a byte
_UNSIGNED = {h5py.h5t.STD_U8LE: 1, h5py.h5t.STD_U16LE: 2, h5py.h5t.STD_U32LE: 4, h5py.h5t.STD_U64LE: 8}
_FILTERS = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]


@dataclass(frozen=True)
class Source:
    """A file to read.

    Attributes:
        path: Where.
        advice: What to do if it is damaged.
    """

    path: Path
    advice: str

    @contextmanager
    def opened(self) -> Iterator[tuple[h5py.File, int]]:
        """Open it; whatever goes wrong in the block is an InputError.

        Yields:
            The file and its size in bytes.

        Raises:
            InputError: It cannot be read, or is no plain file.
        """
        try:
            status = self.path.stat()
            if stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
                self.path.open("rb").close()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        with self.damage_named():
            require(stat.S_ISREG(status.st_mode), "it is not a plain file")
            with h5py.File(self.path, "r", locking=False) as file:
                yield file, status.st_size

    @contextmanager
    def damage_named(self, part: str = "") -> Iterator[None]:
        """Any failure to make sense of a file becomes one sentence; h5py raises nearly every built-in type.

        Args:
            part: What is being read, such as "tensor 'w': ".

        Raises:
            InputError: Something failed.
            MemoryError: There is too little memory, which is no damage.
        """
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            if said := system_error(error):
                raise InputError(f"{self.path} cannot be read: {part}{said}") from None
            raise InputError(
                f"{self.path} is damaged or no llckit checkpoint: {part}{one_line(error)}. {self.advice}"
            ) from None


def attribute(group: h5py.Group, name: str, kind: str) -> object:
    """Read a scalar stored inline; variable-length kinds, which live in an unchecked heap, are refused.

    Args:
        group: Whose.
        name: Which.
        kind: Of its dtype, as numpy's letter.

    Returns:
        Its value; what is missing or of another form is a ValueError.
    """
    require(name in group.attrs, f"it has no attribute {name!r}")
    found = group.attrs.get_id(name)
    inline = found.shape == () and found.dtype.kind == kind and found.dtype.itemsize <= 64
    require(inline, f"its attribute {name!r} has an unknown form")
    return group.attrs[name]


def hard_link(group: h5py.Group, name: str) -> object:
    """Get a member that is in this file; other links are a ValueError.

    Args:
        group: Of which.
        name: Which.

    Returns:
        The member.
    """
    link = group.get(name, getlink=True)
    require(isinstance(link, h5py.HardLink), f"{name!r} is a link to somewhere else")
    return group[name]


def read_row(group: h5py.Group, name: str, file_size: int, least: int, most: int) -> Tensor:
    """Read a plain dataset once nothing about it is left to trust: it allocates no more than the file holds.

    Args:
        group: Of which.
        name: Which.
        file_size: In bytes.
        least: How many bytes it must have.
        most: And at most.

    Returns:
        Its bytes; anything unexpected is a ValueError.
    """
    dataset = _row(group, name)
    properties = dataset.id.get_create_plist()
    plain = (
        dataset.id.get_type().equal(h5py.h5t.STD_U8LE)
        and properties.get_layout() == h5py.h5d.CONTIGUOUS
        and properties.get_nfilters() == 0
        and properties.get_external_count() == 0
    )
    require(plain, f"{name!r} is not a plain row of bytes")
    size = dataset.id.shape[0]
    offset = dataset.id.get_offset() or 0  # None where nothing is stored, so that the sizes differ as well
    held = dataset.id.get_storage_size() == size and offset + size <= file_size
    require(held, f"{name!r} claims {size} bytes that the file does not have")
    require(least <= size <= most, f"{name!r} has {size} bytes, not {least} to {most}")
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    bits = np.empty(size, np.uint8)  # numpy's MemoryError tells a lack of memory from damage
    dataset.read_direct(bits)
    return torch.from_numpy(bits)


def inflate_row(group: h5py.Group, name: str, file_size: int, size: int) -> Tensor:
    """Read a compressed dataset; HDF5's own inflating would grow its buffers as far as the bits lead it.

    Args:
        group: Of which.
        name: Which.
        file_size: In bytes.
        size: Of the inflated bits, in bytes.

    Returns:
        Its bits; anything unexpected is a ValueError.
    """
    dataset = _row(group, name)
    properties, kind = dataset.id.get_create_plist(), dataset.id.get_type()
    width = next((width for unsigned, width in _UNSIGNED.items() if kind.equal(unsigned)), 0)
    length, chunk = dataset.id.shape[0], 0
    if width and length and properties.get_layout() == h5py.h5d.CHUNKED and dataset.maxshape == dataset.shape:
        filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
        chunk = properties.get_chunk()[0] if filters == _FILTERS else 0
    require(chunk > 0 and chunk == min(length, CHUNK_BYTES // width), f"{name!r} is not a deflated row of numbers")
    require(length * width == size, f"{name!r} has {length * width} bytes, not {size}")
    held = dataset.id.get_storage_size()
    require(held <= file_size and size <= MAX_INFLATION * held, f"{name!r} claims bytes that the file does not have")
    bits = np.empty((length, width), np.uint8)
    for start in range(0, length, chunk):
        stored = dataset.id.get_chunk_info_by_coord((start,))
        inside = stored.byte_offset is not None and stored.byte_offset + stored.size <= file_size
        require(inside and stored.filter_mask == 0, f"{name!r} has a chunk that the file does not hold")
        _, deflated = dataset.id.read_direct_chunk((start,))
        stream = zlib.decompressobj()
        shuffled = np.frombuffer(stream.decompress(deflated, chunk * width), np.uint8)
        require(shuffled.size == chunk * width, f"{name!r} has a chunk of the wrong size")
        bits[start : start + chunk] = shuffled.reshape(width, chunk).T[: length - start]
    return torch.from_numpy(bits.reshape(-1))


def _row(group: h5py.Group, name: str) -> h5py.Dataset:
    dataset = hard_link(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name!r} is not a dataset")
    require(len(dataset.id.shape) == 1, f"{name!r} is not a plain row of bytes or numbers")
    return dataset


def require(condition: bool, otherwise: str) -> None:
    """Raise a ValueError unless a condition holds.

    Args:
        condition: The condition.
        otherwise: What is wrong without it.

    Raises:
        ValueError: It does not hold.
    """
    if not condition:
        raise ValueError(otherwise)
