"""One checkpoint as one HDF5 file: the format, its writer, and a reader that trusts nothing.

Format, version 1. The file uses the object formats of HDF5 1.10 throughout, whose structures (superblock,
object headers with their attributes, link tables) all carry checksums::

    /                    attributes: format           "llckit-checkpoint", fixed-length ASCII
                                     version          1, int64
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

The digests make every value verifiable: the root attribute vouches for the manifest, the manifest for the
tensors. The reader goes by an allow-list: exactly these links, all of them hard; plain one-dimensional uint8
datasets, contiguous and unfiltered, inside this file, of exactly the declared size, together no larger than
the file. So a forged file can name no other file, run no filter, and ask for no more memory than it occupies.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.store.checks import one_line
from llckit.store.encoding import EncodedCheckpoint
from llckit.store.manifest import MAX_MANIFEST_BYTES, Manifest

__all__ = ["CheckpointFile", "open_checkpoint", "write_checkpoint"]

_FORMAT = b"llckit-checkpoint"
_VERSION = 1


def write_checkpoint(path: Path, checkpoint: EncodedCheckpoint) -> None:
    """Write a new file and wait until its bytes are on the disk.

    Args:
        path: Where; must not exist.
        checkpoint: What `encode` returned.
    """
    with h5py.File(path, "x", libver=("v110", "v110"), locking=False) as file:
        file.attrs["format"] = np.bytes_(_FORMAT)
        file.attrs["version"] = np.int64(_VERSION)
        file.attrs["manifest_sha256"] = np.bytes_(hashlib.sha256(checkpoint.document).hexdigest())
        file.create_dataset("manifest", data=np.frombuffer(checkpoint.document, np.uint8))
        group = file.create_group("tensors")
        for index, array in enumerate(checkpoint.tensors):
            group.create_dataset(f"{index:06d}", data=array)
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def open_checkpoint(path: Path, step: int) -> Iterator["CheckpointFile"]:
    """Open a published file and verify everything but the tensors' bits.

    Args:
        path: The file.
        step: The step it must hold.

    Yields:
        The file, closed at the end of the block.

    Raises:
        InputError: The file cannot be read, is damaged, foreign or newer; says what is wrong and what to do.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            path.open("rb").close()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    with _damage_named(path, step):
        _require(stat.S_ISREG(status.st_mode), "it is not a plain file")
        with h5py.File(path, "r", locking=False) as file:
            yield CheckpointFile(path, step, file, status.st_size)


class CheckpointFile:
    """An open checkpoint.

    Attributes:
        document: The manifest's bytes, verified.
        manifest: The manifest.
    """

    def __init__(self, path: Path, step: int, file: h5py.File, size: int):
        self._path, self._step, self._size = path, step, size
        _require(_attribute(file, "format", "S") == _FORMAT, "its format attribute is not llckit's")
        version = _attribute(file, "version", "i")
        if version != _VERSION:
            raise InputError(f"{path} has format version {version}, this llckit reads {_VERSION}: upgrade llckit")
        _require(set(file) == {"manifest", "tensors"}, "it does not consist of a manifest and tensors alone")
        self.document = _read(file, "manifest", size, 0, MAX_MANIFEST_BYTES).numpy().tobytes()
        digest = hashlib.sha256(self.document).hexdigest().encode()
        intact = _attribute(file, "manifest_sha256", "S") == digest
        _require(intact, "its manifest does not match its checksum")
        self.manifest = Manifest.from_json(self.document)
        _require(self.manifest.step == step, f"it holds step {self.manifest.step}, so it was renamed")
        sizes = [entry.nbytes for entry in self.manifest.tensors]
        _require(sum(sizes) <= size, "its tensors claim more bytes than the file has")
        group = _hard_link(file, "tensors")
        if not isinstance(group, h5py.Group) or len(group) != len(sizes):
            raise ValueError(f"it does not hold the {len(sizes)} tensors of its manifest")
        self._group = group

    def tensor(self, index: int) -> Tensor:
        """Read one tensor and verify it; a damaged one is an InputError that names it.

        Args:
            index: Its place in the manifest.

        Returns:
            A CPU tensor of its own memory.
        """
        entry = self.manifest.tensors[index]
        with _damage_named(self._path, self._step, f"tensor {entry.name!r}: "):
            bits = _read(self._group, f"{index:06d}", self._size, entry.nbytes, entry.nbytes)
            intact = hashlib.sha256(bits.numpy().data).hexdigest() == entry.sha256
            _require(intact, "the stored bits do not match their checksum")
            return bits.view(entry.dtype).reshape(entry.shape)

    def state_dict(self) -> dict[str, Tensor]:
        """Read and verify all tensors.

        Returns:
            The tensors by name; tied names share one tensor.
        """
        state: dict[str, Tensor] = {}
        for index, entry in enumerate(self.manifest.tensors):
            state |= dict.fromkeys(entry.names, self.tensor(index))
        return state


def _attribute(file: h5py.File, name: str, kind: str) -> object:
    """A scalar stored inline; variable-length kinds, which live in an unchecked heap, are refused."""
    _require(name in file.attrs, f"it has no attribute {name!r}")
    attribute = file.attrs.get_id(name)
    inline = attribute.shape == () and attribute.dtype.kind == kind and attribute.dtype.itemsize <= 64
    _require(inline, f"its attribute {name!r} has an unknown form")
    return file.attrs[name]


def _hard_link(group: h5py.Group, name: str) -> object:
    link = group.get(name, getlink=True)
    _require(isinstance(link, h5py.HardLink), f"{name!r} is a link to somewhere else")
    return group[name]


def _read(group: h5py.Group, name: str, file_size: int, least: int, most: int) -> Tensor:
    """Read a dataset once nothing about it is left to trust: it allocates no more than the file holds."""
    dataset = _hard_link(group, name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"{name!r} is not a dataset")
    properties = dataset.id.get_create_plist()
    plain = (
        dataset.id.get_type().equal(h5py.h5t.STD_U8LE)
        and len(dataset.id.shape) == 1
        and properties.get_layout() == h5py.h5d.CONTIGUOUS
        and properties.get_nfilters() == 0
        and properties.get_external_count() == 0
    )
    _require(plain, f"{name!r} is not a plain row of bytes")
    size = dataset.id.shape[0]
    offset = dataset.id.get_offset() or 0  # None where nothing is stored, so that the sizes differ as well
    held = dataset.id.get_storage_size() == size and offset + size <= file_size
    _require(held, f"{name!r} claims {size} bytes that the file does not have")
    _require(least <= size <= most, f"{name!r} has {size} bytes, not {least} to {most}")
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    bits = np.empty(size, np.uint8)  # numpy's MemoryError tells a lack of memory from damage
    dataset.read_direct(bits)
    return torch.from_numpy(bits)


@contextmanager
def _damage_named(path: Path, step: int, part: str = "") -> Iterator[None]:
    """Any failure to make sense of a file becomes one sentence; h5py raises nearly every built-in type."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        raise InputError(
            f"{path} is damaged or no llckit checkpoint: {part}{one_line(error)}. "
            f"Delete it and save step {step} again, or restore it from a copy"
        ) from None


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
