"""Writing checkpoints into new HDF5 files, in the format of docs/notes/checkpoint-format.md."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from llckit.store.encoding import EncodedCheckpoint
from llckit.store.file_format import (
    CHECKPOINT_FORMAT,
    CHUNK_BYTES,
    COMPRESSED,
    EXPORT_FORMAT,
    EXPORT_VERSION,
    PLAIN,
    checkpoint_name,
    tensor_name,
)
from llckit.store.manifest import Manifest

__all__ = ["write_checkpoint", "write_export"]

_LEVEL = 4  # of deflate; 9 gains less than a percent on weights, at several times the time


def write_checkpoint(path: Path, checkpoint: EncodedCheckpoint, *, compress: bool, durable: bool) -> None:
    """Write one checkpoint to a new file.

    Args:
        path: The file; must not exist.
        checkpoint: Manifest and bits, from `encode`.
        compress: Shuffle and deflate the tensors.
        durable: Wait until the bytes are on the disk.
    """
    with _new_file(path, durable) as file:
        _fill(file, checkpoint, compress)


def write_export(path: Path, checkpoints: Iterator[EncodedCheckpoint], *, compress: bool) -> None:
    """Write many checkpoints to one new file, and wait until the bytes are on the disk.

    Args:
        path: The file; must not exist.
        checkpoints: Manifests and bits, from `CheckpointFile.encoded`.
        compress: Shuffle and deflate the tensors.
    """
    with _new_file(path, durable=True) as file:
        file.attrs["format"] = np.bytes_(EXPORT_FORMAT)
        file.attrs["version"] = np.int64(EXPORT_VERSION)
        for checkpoint in checkpoints:
            step = Manifest.from_json(checkpoint.document).step
            _fill(file.create_group(checkpoint_name(step)), checkpoint, compress)


@contextmanager
def _new_file(path: Path, durable: bool) -> Iterator[h5py.File]:
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_V110, h5py.h5f.LIBVER_V110)
    access.set_file_locking(False, False)
    # HDF5 keeps what fits its buffers until the dataset closes, and h5py cannot raise there. Without buffers, a write
    # that fails (a full disk) is an error; with them, it would be a damaged file or a crash.
    access.set_sieve_buf_size(0)
    access.set_cache(0, 0, 0, 0.75)
    with h5py.File(h5py.h5f.create(os.fsencode(path), h5py.h5f.ACC_EXCL, fapl=access)) as file:
        yield file
    if durable:
        with path.open("rb") as written:
            os.fsync(written.fileno())


def _fill(group: h5py.Group, checkpoint: EncodedCheckpoint, compress: bool) -> None:
    group.attrs["format"] = np.bytes_(CHECKPOINT_FORMAT)
    group.attrs["version"] = np.int64(COMPRESSED if compress else PLAIN)
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
            tensors.create_dataset(tensor_name(index), data=numbers, **filters)
        else:
            tensors.create_dataset(tensor_name(index), data=array)
