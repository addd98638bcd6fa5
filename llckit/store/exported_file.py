"""All checkpoints of a store in one HDF5 file, for reading."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from llckit.errors import InputError
from llckit.store.checkpoint_file import CheckpointFile
from llckit.store.file_format import CHECKPOINT_NAME, EXPORT_FORMAT, EXPORT_VERSION, checkpoint_name
from llckit.store.untrusted_hdf5 import UntrustedFile, attribute, require, subgroup

__all__ = ["ExportedFile"]


class ExportedFile:
    """A file that `CheckpointStore.export` made. It never changes.

    Args:
        path: The file.

    Attributes:
        path: The file.
        steps: Saved steps, ascending.

    Raises:
        InputError: The file is damaged, or is not an exported store.
    """

    def __init__(self, path: Path):
        self.path = path
        self._source = UntrustedFile(path, "export the store again, or restore the file from a copy")
        try:
            self.steps = self._found_steps()
        except InputError as error:
            raise InputError(
                f"{path} is a file; expected the folder of a checkpoint store, or a file that `export` made: {error}"
            ) from None
        self._steps = frozenset(self.steps)

    def __contains__(self, step: int) -> bool:
        return step in self._steps

    def file(self, step: int) -> Path:
        """The file that holds a step: always this one."""
        return self.path

    @contextmanager
    def open(self, step: int) -> Iterator[CheckpointFile]:
        """Open one checkpoint and verify everything except the bits of its tensors.

        Args:
            step: A saved step.

        Yields:
            The checkpoint, closed at the end of the block.
        """
        with self._source.opened() as (file, size):
            _check_export(file, self.path)
            yield CheckpointFile(self._source, subgroup(file, checkpoint_name(step)), size, step)

    def _found_steps(self) -> list[int]:
        with self._source.opened() as (file, _):
            _check_export(file, self.path)
            found = {name: CHECKPOINT_NAME.fullmatch(name) for name in file.keys()}  # noqa: SIM118
            strange = [name for name, match in found.items() if match is None]
            require(not strange, f"it holds {strange[:1]}, which is no checkpoint")
            return sorted(int(match[1]) for match in found.values() if match is not None)


def _check_export(file: h5py.File, path: Path) -> None:
    is_export = attribute(file, "format", "S") == EXPORT_FORMAT
    require(is_export, "its format attribute is not that of an exported store")
    version = attribute(file, "version", "i")
    if version != EXPORT_VERSION:
        raise InputError(f"{path} has format version {version}; expected {EXPORT_VERSION}; upgrade llckit")
