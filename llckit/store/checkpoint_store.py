"""`CheckpointStore`: the checkpoints of a training run, each written once, published whole or not at all."""

import os
import stat
import sys
from bisect import bisect
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import overload

from torch import Tensor, nn
from tqdm import tqdm

from llckit.checks import check_integer, check_step, shown
from llckit.errors import InputError
from llckit.files import check_new_file, check_path, sync
from llckit.store.checkpoint_file import CheckpointFile
from llckit.store.checkpoint_folder import CheckpointFolder
from llckit.store.damage import Damage, find_damages
from llckit.store.encoding import EncodedCheckpoint, encode
from llckit.store.exported_file import ExportedFile
from llckit.store.manifest import Manifest
from llckit.store.metadata import Scalar
from llckit.store.plain_state import plain_state, refuse_sharded
from llckit.store.publish import make_folder, publish
from llckit.store.write_checkpoint import write_export

__all__ = ["CheckpointStore"]


class CheckpointStore:
    """A folder of immutable HDF5 files, one per step; see docs/notes/checkpoint-format.md for their format.

    A reader sees a checkpoint whole or not at all: a file is written under a temporary name, flushed to the disk, and
    only then linked to its own name. A killed writer leaves at most a temporary file. Readers ignore it, and the next
    writer on the same host removes it. Several processes may use one store at the same time.

    If the file system has no hard links, the file is renamed under a lock instead (`flock` on the file ".lock"). That
    is as safe, provided that the locks of the file system hold between all hosts that write.

    Args:
        path: Folder of the store; or, for reading, a file that `export` made.
        create: Make the folder if it is missing. False is for reading: the folder must hold a checkpoint.
        compress: Shuffle and deflate the tensors that this object writes. Reading needs no such choice.

    Raises:
        InputError: The path is neither a folder nor an exported file, cannot be made, or (with `create=False`) holds no
            checkpoint; or the machine is big-endian.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True, *, compress: bool = False):
        self.path = check_path("path", path, ", the folder of the store")
        if sys.byteorder != "little":
            raise InputError("this machine is big-endian; expected a little-endian one, as the bits in checkpoints are")
        self._compress = compress
        self._files = _opened(self.path, create)

    def save(
        self, step: int, model: nn.Module | Mapping[str, Tensor], /, *, durable: bool = True, **metadata: object
    ) -> None:
        """Write one checkpoint; on return it is on the disk.

        A step is written once. Saving the same weights and metadata again is accepted, so an interrupted run or import
        can be repeated.

        Args:
            step: Training step, at least 0 and below 2^53.
            model: A module or a dict from names to tensors of any dtype, on any device, with any strides. Of
                DistributedDataParallel, DataParallel and torch.compile, the module within is saved. Tied tensors are
                stored once. NaN weights are saved, and marked in the manifest. The weights must not change before
                `save` returns; `Recorder(background=True)` copies them first.
            durable: Wait until the disk has the checkpoint. If False and the machine goes down, the last checkpoints
                may be lost or damaged, which reading notices; if only the process ends, they are safe.
            **metadata: Numbers, strings, bools or None, also as 0-d tensors or NumPy scalars. NaN is kept.

        Raises:
            InputError: A value cannot be stored, the step is there with other contents, the store is an exported file,
                or the disk refuses. Nothing has been published then, unless the message says that the checkpoint may
                not be on the disk.
        """
        self.put(step, model, metadata, durable=durable)

    def put(
        self,
        step: int,
        model: nn.Module | Mapping[str, Tensor],
        metadata: Mapping[str, object],
        *,
        durable: bool = True,
    ) -> None:
        """The same as `save`, with the metadata in a dict, so that their names may be any strings.

        Args:
            step: Training step, at least 0 and below 2^53.
            model: A module or a state dict.
            metadata: Scalars by name.
            durable: Wait until the disk has the checkpoint.

        Raises:
            InputError: As in `save`.
        """
        step = check_step(step)
        if isinstance(self._files, ExportedFile):
            raise InputError(f"{self.path} is an exported store, which is only read; save to a folder")
        refuse_sharded(model)
        state = plain_state(model) if isinstance(model, nn.Module) else model
        self._files.save(step, encode(step, state, metadata), compress=self._compress, durable=durable)

    @property
    def steps(self) -> list[int]:
        """The saved steps, ascending; an InputError if the folder is gone."""
        return list(self._files.steps)

    def load(self, step: int, names: Collection[str] | None = None, *, verify: bool = True) -> dict[str, Tensor]:
        """Read the weights of one step, bit for bit as they were saved, each verified by its checksum.

        Args:
            step: A saved step.
            names: Names of the tensors to read; None reads all.
            verify: Compare bits with their checksums. If False, damage within the weights goes unnoticed.

        Returns:
            CPU tensors by name, in the order of the state dict, except that tied names share one tensor.

        Raises:
            InputError: The step is missing (the message has the nearest ones), the checkpoint is damaged, or it has no
                tensor of a name.
        """
        with self._open(step) as file:
            if names is not None:
                _check_names(names, file.manifest)
            return file.state_dict(names, verify)

    @overload
    def metadata(self, step: int) -> dict[str, Scalar]: ...

    @overload
    def metadata(self, step: None = None) -> dict[int, dict[str, Scalar]]: ...

    def metadata(self, step: int | None = None) -> dict[str, Scalar] | dict[int, dict[str, Scalar]]:
        """Read what was saved beside the weights; errors as in `load`.

        Args:
            step: A saved step; None reads all, as in
                `[step for step, saved in store.metadata().items() if saved["loss"] < 0.1]`.

        Returns:
            The metadata by name; for all steps, a dict of them by step.
        """
        if step is None:
            return {step: self.manifest(step).metadata for step in self.steps}
        return self.manifest(step).metadata

    def manifest(self, step: int) -> Manifest:
        """Read names, dtypes, shapes, digests and metadata without reading a weight; errors as in `load`.

        Args:
            step: A saved step.

        Returns:
            The manifest, verified by its checksum.
        """
        with self._open(step) as file:
            return file.manifest

    def verify(self, *, progress: bool = False) -> list[Damage]:
        """Read every tensor of every checkpoint and compare it with its checksum.

        Args:
            progress: Show a progress bar on stderr, if that is a terminal.

        Returns:
            What is damaged, by step; an empty list means that the store is sound.
        """
        return [damage for step in self._bar("verify", progress) for damage in find_damages(self._files, step)]

    def export(self, path: str | os.PathLike[str], *, progress: bool = False) -> None:
        """Copy all checkpoints, verified, into one HDF5 file, which `CheckpointStore(path)` opens for reading.

        The file appears whole or not at all, and is on the disk on return.

        Args:
            path: A new file that ends in .h5, outside of the store's folder.
            progress: Show a progress bar on stderr, if that is a terminal.

        Raises:
            InputError: The path is taken or has another ending, a checkpoint is damaged, or the disk refuses.
        """
        target = check_path("path", path, ", the file to export to")
        if target.parent.resolve() == self.path.resolve():
            raise InputError(f"{target} is inside the store; export to another folder")
        check_new_file(target, [".h5"])
        if not self.steps:
            raise InputError(f"{self.path} holds no checkpoints to export")

        def encoded() -> Iterator[EncodedCheckpoint]:
            for step in self._bar("export", progress):
                with self._open(step) as checkpoint:
                    yield checkpoint.encoded()

        if not publish(target, lambda path: write_export(path, encoded(), compress=self._compress)):
            raise InputError(f"{target} was made by somebody else meanwhile; choose another name")
        try:
            sync(target.parent)
        except OSError as error:
            raise InputError(f"{target} may not be on the disk: {error.strerror}; remove it and export again") from None

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, step: object) -> bool:
        try:
            return check_integer("step", step, 0) in self._files
        except InputError:
            return False

    def __repr__(self) -> str:
        steps = self.steps
        contents = f"{len(steps)} checkpoints, steps {steps[0]}–{steps[-1]}" if steps else "empty"
        return f"CheckpointStore({str(self.path)!r}: {contents})"

    def _open(self, step: int) -> AbstractContextManager[CheckpointFile]:
        step = check_integer("step", step, 0)
        if step in self._files:
            return self._files.open(step)
        steps = self.steps
        place = bisect(steps, step)
        nearest = " and ".join(str(near) for near in steps[max(place - 1, 0) : place + 1])
        advice = f"nearest saved: {nearest}" if steps else "it holds no checkpoints yet"
        raise InputError(f"step {step} is not in {self.path}; {advice}")

    def _bar(self, action: str, progress: bool) -> Iterator[int]:
        return iter(tqdm(self.steps, desc=action, unit="checkpoint", disable=None if progress else True))


def _opened(path: Path, create: bool) -> CheckpointFolder | ExportedFile:
    try:
        kind = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        kind = None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if kind is not None and stat.S_ISREG(kind):
        return ExportedFile(path)
    if kind is not None and not stat.S_ISDIR(kind):
        raise InputError(f"{path} is no folder; expected the folder of a checkpoint store")
    if kind is None and not create:
        raise InputError(f"{path} does not exist; expected the folder of a checkpoint store")
    folder = CheckpointFolder(path)
    if create:
        try:
            make_folder(path)
        except OSError as error:
            raise InputError(f"the folder {path} cannot be made: {error.strerror}") from None
    elif not folder.steps:
        raise InputError(
            f"{path} is not a checkpoint store: it holds no step_*.h5; expected the folder that a Recorder or "
            f"`llckit import` has saved to"
        )
    return folder


def _check_names(names: Collection[str], manifest: Manifest) -> None:
    if isinstance(names, str) or not isinstance(names, Collection):
        raise InputError(f"names is {shown(names)}; expected a collection of tensor names")
    known = [name for entry in manifest.tensors for name in entry.names]
    for name in names:
        if name not in known:
            near = get_close_matches(str(name), known, 3) or known[:3]
            raise InputError(f"step {manifest.step} has no tensor {name!r}; it has {', '.join(near)}, …")
