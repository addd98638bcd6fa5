"""Reading one checkpoint from an HDF5 file that may be damaged or forged; see docs/notes/checkpoint-format.md."""

import hashlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
from torch import Tensor

from llckit.errors import InputError
from llckit.store.encoding import EncodedCheckpoint, as_bits
from llckit.store.file_format import CHECKPOINT_FORMAT, COMPRESSED, PLAIN, tensor_name
from llckit.store.manifest import MAX_MANIFEST_BYTES, Manifest
from llckit.store.untrusted_hdf5 import (
    MAX_INFLATION,
    UntrustedFile,
    attribute,
    inflate_row,
    read_row,
    require,
    subgroup,
)

__all__ = ["CheckpointFile", "open_checkpoint"]


@contextmanager
def open_checkpoint(path: Path, step: int) -> Iterator["CheckpointFile"]:
    """Open a published file and verify everything except the bits of the tensors.

    Args:
        path: The file.
        step: The step that the file must hold.

    Yields:
        The checkpoint, closed at the end of the block.

    Raises:
        InputError: The file cannot be read, is damaged, foreign or newer; says what is wrong and what to do.
    """
    source = UntrustedFile(path, f"delete it and save step {step} again, or restore it from a copy")
    with source.opened() as (file, size):
        yield CheckpointFile(source, file, size, step)


class CheckpointFile:
    """An open checkpoint, of which everything except the bits of the tensors has been verified.

    Args:
        source: The file it is read from.
        group: Root of the checkpoint: the root of the file, or a group of an exported file.
        size: Size of the file in bytes.
        step: The step that the checkpoint must hold.

    Attributes:
        document: Bytes of the manifest.
        manifest: The manifest.
    """

    def __init__(self, source: UntrustedFile, group: h5py.Group, size: int, step: int):
        self._source, self._size = source, size
        require(attribute(group, "format", "S") == CHECKPOINT_FORMAT, "its format attribute is not llckit's")
        version = attribute(group, "version", "i")
        if version not in (PLAIN, COMPRESSED):
            raise InputError(
                f"{source.path} has format version {version}; expected {PLAIN} or {COMPRESSED}; upgrade llckit"
            )
        self._compressed = version == COMPRESSED
        require(set(group) == {"manifest", "tensors"}, "it does not consist of a manifest and tensors alone")
        self.document = read_row(group, "manifest", size, 0, MAX_MANIFEST_BYTES).numpy().tobytes()
        digest = hashlib.sha256(self.document).hexdigest().encode()
        intact = attribute(group, "manifest_sha256", "S") == digest
        require(intact, "its manifest does not match its checksum")
        self.manifest = Manifest.from_json(self.document)
        require(self.manifest.step == step, f"it holds step {self.manifest.step}, so it was renamed")
        sizes = [entry.nbytes for entry in self.manifest.tensors]
        most = size * MAX_INFLATION if self._compressed else size
        require(sum(sizes) <= most, "its tensors claim more bytes than the file has")
        self._group = subgroup(group, "tensors")
        require(len(self._group) == len(sizes), f"it does not hold the {len(sizes)} tensors of its manifest")

    def tensor(self, index: int, verify: bool = True) -> Tensor:
        """Read one tensor and verify it; a damaged one is an InputError that names it.

        Args:
            index: Place of the tensor in the manifest.
            verify: Compare the bits with their checksum.

        Returns:
            A CPU tensor with memory of its own.
        """
        entry, name = self.manifest.tensors[index], tensor_name(index)
        with self._source.damage_named(f"tensor {entry.name!r}: "):
            if self._compressed and entry.nbytes:
                bits = inflate_row(self._group, name, self._size, entry.nbytes)
            else:
                bits = read_row(self._group, name, self._size, entry.nbytes, entry.nbytes)
            intact = not verify or hashlib.sha256(bits.numpy().data).hexdigest() == entry.sha256
            require(intact, "the stored bits do not match their checksum")
            return bits.view(entry.dtype).reshape(entry.shape)

    def state_dict(self, names: Collection[str] | None = None, verify: bool = True) -> dict[str, Tensor]:
        """Read tensors.

        Args:
            names: Names to read, each in the manifest; None reads all.
            verify: Compare the bits with their checksums.

        Returns:
            Tensors by name; tied names share one tensor.
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
            What `encode` returned when the checkpoint was saved.
        """
        tensors = [self.tensor(index) for index in range(len(self.manifest.tensors))]
        return EncodedCheckpoint(self.document, [as_bits(tensor).numpy() for tensor in tensors])
