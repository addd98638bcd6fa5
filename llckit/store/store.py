"""`CheckpointStore`: a folder of checkpoints, each written once, published whole or not at all."""

import os
import re
import stat
import sys
from bisect import bisect
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import overload

from torch import Tensor, nn
from tqdm import tqdm

from llckit.checks import check_integer
from llckit.errors import InputError
from llckit.files import sync
from llckit.store.checkpoint_file import (
    CheckpointFile,
    checkpoint_name,
    exported_steps,
    open_checkpoint,
    open_exported,
    write_checkpoint,
    write_export,
)
from llckit.store.encoding import EncodedCheckpoint, encode
from llckit.store.manifest import Manifest, Scalar
from llckit.store.modules import plain_state, refuse_sharded
from llckit.store.publish import make_folder, publish

__all__ = ["CheckpointStore", "Damage"]

_PUBLISHED = re.compile(r"step_([0-9]{12}|[1-9][0-9]{12,})\.h5")


@dataclass(frozen=True)
class Damage:
    """One thing wrong with a store.

    Attributes:
        step: The step whose checkpoint is damaged.
        file: Its file.
        message: What is wrong and what to do.
    """

    step: int
    file: Path
    message: str


class CheckpointStore:
    """A folder of immutable HDF5 files, one per step, in the format of `llckit.store.checkpoint_file`.

    A reader sees a checkpoint whole or not at all: a file is written under a temporary name, flushed to the
    disk and only then linked to its own. So a killed writer leaves at most a temporary file, which readers
    ignore and the next writer on the same host removes. Several processes may use one store at the same time.
    Where the file system has no hard links, the file is renamed under a lock (`flock` on the file ".lock"),
    which is as safe if the file system's locks hold between all the hosts that write.

    Args:
        path: The folder; or a file that `export` made, for reading.
        create: Make the folder if it is missing. False is for reading: the folder must hold a checkpoint.
        compress: Shuffle and deflate what this object writes. It is read all the same.

    Raises:
        InputError: The path is no folder or exported file, cannot be made, or (with `create=False`) holds no
            checkpoint; or the machine is big-endian.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True, *, compress: bool = False):
        if path == "" or "\0" in str(path):
            raise InputError(f"path is {path!r}; expected the folder of the store")
        if sys.byteorder != "little":
            raise InputError("checkpoint files hold little-endian bits, but this machine is big-endian")
        try:
            self.path = Path(path)
        except TypeError:
            raise InputError(f"the store's path is {path!r}, but it must be a string or a path") from None
        self._compress = compress
        try:
            kind = os.stat(self.path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            kind = None
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from None
        exists = kind is not None
        self._exported = self._exported_steps() if kind is not None and stat.S_ISREG(kind) else None
        if self._exported is not None:
            return
        if kind is not None and not stat.S_ISDIR(kind):
            raise InputError(f"{self.path} is no folder, but a checkpoint store is one: give another path")
        if create:
            try:
                make_folder(self.path)
            except OSError as error:
                raise InputError(f"the folder {self.path} cannot be made: {error.strerror}") from None
        elif not exists:
            raise InputError(f"{self.path} does not exist: give the folder of a checkpoint store")
        elif not self.steps:
            raise InputError(
                f"{self.path} is not a checkpoint store: it holds no step_*.h5. "
                f"Give the folder that a Recorder or `llckit import` has saved to"
            )

    def save(
        self, step: int, model: nn.Module | Mapping[str, Tensor], /, *, durable: bool = True, **metadata: object
    ) -> None:
        """Write one checkpoint; on return it is on the disk.

        A step is written once. Saving the same weights and metadata again is accepted, so that an interrupted
        run or import can be repeated.

        Args:
            step: Training step, at least 0.
            model: A module, of which the state dict is saved (of DistributedDataParallel, DataParallel and
                torch.compile that of the module within), or a dict from names to tensors of any dtype, on any
                device, with any strides. Tied tensors are stored once. NaN weights are saved, and marked in the
                manifest.
                The weights must not change before `save` returns (another thread that trains on them would make a
                checkpoint that does not match its checksums); `Recorder(background=True)` copies them first.
            durable: Wait until the disk has it. Without, what was saved last may be lost or damaged (which
                reading tells) if the machine goes down, but not if the process does.
            **metadata: Numbers, strings, bools or None, also as 0-d tensors or numpy scalars. NaN is kept.

        Raises:
            InputError: Something given cannot be stored, the step is there with other contents, the store is
                an exported file, or the disk refuses. Nothing has been published then, unless the error says that
                the checkpoint may not be on the disk.
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
        """As `save`, with the metadata in a dict, so that their names may be any strings.

        Args:
            step: Training step.
            model: A module or a state dict.
            metadata: By name.
            durable: Wait until the disk has it.

        Raises:
            InputError: As in `save`.
        """
        step = check_integer("step", step, 0)
        if self._exported is not None:
            raise InputError(f"{self.path} is an exported store, which is only read: save to a folder")
        refuse_sharded(model)
        state = plain_state(model) if isinstance(model, nn.Module) else model
        checkpoint = encode(step, state, metadata)
        file = self._file(step)
        new = not os.path.lexists(file) and publish(
            file, lambda path: write_checkpoint(path, checkpoint, compress=self._compress, durable=durable)
        )
        if not new:
            self._require_equal(file, step, checkpoint)
        if durable:
            try:
                if not new:
                    sync(file)  # whoever wrote it may not have waited
                sync(self.path)
            except OSError as error:
                raise InputError(f"{file} may not be on the disk: {error.strerror}. Save step {step} again") from None

    @property
    def steps(self) -> list[int]:
        """The saved steps, ascending.

        Raises:
            InputError: The folder is gone.
        """
        if self._exported is not None:
            return list(self._exported)
        try:
            with os.scandir(self.path) as entries:
                return sorted(int(match[1]) for entry in entries if (match := _PUBLISHED.fullmatch(entry.name)))
        except OSError as error:
            raise InputError(f"the checkpoint store {self.path} cannot be read: {error.strerror}") from None

    def load(self, step: int, names: Collection[str] | None = None, *, verify: bool = True) -> dict[str, Tensor]:
        """Read the weights of one step, bit for bit as they were saved, each verified by its checksum.

        A missing step is an InputError that names the nearest, a damaged file one that says what to do.

        Args:
            step: A saved step.
            names: Only these tensors; the rest is not read.
            verify: Compare bits with their checksums. Without, damage within the weights goes unnoticed.

        Returns:
            CPU tensors by name, in the order of the state dict but for tied names, which share one tensor.

        Raises:
            InputError: Also if the checkpoint has no tensor of a name.
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
            The metadata by name; of all steps, by step and name.
        """
        if step is None:
            return {step: self.manifest(step).metadata for step in self.steps}
        return self.manifest(step).metadata

    def manifest(self, step: int) -> Manifest:
        """Read names, dtypes, shapes, digests and metadata without reading a weight; errors as in `load`.

        Args:
            step: A saved step.

        Returns:
            The manifest, itself verified by a checksum.
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
        damages = []
        for step in self._bar("verify", progress):
            file = self._file(step)
            try:
                with self._open(step) as checkpoint:
                    for index in range(len(checkpoint.manifest.tensors)):
                        try:
                            checkpoint.tensor(index)
                        except InputError as error:
                            damages.append(Damage(step, file, str(error)))
            except InputError as error:
                damages.append(Damage(step, file, str(error)))
        return damages

    def export(self, path: str | os.PathLike[str], *, progress: bool = False) -> None:
        """Copy all checkpoints, verified, into one HDF5 file, which `CheckpointStore(path)` opens for reading.

        The file appears whole or not at all, and is on the disk on return.

        Args:
            path: A new file ending in .h5, outside of the store's folder.
            progress: Show a progress bar on stderr, if that is a terminal.

        Raises:
            InputError: The path is taken or ends otherwise, a checkpoint is damaged, or the disk refuses.
        """
        try:
            target = Path(path)
        except TypeError:
            raise InputError(f"the exported file's path is {path!r}, but it must be a string or a path") from None
        if target.parent.resolve() == self.path.resolve():
            raise InputError(f"{target} is inside the store: export to another folder")
        if target.suffix != ".h5":
            raise InputError(f"{target} does not end in .h5: name the exported file so")
        if os.path.lexists(target):
            raise InputError(f"{target} exists already: choose another name or remove it")
        if not target.parent.is_dir():
            raise InputError(f"the folder {target.parent} does not exist: make it first")
        if not self.steps:
            raise InputError(f"{self.path} holds no checkpoints to export")

        def encoded() -> Iterator[EncodedCheckpoint]:
            for step in self._bar("export", progress):
                with self._open(step) as checkpoint:
                    yield checkpoint.encoded()

        if not publish(target, lambda path: write_export(path, encoded(), compress=self._compress)):
            raise InputError(f"{target} was made by somebody else meanwhile: choose another name")
        try:
            sync(target.parent)
        except OSError as error:
            raise InputError(f"{target} may not be on the disk: {error.strerror}. Remove it and export again") from None

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, step: object) -> bool:
        try:
            number = check_integer("step", step, 0)
        except InputError:
            return False
        return number in self._exported if self._exported is not None else os.path.lexists(self._file(number))

    def __repr__(self) -> str:
        steps = self.steps
        held = f"{len(steps)} checkpoints, steps {steps[0]}–{steps[-1]}" if steps else "empty"
        return f"CheckpointStore({str(self.path)!r}: {held})"

    def _file(self, step: int) -> Path:
        return self.path if self._exported is not None else self.path / f"{checkpoint_name(step)}.h5"

    def _require_equal(self, file: Path, step: int, checkpoint: EncodedCheckpoint) -> None:
        with open_checkpoint(file, step) as existing:
            if existing.document != checkpoint.document:
                same = existing.manifest.weights_hash == Manifest.from_json(checkpoint.document).weights_hash
                what = "metadata, order or ties" if same else _difference(existing.manifest, checkpoint)
                raise InputError(
                    f"step {step} is already in {self.path} with other {what}, and a step is written once: "
                    f"save to another folder, or delete {file.name} first"
                )
            for index in range(len(existing.manifest.tensors)):
                existing.tensor(index)  # raises if what is there is damaged

    def _open(self, step: int) -> AbstractContextManager[CheckpointFile]:
        step = check_integer("step", step, 0)
        if step in self:
            return (
                open_exported(self.path, step)
                if self._exported is not None
                else open_checkpoint(self._file(step), step)
            )
        steps = self.steps
        place = bisect(steps, step)
        nearest = " and ".join(str(near) for near in steps[max(place - 1, 0) : place + 1])
        advice = f"nearest saved: {nearest}" if steps else "it holds no checkpoints yet"
        raise InputError(f"step {step} is not in {self.path}: {advice}")

    def _exported_steps(self) -> dict[int, None]:
        """In order; an exported file never changes."""
        try:
            return dict.fromkeys(exported_steps(self.path))
        except InputError as error:
            raise InputError(
                f"{self.path} is a file, but a checkpoint store is a folder, or a file that `export` made, which this "
                f"is not, or is damaged: {error}"
            ) from None

    def _bar(self, what: str, progress: bool) -> Iterator[int]:
        return iter(tqdm(self.steps, desc=what, unit="checkpoint", disable=None if progress else True))


def _difference(there: Manifest, checkpoint: EncodedCheckpoint) -> str:
    held, given = (
        {name for entry in manifest.tensors for name in entry.names}
        for manifest in (there, Manifest.from_json(checkpoint.document))
    )
    lacking = [f"without {name!r}" for name in sorted(held - given)] + [f"with {name!r}" for name in given - held]
    return f"weights (this one is {lacking[0]})" if lacking else "weights"


def _check_names(names: Collection[str], manifest: Manifest) -> None:
    if isinstance(names, str) or not isinstance(names, Collection):
        raise InputError(f"names is {names!r}, but it must be a collection of tensor names")
    known = [name for entry in manifest.tensors for name in entry.names]
    for name in names:
        if name not in known:
            near = get_close_matches(str(name), known, 3) or known[:3]
            raise InputError(f"step {manifest.step} has no tensor {name!r}; it has {', '.join(near)}, …")
