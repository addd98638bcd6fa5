"""What is wrong with the stored checkpoints of a store."""

from dataclasses import dataclass
from pathlib import Path

from llckit.errors import InputError
from llckit.store.checkpoint_folder import CheckpointFolder
from llckit.store.exported_file import ExportedFile

__all__ = ["Damage", "find_damages"]


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with a store.

    Attributes:
        step: Step whose checkpoint is damaged.
        file: File of the checkpoint.
        message: What is wrong and what to do.
    """

    step: int
    file: Path
    message: str


def find_damages(files: CheckpointFolder | ExportedFile, step: int) -> list[Damage]:
    """Read every tensor of one checkpoint and compare it with its checksum.

    Args:
        files: The stored checkpoints.
        step: A saved step.

    Returns:
        One entry per damaged tensor, or a single one if the file cannot be opened; empty if all is sound.
    """
    damages = []
    file = files.file(step)
    try:
        with files.open(step) as checkpoint:
            for index in range(len(checkpoint.manifest.tensors)):
                try:
                    checkpoint.tensor(index)
                except InputError as error:
                    damages.append(Damage(step, file, str(error)))
    except InputError as error:
        damages.append(Damage(step, file, str(error)))
    return damages
