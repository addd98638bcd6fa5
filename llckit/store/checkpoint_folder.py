"""Checkpoints as files of a folder, one file per step, each published whole or not at all."""

import os
from contextlib import AbstractContextManager
from pathlib import Path

from llckit.errors import InputError
from llckit.files import sync
from llckit.store.checkpoint_file import CheckpointFile, open_checkpoint
from llckit.store.encoding import EncodedCheckpoint
from llckit.store.file_format import CHECKPOINT_NAME, checkpoint_name
from llckit.store.manifest import Manifest
from llckit.store.publish import publish
from llckit.store.write_checkpoint import write_checkpoint

__all__ = ["CheckpointFolder"]

_SUFFIX = ".h5"


class CheckpointFolder:
    """A folder of checkpoint files.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path):
        self.path = path

    @property
    def steps(self) -> list[int]:
        """The saved steps, ascending.

        Raises:
            InputError: The folder is gone.
        """
        try:
            with os.scandir(self.path) as entries:
                stems = [entry.name.removesuffix(_SUFFIX) for entry in entries if entry.name.endswith(_SUFFIX)]
        except OSError as error:
            raise InputError(f"the checkpoint store {self.path} cannot be read: {error.strerror}") from None
        return sorted(int(match[1]) for stem in stems if (match := CHECKPOINT_NAME.fullmatch(stem)))

    def __contains__(self, step: int) -> bool:
        return os.path.lexists(self.file(step))

    def file(self, step: int) -> Path:
        """The file of a step, whether it exists or not."""
        return self.path / f"{checkpoint_name(step)}{_SUFFIX}"

    def open(self, step: int) -> AbstractContextManager[CheckpointFile]:
        """Open one checkpoint and verify everything except the bits of its tensors.

        Args:
            step: A saved step.

        Returns:
            A context of the open checkpoint.
        """
        return open_checkpoint(self.file(step), step)

    def save(self, step: int, checkpoint: EncodedCheckpoint, *, compress: bool, durable: bool) -> None:
        """Publish a checkpoint, or compare it with the one that is there.

        Args:
            step: The step of the checkpoint.
            checkpoint: Manifest and bits, from `encode`.
            compress: Shuffle and deflate the tensors.
            durable: Wait until the disk has the file and its name.

        Raises:
            InputError: The step is there with other contents or is damaged, or the disk refuses.
        """
        file = self.file(step)
        is_new = not os.path.lexists(file) and publish(
            file, lambda path: write_checkpoint(path, checkpoint, compress=compress, durable=durable)
        )
        if not is_new:
            self._require_equal(step, checkpoint)
        if durable:
            try:
                if not is_new:
                    sync(file)  # the one who wrote it may not have waited
                sync(self.path)
            except OSError as error:
                raise InputError(f"{file} may not be on the disk: {error.strerror}; save step {step} again") from None

    def _require_equal(self, step: int, checkpoint: EncodedCheckpoint) -> None:
        with self.open(step) as existing:
            if existing.document != checkpoint.document:
                difference = _difference(existing.manifest, Manifest.from_json(checkpoint.document))
                raise InputError(
                    f"step {step} is already in {self.path} with other {difference}; expected the same, since a step "
                    f"is written once; save to another folder, or delete {self.file(step).name} first"
                )
            for index in range(len(existing.manifest.tensors)):
                existing.tensor(index)  # raises if the stored tensor is damaged


def _difference(stored: Manifest, given: Manifest) -> str:
    if stored.weights_hash == given.weights_hash:
        return "metadata, order or ties"
    stored_names, given_names = ({name for entry in m.tensors for name in entry.names} for m in (stored, given))
    missing = [f"without {name!r}" for name in sorted(stored_names - given_names)]
    changes = missing + [f"with {name!r}" for name in sorted(given_names - stored_names)]
    return f"weights (this one is {changes[0]})" if changes else "weights"
