"""Names and numbers of the file format, versions 1 and 2; see docs/notes/checkpoint-format.md for the format itself."""

import re

__all__ = [
    "CHECKPOINT_FORMAT",
    "CHECKPOINT_NAME",
    "CHUNK_BYTES",
    "COMPRESSED",
    "EXPORT_FORMAT",
    "EXPORT_VERSION",
    "PLAIN",
    "checkpoint_name",
    "tensor_name",
]

CHECKPOINT_FORMAT, EXPORT_FORMAT = b"llckit-checkpoint", b"llckit-store"
PLAIN, COMPRESSED = 1, 2  # versions of a checkpoint
EXPORT_VERSION = 1
CHUNK_BYTES = 4 << 20  # largest chunk of a compressed tensor

CHECKPOINT_NAME = re.compile(r"step_([0-9]{12}|[1-9][0-9]{12,})")


def checkpoint_name(step: int) -> str:
    """Name of a step's group in an exported file; in a folder, the file is called the same with ".h5".

    Args:
        step: Training step.

    Returns:
        The name, such as "step_000000001000".
    """
    return f"step_{step:012d}"


def tensor_name(index: int) -> str:
    """Name of a tensor's dataset, by its place in the manifest."""
    return f"{index:06d}"
