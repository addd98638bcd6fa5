"""The `checkpoint-N` folders of the Hugging Face Trainer: their step, their weights and their log."""

import json
import os
import re
from pathlib import Path

from torch import Tensor

from llckit.errors import InputError
from llckit.store.foreign_errors import one_line
from llckit.store.foreign_file import read_foreign_file
from llckit.store.metadata import Scalar

__all__ = ["WEIGHTS_FILES", "is_left_beside", "logged_metadata", "read_trainer_weights", "trainer_step", "weights_file"]

WEIGHTS_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_FOLDER = re.compile(r"checkpoint-([0-9]+)")
_LEFT_BESIDE = re.compile(
    r"(pytorch_)?model(-\d{5}-of-\d{5})?\.(safetensors|bin)|(training_args|optimizer|scheduler|scaler|rng_state.*)\.\w+"
)
_BAD_JSON = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
_MAX_JSON_BYTES = 64 << 20
_LOGGED = ("loss", "learning_rate", "epoch")


def trainer_step(folder: Path) -> int | None:
    """The step in the name of a folder, or None if it is not a `checkpoint-N`."""
    named = _FOLDER.fullmatch(Path(os.path.abspath(folder)).name)
    return int(named[1]) if named else None


def is_left_beside(file: Path) -> bool:
    """Whether the Trainer leaves such a file beside its folders: the last model once more, or its own settings."""
    return _LEFT_BESIDE.fullmatch(file.name) is not None


def weights_file(folder: Path) -> Path:
    """The weights in a Trainer's folder, or the index of their shards.

    Args:
        folder: A `checkpoint-N`.

    Returns:
        The first of `WEIGHTS_FILES` that is there.

    Raises:
        InputError: None of them is there.
    """
    for name in WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"{folder} is named like a checkpoint of the Hugging Face Trainer, but holds none of "
        f"{', '.join(WEIGHTS_FILES)}; rename or remove it, or give the other checkpoints one by one"
    )


def read_trainer_weights(folder: Path) -> dict[str, Tensor]:
    """Read the state dict in a Trainer's folder, whole or in shards.

    Args:
        folder: A `checkpoint-N`.

    Returns:
        Tensors by name.

    Raises:
        InputError: A file is missing or damaged, or the shards do not match their index.
    """
    file = weights_file(folder)
    return _read_shards(file) if file.suffix == ".json" else dict(read_foreign_file(file)[0])


def logged_metadata(folder: Path, step: int) -> dict[str, Scalar]:
    """The loss, learning rate and epoch that the Trainer logged at a step.

    Args:
        folder: A `checkpoint-N`.
        step: The step in its name.

    Returns:
        Numbers by name; empty if the log is missing or unreadable.

    Raises:
        InputError: The log is that of another step.
    """
    try:
        content = _json(folder / "trainer_state.json")
        reached = content.get("global_step", step)
        entries = [entry for entry in content.get("log_history", ()) if entry["step"] == step]
    except _BAD_JSON:
        return {}
    if reached != step:
        raise InputError(f"its trainer_state.json is of step {reached}; give the folder its name back")
    # Training and evaluation log in separate entries.
    logged = {key: value for entry in entries for key, value in entry.items() if key in _LOGGED}
    return {key: value for key, value in logged.items() if type(value) in (int, float)}


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        shard_of = dict(_json(index)["weight_map"])
        shards = {name: index.parent / name for name in shard_of.values()}
    except _BAD_JSON as error:
        raise InputError(f"{index.name} is damaged or of another format ({one_line(error)})") from None
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name, file in shards.items():
        if file.name != name or file.suffix != suffix:
            raise InputError(f"{index.name} names the shard {name!r}; expected a {suffix} file beside it")
        if not file.is_file():
            raise InputError(f"the shard {name} in {index.name} is missing; copy the whole folder")
    state: dict[str, Tensor] = {}
    for name, file in shards.items():
        try:
            tensors = read_foreign_file(file)[0]
        except InputError as error:
            raise InputError(f"{name} cannot be imported: {error}") from None
        wanted = [tensor for tensor, shard in shard_of.items() if shard == name]
        missing = [tensor for tensor in wanted if tensor not in tensors]
        unknown = [tensor for tensor in tensors if tensor not in shard_of]
        if missing or unknown:
            which = f"the tensor {missing[0]!r} is not in {name}" if missing else f"{name} also holds {unknown[0]!r}"
            raise InputError(f"{which}, contrary to {index.name}; copy the whole folder again")
        state |= {tensor: tensors[tensor] for tensor in wanted}
    return state


def _json(file: Path) -> dict:
    if file.stat().st_size > _MAX_JSON_BYTES:
        raise ValueError("larger than 64 MiB")
    return json.loads(file.read_bytes())
