"""One checkpoint as one HDF5 file: the format, its writer, and a reader that trusts nothing.

Format, versions 1 and 2. The file uses the object formats of HDF5 1.10 throughout, whose structures (superblock,
object headers with their attributes, link tables, chunk indices) all carry checksums::

    /                    attributes: format           "llckit-checkpoint", fixed-length ASCII
                                     version          1, or 2 if anything is compressed; int64
                                     manifest_sha256  hex digest of /manifest, fixed-length ASCII
    /manifest            uint8 (bytes,)   JSON, ASCII, at most 64 MiB
    /tensors/000000      uint8 (bytes,)   bits of the first unique tensor
    /tensors/000001      …                one dataset per unique tensor, numbered in the manifest's order

The manifest is one object::

    {"step": 1000,
     "tensors": [{"names": ["embed.weight", "head.weight"], "dtype": "bfloat16", "shape": [50, 16],
                  "sha256": "…", "finite": true}, …],
     "metadata": {"loss": 0.31, "note": {"float": "nan"}}}

* The bits of a tensor are its elements in row-major order, little-endian, without padding; conjugate and
  negative views are written out. A tensor without elements has a dataset without bytes.
* `names` has several names where tensors are tied: same storage, offset, dtype, shape and stride. Other
  views of one storage are stored by themselves.
* `finite` is false if the tensor holds NaN or an infinity.
* Metadata are JSON scalars; a float that JSON lacks is {"float": "nan" | "inf" | "-inf"}.
* Version 2 may hold the bits of a tensor as unsigned integers of 1, 2, 4 or 8 bytes (as wide as an element, at
  most 8) in chunks of at most 4 MiB, shuffled by bytes and deflated: HDF5's own filters in this order.

An exported store is one file with the attributes format "llckit-store" and version 1, int64, and one group
`step_000000001000` a checkpoint, laid out as the root above.

The digests make every value verifiable: the root attribute vouches for the manifest, the manifest for the
tensors. The reader goes by an allow-list: exactly these links, all of them hard; one-dimensional datasets of plain
bytes, contiguous and unfiltered or as in version 2, inside this file, of exactly the declared size. So a forged
file can name no other file, run no filter (chunks are inflated here, to no more than they declare), and ask for
no more memory than it occupies, or than deflated bits of its size can become.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from torch import Tensor

from llckit.errors import InputError
from llckit.store.encoding import EncodedCheckpoint, as_bits
from llckit.store.manifest import MAX_MANIFEST_BYTES, Manifest
from llckit.store.reading import (
    CHUNK_BYTES,
    MAX_INFLATION,
    Source,
    attribute,
    hard_link,
    inflate_row,
    read_row,
    require,
)

__all__ = [
    "CheckpointFile",
    "checkpoint_name",
    "exported_steps",
    "open_checkpoint",
    "open_exported",
    "write_checkpoint",
    "write_export",
]

_CHECKPOINT, _EXPORT = b"llckit-checkpoint", b"llckit-store"
_PLAIN, _COMPRESSED = 1, 2  # versions of a checkpoint
_EXPORT_VERSION = 1
_EXPORT_AGAIN = "Export the store again, or restore the file from a copy"
_NAME = re.compile(r"step_([0-9]{12}|[1-9][0-9]{12,})")

_LEVEL = 4  # of deflate; 9 gains less than a percent on weights, at several times the time


def checkpoint_name(step: int) -> str:
    """The name that a step's checkpoint has, in the folder (and there ".h5") and in an exported file.

    Args:
        step: The step.

    Returns:
        Such as "step_000000001000".
    """
    return f"step_{step:012d}"


def write_checkpoint(path: Path, checkpoint: EncodedCheckpoint, *, compress: bool, durable: bool) -> None:
    """Write a new file.

    Args:
        path: Where; must not exist.
        checkpoint: What `encode` returned.
        compress: Shuffle and deflate the tensors.
        durable: Wait until its bytes are on the disk.
    """
    with _new_file(path, durable) as file:
        _fill(file, checkpoint, compress)


def write_export(path: Path, checkpoints: Iterator[EncodedCheckpoint], *, compress: bool) -> None:
    """Write a new file with many checkpoints and wait until its bytes are on the disk.

    Args:
        path: Where; must not exist.
        checkpoints: What `CheckpointFile.encoded` returned, one after another.
        compress: Shuffle and deflate the tensors.
    """
    with _new_file(path, durable=True) as file:
        file.attrs["format"] = np.bytes_(_EXPORT)
        file.attrs["version"] = np.int64(_EXPORT_VERSION)
        for checkpoint in checkpoints:
            step = Manifest.from_json(checkpoint.document).step
            _fill(file.create_group(checkpoint_name(step)), checkpoint, compress)


@contextmanager
def _new_file(path: Path, durable: bool) -> Iterator[h5py.File]:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(False, False)
    # HDF5 keeps what fits its buffers until the dataset closes, and h5py cannot raise there: without them, a write
    # that fails (a full disk) is an error, where it would be a damaged file or a crash.
    access.set_sieve_buf_size(0)
    access.set_cache(0, 0, 0, 0.75)
    with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_EXCL, fapl=access)) as file:
        yield file
    if durable:
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _fill(group: h5py.Group, checkpoint: EncodedCheckpoint, compress: bool) -> None:
    group.attrs["format"] = np.bytes_(_CHECKPOINT)
    group.attrs["version"] = np.int64(_COMPRESSED if compress else _PLAIN)
    group.attrs["manifest_sha256"] = np.bytes_(hashlib.sha256(checkpoint.document).hexdigest())
    group.create_dataset("manifest", data=np.frombuffer(checkpoint.document, np.uint8))
    tensors = group.create_group("tensors")
    entries = Manifest.from_json(checkpoint.document).tensors if compress else ()
    for index, array in enumerate(checkpoint.tensors):
        if compress and array.size:
            width = min(entries[index].dtype.itemsize, 8)
            numbers = array.view(f"<u{width}")
            chunk = min(numbers.size, CHUNK_BYTES // width)
            filters = {"chunks": (chunk,), "shuffle": True, "compression": "gzip", "compression_opts": _LEVEL}
            tensors.create_dataset(f"{index:06d}", data=numbers, **filters)
        else:
            tensors.create_dataset(f"{index:06d}", data=array)


@contextmanager
def open_checkpoint(path: Path, step: int) -> Iterator["CheckpointFile"]:
    """Open a published file and verify everything but the tensors' bits.

    Args:
        path: The file.
        step: The step it must hold.

    Yields:
        The checkpoint, closed at the end of the block.

    Raises:
        InputError: The file cannot be read, is damaged, foreign or newer; says what is wrong and what to do.
    """
    source = Source(path, f"Delete it and save step {step} again, or restore it from a copy")
    with source.opened() as (file, size):
        yield CheckpointFile(source, file, size, step)


@contextmanager
def open_exported(path: Path, step: int) -> Iterator["CheckpointFile"]:
    """Open one checkpoint of an exported file; as `open_checkpoint`.

    Args:
        path: The file.
        step: A step that it holds.

    Yields:
        The checkpoint, closed at the end of the block.
    """
    source = Source(path, _EXPORT_AGAIN)
    with source.opened() as (file, size):
        _check_export(file, path)
        yield CheckpointFile(source, _subgroup(file, checkpoint_name(step)), size, step)


def exported_steps(path: Path) -> list[int]:
    """List what an exported file holds.

    Args:
        path: The file.

    Returns:
        Its steps, ascending.

    Raises:
        InputError: The file is damaged or no exported store.
    """
    with Source(path, _EXPORT_AGAIN).opened() as (file, _):
        _check_export(file, path)
        found = {name: _NAME.fullmatch(name) for name in file.keys()}  # noqa: SIM118
        strange = [name for name, match in found.items() if match is None]
        require(not strange, f"it holds {strange[:1]}, which is no checkpoint")
        return sorted(int(match[1]) for match in found.values() if match is not None)


class CheckpointFile:
    """An open checkpoint.

    Attributes:
        document: The manifest's bytes, verified.
        manifest: The manifest.
    """

    def __init__(self, source: Source, file: h5py.Group, size: int, step: int):
        self._source, self._size = source, size
        require(attribute(file, "format", "S") == _CHECKPOINT, "its format attribute is not llckit's")
        version = attribute(file, "version", "i")
        if version not in (_PLAIN, _COMPRESSED):
            raise InputError(
                f"{source.path} has format version {version}, this llckit reads {_PLAIN} and {_COMPRESSED}: "
                f"upgrade llckit"
            )
        self._compressed = version == _COMPRESSED
        require(set(file) == {"manifest", "tensors"}, "it does not consist of a manifest and tensors alone")
        self.document = read_row(file, "manifest", size, 0, MAX_MANIFEST_BYTES).numpy().tobytes()
        digest = hashlib.sha256(self.document).hexdigest().encode()
        intact = attribute(file, "manifest_sha256", "S") == digest
        require(intact, "its manifest does not match its checksum")
        self.manifest = Manifest.from_json(self.document)
        require(self.manifest.step == step, f"it holds step {self.manifest.step}, so it was renamed")
        sizes = [entry.nbytes for entry in self.manifest.tensors]
        most = size * MAX_INFLATION if self._compressed else size
        require(sum(sizes) <= most, "its tensors claim more bytes than the file has")
        self._group = _subgroup(file, "tensors")
        require(len(self._group) == len(sizes), f"it does not hold the {len(sizes)} tensors of its manifest")

    def tensor(self, index: int, verify: bool = True) -> Tensor:
        """Read one tensor and verify it; a damaged one is an InputError that names it.

        Args:
            index: Its place in the manifest.
            verify: Compare its bits with their checksum.

        Returns:
            A CPU tensor of its own memory.
        """
        entry = self.manifest.tensors[index]
        with self._source.damage_named(f"tensor {entry.name!r}: "):
            if self._compressed and entry.nbytes:
                bits = inflate_row(self._group, f"{index:06d}", self._size, entry.nbytes)
            else:
                bits = read_row(self._group, f"{index:06d}", self._size, entry.nbytes, entry.nbytes)
            intact = not verify or hashlib.sha256(bits.numpy().data).hexdigest() == entry.sha256
            require(intact, "the stored bits do not match their checksum")
            return bits.view(entry.dtype).reshape(entry.shape)

    def state_dict(self, names: Collection[str] | None = None, verify: bool = True) -> dict[str, Tensor]:
        """Read tensors.

        Args:
            names: Which, each in the manifest; None reads all.
            verify: Compare their bits with their checksums.

        Returns:
            The tensors by name; tied names share one tensor.
        """
        state: dict[str, Tensor] = {}
        for index, entry in enumerate(self.manifest.tensors):
            wanted = [name for name in entry.names if names is None or name in names]
            if wanted:
                state |= dict.fromkeys(wanted, self.tensor(index, verify))
        return state

    def encoded(self) -> EncodedCheckpoint:
        """Read and verify all tensors, for writing them elsewhere.

        Returns:
            What `encode` gave when it was saved.
        """
        tensors = [self.tensor(index) for index in range(len(self.manifest.tensors))]
        return EncodedCheckpoint(self.document, [as_bits(tensor).numpy() for tensor in tensors])


def _check_export(file: h5py.File, path: Path) -> None:
    require(attribute(file, "format", "S") == _EXPORT, "its format attribute is not that of an exported store")
    version = attribute(file, "version", "i")
    if version != _EXPORT_VERSION:
        raise InputError(f"{path} has format version {version}, this llckit reads {_EXPORT_VERSION}: upgrade llckit")


def _subgroup(group: h5py.Group, name: str) -> h5py.Group:
    found = hard_link(group, name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"{name!r} is no group")
    return found
