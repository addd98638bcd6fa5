"""Reading a state dict from a file that another program wrote; nothing in it is ever executed."""

import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from llckit.errors import InputError
from llckit.store.foreign_errors import one_line
from llckit.store.metadata import Scalar, as_scalar
from llckit.store.unreadable_file import unreadable_kind
from llckit.store.zip_sums import damaged_record
from llckit.unwrap import is_extra_state

__all__ = ["PICKLED", "SUFFIXES", "read_foreign_file", "safetensors_loader", "suffix_of"]

PICKLED = {".pt", ".pth", ".bin", ".ckpt", ".pt.tar", ".pth.tar"}
SUFFIXES = PICKLED | {".safetensors"}
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_NO_WEIGHTS = re.compile(r"optim|sched|scaler|rng|random", re.IGNORECASE)
_NUMPY_SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"}


def suffix_of(file: Path) -> str:
    """The one of `SUFFIXES` that a file's name ends with, or another suffix, in lower case."""
    name = file.name.lower()
    return max((known for known in SUFFIXES if name.endswith(known)), key=len, default=file.suffix.lower())


def read_foreign_file(file: Path) -> tuple[Mapping, dict[str, Scalar]]:
    """Read the state dict in a file, and the plain numbers beside it.

    Args:
        file: A file with one of `SUFFIXES`: a state dict, or a dict with one under any key.

    Returns:
        The state dict as it is in the file, and the numbers beside it by name.

    Raises:
        InputError: The file is damaged, holds no state dict or several, or Python objects that cannot be passed over.
    """
    content = _read(file)
    if not isinstance(content, Mapping):
        raise InputError(f"it holds a {type(content).__name__}, not a state dict; save model.state_dict()")
    numbers: dict[str, Scalar] = {}
    while (key := _wrapper(content)) is not None:
        numbers = _numbers(content) | numbers
        content = content[key]
    return content, numbers


def _wrapper(content: Mapping) -> object | None:
    """The key under which a dict has its state dict; None if it is one itself, or has none."""
    if _is_state_dict(content):
        return None
    usual = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    holding = [key for key, value in content.items() if _holds_state_dict(value) and not _NO_WEIGHTS.search(str(key))]
    keys = [key for key in usual if key in holding] or usual or holding
    if len(keys) > 1:
        named = ", ".join(sorted(map(str, keys)))
        raise InputError(f"it holds several state dicts ({named}); save the one to study by itself")
    return keys[0] if keys else None


def _is_state_dict(content: object) -> bool:
    """Whether all entries are tensors, but for the extra state of modules."""
    if not isinstance(content, Mapping):
        return False
    kinds = [isinstance(value, Tensor) for name, value in content.items() if not is_extra_state(str(name))]
    return bool(kinds) and all(kinds)


def _holds_state_dict(content: object) -> bool:
    if not isinstance(content, Mapping):
        return False
    return _is_state_dict(content) or any(_is_state_dict(content.get(key)) for key in _WRAPPERS)


def safetensors_loader() -> Callable[[Path], dict[str, Tensor]]:
    """The function that loads safetensors files.

    Returns:
        `safetensors.torch.load_file`.

    Raises:
        InputError: The package safetensors is not installed.
    """
    try:
        from safetensors.torch import load_file
    except ImportError:
        message = "the package safetensors is missing; .safetensors files need it; pip install llckit[safetensors]"
        raise InputError(message) from None
    return load_file


def _read(file: Path) -> object:
    try:
        content = _read_pickled(file) if suffix_of(file) in PICKLED else safetensors_loader()(file)
    except InputError:
        raise
    except Exception as error:
        if (kind := unreadable_kind(file)) is not None:
            raise InputError(kind) from None
        raise _refusal(error) from None
    if suffix_of(file) in PICKLED and (damaged := damaged_record(file)) is not None:
        raise InputError(f"it is damaged: {damaged} does not have the checksum that it was saved with")
    return content


def _refusal(error: Exception) -> InputError:
    if isinstance(error, pickle.UnpicklingError):
        # Only the name of the object is used: the rest of torch's message explains how to load the file unsafely.
        named = re.search(r"GLOBAL (\S+)", str(error))
        return InputError(
            f"it is damaged, or holds Python objects{f' ({named[1]})' if named else ''} besides tensors and "
            f"numbers, which are never loaded; save model.state_dict() alone"
        )
    return InputError(f"it is damaged or of another format ({one_line(error)})")


class _StandIn:
    """Takes the place of a Python object in a file: keeps nothing, does nothing."""

    def __new__(cls, *_: object) -> "_StandIn":
        return object.__new__(cls)

    def __setstate__(self, _: object) -> None:
        pass


def _read_pickled(file: Path) -> object:
    """Load tensors and plain containers; a stand-in takes the place of an object that torch refuses."""
    # The object's name is never looked up, let alone called: torch finds the stand-in under it, marked as safe.
    # Modules that torch blocks, such as os, and objects that are filled like a list or dict remain refused.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's advice on unusual pickles; what they hold is judged here
        try:
            return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as refusal:
            try:
                names = torch.serialization.get_unsafe_globals_in_checkpoint(file)
                stand_ins = [(_stand_in(name), name) for name in names if name not in _NUMPY_SCALARS]
                with torch.serialization.safe_globals([*stand_ins, *_numpy_scalars()]):
                    return torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # torch before 2.6 has no such functions, and a damaged file can raise anything
                raise refusal from None


def _stand_in(name: str) -> Any:
    """A class to take the place of an object, by whose name a message calls what it makes."""
    short = name.rpartition(".")[2]
    return type("ndarray" if short == "_reconstruct" else short, (_StandIn,), {})


def _numpy_scalars() -> list[Any]:
    """Names that a file needs in order to hold a number of NumPy's, such as a loss that is np.mean(losses)."""
    # All kinds but objects and records: what is refused stays as it is.
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"}
    make: Any = np.float64(0).__reduce__()[0]
    return [(make, name) for name in _NUMPY_SCALARS if name.endswith("scalar")] + [np.dtype, *kinds]


def _numbers(content: Mapping) -> dict[str, Scalar]:
    """Entries that are numbers, also as tensors or NumPy scalars."""
    found: dict[str, Scalar] = {}
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, int | float | Tensor | np.generic):
            with suppress(InputError):
                scalar = as_scalar(key, value)
                if type(scalar) in (int, float):
                    found[key] = scalar
    return found
