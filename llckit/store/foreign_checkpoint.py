"""A checkpoint that another program wrote: a file, or a folder of the Hugging Face Trainer."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from llckit.errors import InputError
from llckit.store.encoding import encode
from llckit.store.foreign_file import PICKLED, read_foreign_file, suffix_of
from llckit.store.manifest import Manifest
from llckit.store.metadata import Scalar
from llckit.store.step_in_name import last_integer, step_in_name
from llckit.store.trainer_folder import logged_metadata, read_trainer_weights, trainer_step
from llckit.unwrap import bare_names

__all__ = ["foreign_step", "foreign_weights_hash", "load_foreign", "source_named"]

_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
_INSIDE = ("global_step", "step", "global_steps", "iteration")


def foreign_step(source: Path) -> int | None:
    """Find the step of a checkpoint.

    Args:
        source: A file or a `checkpoint-N` folder.

    Returns:
        The number after "step" in the name; else the `global_step`, `step`, `global_steps` or `iteration` beside the
        weights; else the last integer in the name; None if there is none of these.

    Raises:
        InputError: The file is one shard of a model, its step is not an integer, or it cannot be read.
    """
    if source.is_dir():
        return trainer_step(source)
    suffix = suffix_of(source)
    stem = source.name.lower().removesuffix(suffix)
    if _SHARD.search(stem):
        raise InputError("it is one shard of a model; give the folder with its index, named checkpoint-STEP")
    if (named := step_in_name(stem)) is not None:
        return named
    if suffix in PICKLED:
        numbers = read_foreign_file(source)[1]
        inside = (value for key in _INSIDE if isinstance(value := numbers.get(key), int) and value >= 0)
        if (step := next(inside, None)) is not None:
            return step
    return last_integer(stem)


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
    names = [name for name in state if isinstance(name, str)]
    if any(name.split(".")[-1] == "_flat_param" for name in names):
        raise InputError("it holds the flat parameters of FSDP; save the full state dict (FULL_STATE_DICT)")
    if len(names) < len(state):
        return dict(state)  # which `encode` refuses
    found: dict[str, str] = {}
    for name, bare in bare_names(names).items():
        if (first := found.setdefault(bare, name)) is not name:
            raise InputError(
                f"{first!r} and {name!r} are both {bare!r} without the prefixes of torch.compile and parallel "
                f"wrappers; save the state dict of the unwrapped model"
            )
    return {bare: state[name] for bare, name in found.items()}
