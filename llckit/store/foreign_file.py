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

__all__ = ["PICKLED", "SUFFIXES", "read_foreign_file", "safetensors_loader"]

PICKLED = {".pt", ".pth", ".bin", ".ckpt"}
SUFFIXES = PICKLED | {".safetensors"}
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_NUMPY_SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"}


def read_foreign_file(file: Path) -> tuple[Mapping, dict[str, Scalar]]:
    """Read the state dict in a file, and the plain numbers beside it.

    Args:
        file: A file with one of `SUFFIXES`: a state dict, or a dict with one under `state_dict`, `model_state_dict` or
            `model`.

    Returns:
        The state dict as it is in the file, and the numbers beside it by name.

    Raises:
        InputError: The file is damaged, holds no state dict or several, or Python objects that cannot be passed over.
    """
    content = _read(file)
    if not isinstance(content, Mapping):
        raise InputError(f"it holds a {type(content).__name__}, not a state dict; save model.state_dict()")
    wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    if not wrapped:
        return content, {}
    if len(wrapped) > 1:
        raise InputError(f"it holds several state dicts ({', '.join(wrapped)}); save the one to study by itself")
    return content[wrapped[0]], _numbers(content)


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
        return _read_pickled(file) if file.suffix.lower() in PICKLED else safetensors_loader()(file)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        # Only the name of the object is used: the rest of torch's message explains how to load the file unsafely.
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"it is damaged, or holds Python objects{f' ({named[1]})' if named else ''} besides tensors and "
            f"numbers, which are never loaded; save model.state_dict() alone"
        ) from None
    except Exception as error:
        raise InputError(f"it is damaged or of another format ({one_line(error)})") from None


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
                parts = [name.rpartition(".") for name in names if name not in _NUMPY_SCALARS]
                stand_ins: list[Any] = [type(name, (_StandIn,), {"__module__": module}) for module, _, name in parts]
                with torch.serialization.safe_globals([*stand_ins, *_numpy_scalars()]):
                    return torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # torch before 2.6 has no such functions, and a damaged file can raise anything
                raise refusal from None


def _numpy_scalars() -> list[Any]:
    """Names that a file needs in order to hold a number of NumPy's, such as a loss that is np.mean(losses)."""
    kinds = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
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
