"""A checkpoint that another program wrote: a file, or a folder of the Hugging Face Trainer."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from llckit.errors import InputError
from llckit.store.encoding import encode
from llckit.store.foreign_file import PICKLED, read_foreign_file
from llckit.store.manifest import Manifest
from llckit.store.metadata import Scalar
from llckit.store.trainer_folder import logged_metadata, read_trainer_weights, trainer_step

__all__ = ["foreign_step", "foreign_weights_hash", "load_foreign", "source_named"]

_STEP = re.compile(r"steps?[=_-]?(\d+)", re.IGNORECASE)
_NO_INTEGER = re.compile(r"steps?[=_-]?\d+([a-z]|\.\d)", re.IGNORECASE)  # such as step_10k
# Not a step: the digits of a decimal fraction, as in "loss=0.25", and digits before a letter, as in "7b".
_INTEGER = re.compile(r"(?<!\d)(?<!\d\.)\d+(?!\d|\.\d|[A-Za-z])")
_VERSION = re.compile(r"-v\d+$")  # Lightning appends it to a name that is taken
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
# torch.compile and FSDP wrap modules at any depth.
_WRAPPED_MODULE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module)\.")


def foreign_step(source: Path) -> int | None:
    """Find the step of a checkpoint.

    Args:
        source: A file or a `checkpoint-N` folder.

    Returns:
        The number after "step" in the name; else the `global_step` or `step` beside the weights; else the last integer
        in the name; None if there is none of these.

    Raises:
        InputError: The file is one shard of a model, its step is not an integer, or it cannot be read.
    """
    if source.is_dir():
        return trainer_step(source)
    if _SHARD.search(source.stem):
        raise InputError("it is one shard of a model; give the folder with its index, named checkpoint-STEP")
    if unclear := _NO_INTEGER.search(source.stem):
        raise InputError(f"{unclear[0]!r} in its name is no integer; rename it to something like step_400")
    if named := _STEP.findall(source.stem):
        return int(named[-1])
    if source.suffix.lower() in PICKLED:
        numbers = read_foreign_file(source)[1]
        if isinstance(inside := numbers.get("global_step", numbers.get("step")), int):
            return inside
    integers = _INTEGER.findall(_VERSION.sub("", source.stem))
    return int(integers[-1]) if integers else None


def load_foreign(step: int, source: Path) -> tuple[dict[str, Tensor], dict[str, Scalar]]:
    """Read a checkpoint.

    Args:
        step: The step of the checkpoint.
        source: A file or a `checkpoint-N` folder.

    Returns:
        The state dict of the bare model, and the metadata.
    """
    if source.is_dir():
        return _without_wrappers(read_trainer_weights(source)), logged_metadata(source, step)
    state, metadata = read_foreign_file(source)
    return _without_wrappers(state), metadata


def foreign_weights_hash(step: int, source: Path) -> str:
    """The `weights_hash` that a checkpoint would have in a store.

    Args:
        step: The step of the checkpoint.
        source: A file or a `checkpoint-N` folder.

    Returns:
        Hex sha256.
    """
    with source_named(source):
        return Manifest.from_json(encode(step, load_foreign(step, source)[0], {}).document).weights_hash


@contextmanager
def source_named(source: Path) -> Iterator[None]:
    """Add the name of a source to the errors in the block.

    Args:
        source: A file or a `checkpoint-N` folder.

    Yields:
        Nothing.

    Raises:
        InputError: The block raised one.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{source} cannot be imported: {error}") from None


def _without_wrappers(state: Mapping) -> dict:
    """The state dict without the prefixes that wrappers add to names."""
    if any(isinstance(name, str) and name.split(".")[-1] == "_flat_param" for name in state):
        raise InputError("it holds the flat parameters of FSDP; save the full state dict (FULL_STATE_DICT)")
    names = {name: _WRAPPED_MODULE.sub("", name) if isinstance(name, str) else name for name in state}
    if all(isinstance(name, str) and name.startswith("module.") for name in names.values()):
        # Once only: a layer of the model itself may be called "module" as well.
        names = {name: bare.removeprefix("module.") for name, bare in names.items()}
    origins: dict[object, object] = {}
    for name, bare in names.items():
        if origins.setdefault(bare, name) is not name:
            raise InputError(
                f"{origins[bare]!r} and {name!r} are both {bare!r} without the prefixes of torch.compile and "
                f"parallel wrappers; save the state dict of the unwrapped model"
            )
    return {bare: state[name] for name, bare in names.items()}
