"""`CheckpointStore`: a folder of checkpoints, each written once, published whole or not at all."""

import hashlib
import os
import re
import secrets
import socket
import sys
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from llckit.errors import InputError
from llckit.store.checkpoint_file import open_checkpoint, write_checkpoint
from llckit.store.checks import whole_number
from llckit.store.encoding import EncodedCheckpoint, encode
from llckit.store.manifest import Manifest, Scalar

__all__ = ["CheckpointStore", "Damage"]

_PUBLISHED = re.compile(r"step_([0-9]{12}|[1-9][0-9]{12,})\.h5")
_TEMPORARY = re.compile(r"\.writing-([0-9a-f]{8})-([0-9]{1,9})-[0-9a-f]{8}\.h5")


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

    Args:
        path: The folder. Needs a file system with hard links.
        create: Make the folder if it is missing. False is for reading: the folder must hold a checkpoint.

    Raises:
        InputError: The path is no folder, cannot be made, or (with `create=False`) holds no checkpoint; or
            the machine is big-endian.
    """

    def __init__(self, path: str | os.PathLike[str], create: bool = True):
        if path == "":
            raise InputError("path is empty; expected the folder of the store")
        if sys.byteorder != "little":
            raise InputError("checkpoint files hold little-endian bits, but this machine is big-endian")
        try:
            self.path = Path(path)
        except TypeError:
            raise InputError(f"the store's path is {path!r}, but it must be a string or a path") from None
        exists = os.path.exists(path)
        if exists and not self.path.is_dir():
            raise InputError(f"{self.path} is a file, but a checkpoint store is a folder: give another path")
        if create:
            try:
                _make_folder(self.path)
            except OSError as error:
                raise InputError(f"the folder {self.path} cannot be made: {error.strerror}") from None
        elif not exists:
            raise InputError(f"{self.path} does not exist: give the folder of a checkpoint store")
        elif not self.steps:
            raise InputError(
                f"{self.path} is not a checkpoint store: it holds no step_*.h5. "
                f"Give the folder that a Recorder or `llckit import` has saved to"
            )

    def save(self, step: int, model: nn.Module | Mapping[str, Tensor], /, **metadata: object) -> None:
        """Write one checkpoint; on return it is on the disk.

        A step is written once. Saving the same weights and metadata again is accepted, so that an interrupted
        run or import can be repeated.

        Args:
            step: Training step, at least 0.
            model: A module, of which the state dict is saved, or a dict from names to tensors of any dtype,
                on any device, with any strides. Tied tensors are stored once. NaN weights are saved, and
                marked in the manifest.
            **metadata: Numbers, strings, bools or None, also as 0-d tensors or numpy scalars. NaN is kept.

        Raises:
            InputError: Something given cannot be stored, the step is there with other contents, or the disk
                refuses; nothing has been published then.
        """
        step = whole_number("step", step)
        state = model.state_dict() if isinstance(model, nn.Module) else model
        checkpoint = encode(step, state, metadata)
        file = self._file(step)
        if not os.path.lexists(file):
            self._publish(file, checkpoint)
        _sync_folder(self.path)
        with open_checkpoint(file, step) as existing:
            if existing.document != checkpoint.document:
                same = existing.manifest.weights_hash == Manifest.from_json(checkpoint.document).weights_hash
                what = "metadata, order or ties" if same else "weights"
                raise InputError(
                    f"step {step} is already in {self.path} with other {what}, and a step is written once: "
                    f"save to another folder, or delete {file.name} first"
                )

    @property
    def steps(self) -> list[int]:
        """The saved steps, ascending.

        Raises:
            InputError: The folder is gone.
        """
        try:
            with os.scandir(self.path) as entries:
                return sorted(int(match[1]) for entry in entries if (match := _PUBLISHED.fullmatch(entry.name)))
        except OSError as error:
            raise InputError(f"the checkpoint store {self.path} cannot be read: {error.strerror}") from None

    def load(self, step: int) -> dict[str, Tensor]:
        """Read the weights of one step, bit for bit as they were saved, each verified by its checksum.

        A missing step is an InputError that names the nearest, a damaged file one that says what to do.

        Args:
            step: A saved step.

        Returns:
            CPU tensors by name, in the order of the state dict but for tied names, which share one tensor.
        """
        with open_checkpoint(self._existing(step), step) as file:
            return file.state_dict()

    def metadata(self, step: int) -> dict[str, Scalar]:
        """Read what was saved beside the weights; errors as in `load`.

        Args:
            step: A saved step.

        Returns:
            The metadata by name.
        """
        return self.manifest(step).metadata

    def manifest(self, step: int) -> Manifest:
        """Read names, dtypes, shapes, digests and metadata without reading a weight; errors as in `load`.

        Args:
            step: A saved step.

        Returns:
            The manifest, itself verified by a checksum.
        """
        with open_checkpoint(self._existing(step), step) as file:
            return file.manifest

    def verify(self) -> list[Damage]:
        """Read every tensor of every checkpoint and compare it with its checksum.

        Returns:
            What is damaged, by step; an empty list means that the store is sound.
        """
        damages = []
        for step in self.steps:
            file = self._file(step)
            try:
                with open_checkpoint(file, step) as checkpoint:
                    for index in range(len(checkpoint.manifest.tensors)):
                        try:
                            checkpoint.tensor(index)
                        except InputError as error:
                            damages.append(Damage(step, file, str(error)))
            except InputError as error:
                damages.append(Damage(step, file, str(error)))
        return damages

    def __len__(self) -> int:
        return len(self.steps)

    def __contains__(self, step: object) -> bool:
        try:
            return os.path.lexists(self._file(whole_number("step", step)))
        except InputError:
            return False

    def __repr__(self) -> str:
        steps = self.steps
        held = f"{len(steps)} checkpoints, steps {steps[0]}–{steps[-1]}" if steps else "empty"
        return f"CheckpointStore({str(self.path)!r}: {held})"

    def _file(self, step: int) -> Path:
        return self.path / f"step_{step:012d}.h5"

    def _existing(self, step: int) -> Path:
        step = whole_number("step", step)
        if step in self:
            return self._file(step)
        steps = self.steps
        place = bisect(steps, step)
        nearest = " and ".join(str(near) for near in steps[max(place - 1, 0) : place + 1])
        advice = f"nearest saved: {nearest}" if steps else "it holds no checkpoints yet"
        raise InputError(f"step {step} is not in {self.path}: {advice}")

    def _publish(self, file: Path, checkpoint: EncodedCheckpoint) -> None:
        temporary = self.path / f".writing-{_host()}-{os.getpid()}-{secrets.token_hex(4)}.h5"
        try:
            self._sweep()
            try:
                write_checkpoint(temporary, checkpoint)
                os.link(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
        except FileExistsError:
            pass  # another writer was first; the caller compares
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{file} could not be written: {error}. Check that the folder is writable, that its disk has "
                f"space, and that its file system has hard links"
            ) from None

    def _sweep(self) -> None:
        """Remove what dead writers of this host have left."""
        with os.scandir(self.path) as entries:
            found = [(entry.path, match) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
        for path, match in found:
            if match[1] == _host() and not _is_alive(int(match[2])):
                Path(path).unlink(missing_ok=True)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and another user's
    return True


def _make_folder(path: Path) -> None:
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        _sync_folder(folder.parent)


def _sync_folder(path: Path) -> None:
    """Make new names in a folder durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
