"""Reading HDF5 that may be damaged or forged.

Only an allow-list of forms is accepted, no link leads out of the file, and no memory is allocated on the word of the
file.
"""

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
from llckit.store.file_format import CHUNK_BYTES
from llckit.store.foreign_errors import one_line, system_error

__all__ = ["MAX_INFLATION", "UntrustedFile", "attribute", "inflate_row", "read_row", "require", "subgroup"]

MAX_INFLATION = 1032  # most bytes that deflate can make of one
_UNSIGNED = {h5py.h5t.STD_U8LE: 1, h5py.h5t.STD_U16LE: 2, h5py.h5t.STD_U32LE: 4, h5py.h5t.STD_U64LE: 8}
_FILTERS = [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]


@dataclass(frozen=True)
class UntrustedFile:
    """A file to read.

    Attributes:
        path: The file.
        advice: What to do if the file is damaged, for the message.
    """

    path: Path
    advice: str

    @contextmanager
    def opened(self) -> Iterator[tuple[h5py.File, int]]:
        """Open the file; whatever goes wrong in the block becomes an InputError.

        Yields:
            The file and its size in bytes.

        Raises:
            InputError: The file cannot be read, or is not a plain file.
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
        """Turn every failure in the block into an InputError; h5py raises nearly every built-in type.

        Args:
            part: The part that is being read, such as "tensor 'w': ".

        Raises:
            InputError: Something failed.
            MemoryError: There is too little memory, which is not damage.
        """
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            if said := system_error(error):
                raise InputError(f"{self.path} cannot be read: {part}{said}") from None
            raise InputError(
                f"{self.path} is damaged or no llckit checkpoint: {part}{one_line(error)}; {self.advice}"
            ) from None


def attribute(group: h5py.Group, name: str, kind: str) -> object:
    """Read a scalar attribute that is stored inline.

    Kinds of variable length are refused, since they live in a heap without checksums.

    Args:
        group: Group that has the attribute.
        name: Name of the attribute.
        kind: Kind of its dtype, as NumPy's letter.

    Returns:
        The value; a missing attribute, or one of another form, is a ValueError.
    """
    require(name in group.attrs, f"it has no attribute {name!r}")
    found = group.attrs.get_id(name)
    inline = found.shape == () and found.dtype.kind == kind and found.dtype.itemsize <= 64
    require(inline, f"its attribute {name!r} has an unknown form")
    return group.attrs[name]


def subgroup(group: h5py.Group, name: str) -> h5py.Group:
    """Get a group within a group; anything else is a ValueError.

    Args:
        group: The group.
        name: Name of the group within.

    Returns:
        The group within.

    Raises:
        ValueError: The name is missing, is a link out of this file, or is not a group.
    """
    found = _hard_link(group, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name!r} is no group")
    return found


def read_row(group: h5py.Group, name: str, file_size: int, least: int, most: int) -> Tensor:
    """Read a plain dataset, after checking everything that it claims; it allocates no more than the file holds.

    Args:
        group: Group that has the dataset.
        name: Name of the dataset.
        file_size: Size of the file in bytes.
        least: Fewest bytes that the dataset may have.
        most: Most bytes that the dataset may have.

    Returns:
        The bytes, shape (bytes,); anything unexpected is a ValueError.
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
    offset = dataset.id.get_offset() or 0  # None if nothing is stored; then the sizes differ as well
    is_stored = dataset.id.get_storage_size() == size and offset + size <= file_size
    require(is_stored, f"{name!r} claims {size} bytes that the file does not have")
    require(least <= size <= most, f"{name!r} has {size} bytes, not {least} to {most}")
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    bits = np.empty(size, np.uint8)  # NumPy's MemoryError distinguishes a lack of memory from damage
    dataset.read_direct(bits)
    return torch.from_numpy(bits)


def inflate_row(group: h5py.Group, name: str, file_size: int, size: int) -> Tensor:
    """Read a compressed dataset; HDF5 would grow its buffers as far as forged bits tell it to.

    Args:
        group: Group that has the dataset.
        name: Name of the dataset.
        file_size: Size of the file in bytes.
        size: Size of the inflated bits in bytes.

    Returns:
        The inflated bits, shape (size,); anything unexpected is a ValueError.
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
    stored_size = dataset.id.get_storage_size()
    is_stored = stored_size <= file_size and size <= MAX_INFLATION * stored_size
    require(is_stored, f"{name!r} claims bytes that the file does not have")
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


def _hard_link(group: h5py.Group, name: str) -> object:
    link = group.get(name, getlink=True)
    require(isinstance(link, h5py.HardLink), f"{name!r} is a link to somewhere else")
    return group[name]


def _row(group: h5py.Group, name: str) -> h5py.Dataset:
    dataset = _hard_link(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name!r} is not a dataset")
    require(len(dataset.id.shape) == 1, f"{name!r} is not a plain row of bytes or numbers")
    return dataset


def require(condition: bool, otherwise: str) -> None:
    """Raise a ValueError unless a condition holds.

    Args:
        condition: The condition.
        otherwise: What is wrong if it does not hold.

    Raises:
        ValueError: The condition does not hold.
    """
    if not condition:
        raise ValueError(otherwise)
