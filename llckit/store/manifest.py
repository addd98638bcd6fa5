"""The manifest of a checkpoint: names, dtypes, shapes, digests and metadata, but no weights."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from llckit.store.metadata import Scalar, scalar_from_json, scalar_to_json

__all__ = ["DTYPES", "MAX_MANIFEST_BYTES", "Manifest", "TensorEntry"]

# Quantized dtypes (qint8, quint4x2, …) are left out: their scale and zero point live outside the bits.
DTYPES: dict[str, torch.dtype] = {
    str(value).removeprefix("torch."): value
    for value in vars(torch).values()
    if isinstance(value, torch.dtype) and not str(value).startswith("torch.q")
}

MAX_MANIFEST_BYTES = 64 << 20
_MAX_DIMENSIONS = 1024  # torch allows far fewer

_ENTRY_KEYS = {"names", "dtype", "shape", "sha256", "finite"}


@dataclass(frozen=True)
class TensorEntry:
    """One stored tensor.

    Attributes:
        name: First name of the tensor in the state dict.
        aliases: Other names of the same tensor, if tensors are tied.
        dtype: Torch dtype.
        shape: Shape of the tensor.
        sha256: Hex digest of the bits (little-endian, contiguous).
        finite: Whether the tensor had no NaN and no infinity when it was saved.
    """

    name: str
    aliases: tuple[str, ...]
    dtype: torch.dtype
    shape: tuple[int, ...]
    sha256: str
    finite: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The first name and all aliases."""
        return (self.name, *self.aliases)

    @property
    def nbytes(self) -> int:
        """Size of the bits, in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Manifest:
    """Everything about one checkpoint except its weights.

    Attributes:
        step: Training step.
        tensors: One entry per unique tensor, in the order of the state dict.
        metadata: Scalars saved beside the weights, by name; NaN and infinities are kept.
    """

    step: int
    tensors: tuple[TensorEntry, ...]
    metadata: dict[str, Scalar] = field(hash=False)

    @property
    def nonfinite(self) -> tuple[str, ...]:
        """Names of the tensors that hold NaN or an infinity."""
        return tuple(name for entry in self.tensors if not entry.finite for name in entry.names)

    @property
    def weights_hash(self) -> str:
        """Hex sha256 over the sorted (name, dtype, shape, digest) of all names; step and metadata do not enter."""
        rows = sorted(
            (name, _dtype_name(entry.dtype), entry.shape, entry.sha256)
            for entry in self.tensors
            for name in entry.names
        )
        return hashlib.sha256(_dumps(rows)).hexdigest()

    def to_json(self) -> bytes:
        """Serialise; equal checkpoints give equal bytes.

        Returns:
            ASCII JSON.
        """
        entries = [
            {
                "names": entry.names,
                "dtype": _dtype_name(entry.dtype),
                "shape": entry.shape,
                "sha256": entry.sha256,
                "finite": entry.finite,
            }
            for entry in self.tensors
        ]
        metadata = {key: scalar_to_json(value) for key, value in self.metadata.items()}
        return _dumps({"step": self.step, "tensors": entries, "metadata": metadata})

    @classmethod
    def from_json(cls, document: bytes) -> "Manifest":
        """Parse what `to_json` wrote; anything else is a ValueError.

        Args:
            document: ASCII JSON.

        Returns:
            The manifest.
        """
        content = json.loads(document)
        _require(isinstance(content, dict) and set(content) == {"step", "tensors", "metadata"}, "its keys")
        step, entries, metadata = content["step"], content["tensors"], content["metadata"]
        _require(_is_size(step), "its step")
        _require(isinstance(entries, list) and isinstance(metadata, dict), "its parts")
        tensors = tuple(_entry(record) for record in entries)
        names = [name for entry in tensors for name in entry.names]
        _require(len(names) == len(set(names)), "a name that stands for two tensors")
        return cls(step, tensors, {key: scalar_from_json(value) for key, value in metadata.items()})


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dumps(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


def _entry(record: object) -> TensorEntry:
    if not isinstance(record, Mapping) or set(record) != _ENTRY_KEYS:
        raise ValueError("its manifest has an entry of unknown form")
    names, dtype, shape, sha256, finite = (record[key] for key in ("names", "dtype", "shape", "sha256", "finite"))
    _require(isinstance(names, list) and len(names) > 0 and all(isinstance(name, str) for name in names), "names")
    bounded = isinstance(shape, list) and len(shape) <= _MAX_DIMENSIONS and all(_is_size(size) for size in shape)
    _require(bounded and all(size < 2**63 for size in shape), "a shape")
    _require(isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) is not None, "a digest")
    _require(isinstance(finite, bool), "a finite flag")
    if dtype not in DTYPES:
        raise ValueError(f"tensor {names[0]!r} has dtype {dtype!r}, which torch {torch.__version__} does not have")
    return TensorEntry(names[0], tuple(names[1:]), DTYPES[dtype], tuple(shape), sha256, finite)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"its manifest has an unknown form ({what})")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
