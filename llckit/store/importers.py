"""Checkpoints that other programs have written, brought into a store; nothing in them is ever executed."""

import json
import os
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from llckit.errors import InputError
from llckit.store.encoding import encode
from llckit.store.manifest import Manifest, Scalar, as_scalar
from llckit.store.messages import one_line
from llckit.store.store import CheckpointStore

__all__ = ["checkpoints_by_step", "import_checkpoints"]

_PICKLED = {".pt", ".pth", ".bin", ".ckpt"}
_SUFFIXES = _PICKLED | {".safetensors"}
_WRAPPERS = ("state_dict", "model_state_dict", "model")

_STEP = re.compile(r"steps?[=_-]?(\d+)", re.IGNORECASE)
_NO_INTEGER = re.compile(r"steps?[=_-]?\d+([a-z]|\.\d)", re.IGNORECASE)  # such as step_10k
# The digits of a decimal fraction, as in "loss=0.25", are no step, nor is what a letter follows, as in "7b".
_INTEGER = re.compile(r"(?<!\d)(?<!\d\.)\d+(?!\d|\.\d|[A-Za-z])")
_VERSION = re.compile(r"-v\d+$")  # Lightning appends it to a name that is taken

_TRAINER_FOLDER = re.compile(r"checkpoint-([0-9]+)")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")
# What a Trainer leaves beside its checkpoint-N folders: the last model once more, and its own settings.
_TRAINER_FILE = re.compile(
    r"(pytorch_)?model(-\d{5}-of-\d{5})?\.(safetensors|bin)|(training_args|optimizer|scheduler|scaler|rng_state.*)\.\w+"
)
_BAD_JSON = (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
_NUMPY_SCALARS = {"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype"}
_LOGGED = ("loss", "learning_rate", "epoch")

# torch.compile and FSDP wrap modules at any depth.
_WRAPPED_MODULE = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module)\.")

_Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def import_checkpoints(
    sources: _Sources, store: CheckpointStore, *, dry_run: bool = False, progress: bool = False
) -> list[int]:
    """Copy saved state dicts into a store, in the order of their steps.

    Files are `.pt`, `.pth`, `.bin`, `.ckpt` (read by `torch.load(weights_only=True)`, always) and
    `.safetensors`. A file holds a state dict, or a dict with one under `state_dict`, `model_state_dict` or
    `model`; numbers beside it, such as `loss` or `epoch`, become metadata. Python objects beside it, such
    as the hyperparameters of a Lightning checkpoint, are passed over.

    A `checkpoint-N` folder of the Hugging Face Trainer is step N: its weights, whole or in shards, with the
    loss, learning rate and epoch that `trainer_state.json` logged at that step.

    Names become those of the bare model: `_orig_mod.` (torch.compile) and `_fsdp_wrapped_module.` are removed
    wherever a module is wrapped, a leading `module.` (DistributedDataParallel, DataParallel) if all names have
    it. Everything about the sources that `checkpoints_by_step` checks is checked before anything is written.
    An interrupted import can be repeated: what is there already is compared and accepted.

    Args:
        sources: Files and folders, or one of them; of a folder, the files with these suffixes and the
            `checkpoint-N` folders directly in it.
        store: Where to.
        dry_run: Only find the checkpoints; nothing is written.
        progress: Show a progress bar on stderr, if that is a terminal.

    Returns:
        The steps imported, ascending; of a dry run, those it would import.

    Raises:
        InputError: A source is missing or of unknown kind, its step is unknown or that of another with other
            weights, it holds no state dict, or the store has the step with other contents. Names the file.
    """
    if not isinstance(store, CheckpointStore):
        raise InputError(f"store is a {type(store).__name__}, but it must be a CheckpointStore")
    found = checkpoints_by_step(sources)
    if dry_run:
        return list(found)
    if any(".safetensors" in _weights_file(source).name.lower() for source in found.values()):
        _safetensors_loader()
    for step, source in tqdm(found.items(), desc="import", unit="file", disable=None if progress else True):
        with _named(source):
            store.put(step, *_load(step, source))
    return list(found)


def checkpoints_by_step(sources: _Sources) -> dict[int, Path]:
    """Find what `import_checkpoints` would import.

    The step is the number after "step" in the file's name (`step_400.pt`, `epoch=1-step=400.ckpt`). Without
    that it is the `global_step` or `step` beside the weights (`last.ckpt`), else the last integer in the name. Two
    files may claim one step if their weights are equal; the first counts. Weights are read for these two
    questions only.

    Args:
        sources: As for `import_checkpoints`.

    Returns:
        Files and `checkpoint-N` folders by step, ascending.

    Raises:
        InputError: As for `import_checkpoints`, but that contents are not checked.
    """
    found: dict[int, Path] = {}
    for source in _find(sources):
        with _named(source):
            step = _step(source)
        if step is None:
            raise InputError(f"{source} has no step in its name: rename it to something like step_400{source.suffix}")
        first = found.setdefault(step, source)
        if first is not source and _weights_hash(step, first) != _weights_hash(step, source):
            raise InputError(f"{first} and {source} both claim step {step}: rename or leave out one of them")
    return dict(sorted(found.items()))


def _find(sources: _Sources) -> list[Path]:
    try:
        given = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    except TypeError:
        raise InputError(f"sources are {sources!r}, but they must be paths of files or folders") from None
    found: list[Path] = []
    for source in given:
        if source.is_dir():
            found += _find_in(source)
        elif not source.is_file():
            raise InputError(f"{source} does not exist: give files or folders of checkpoints")
        elif source.suffix.lower() not in _SUFFIXES:
            raise InputError(f"{source} is of no known kind: expected one of {', '.join(sorted(_SUFFIXES))}")
        else:
            found.append(source)
    if not found:
        raise InputError("there is nothing to import: give files or folders of checkpoints")
    unique = {path.parent.resolve() / path.name: path for path in found}
    # A link such as "latest.pt" to a file that is there itself says nothing new.
    return [path for path in unique.values() if not (path.is_symlink() and path.resolve() in unique)]


def _find_in(folder: Path) -> list[Path]:
    if _trainer_step(folder) is not None:
        return [_weights_file(folder).parent]
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    steps = [entry for entry in entries if entry.is_dir() and _trainer_step(entry) is not None]
    files = [entry for entry in entries if entry.suffix.lower() in _SUFFIXES and entry.is_file()]
    if steps:
        files = [file for file in files if not _TRAINER_FILE.fullmatch(file.name)]
    elif any((folder / name).is_file() for name in _WEIGHTS):
        raise InputError(f"{folder} holds a model whose step no name tells: rename the folder to checkpoint-STEP")
    elif not files:
        raise InputError(f"the folder {folder} holds no {', '.join(sorted(_SUFFIXES))} file")
    return files + [_weights_file(entry).parent for entry in steps]


def _step(source: Path) -> int | None:
    if source.is_dir():
        return _trainer_step(source)
    if _SHARD.search(source.stem):
        raise InputError("it is one shard of a model: give the folder with its index, named checkpoint-STEP")
    if unclear := _NO_INTEGER.search(source.stem):
        raise InputError(f"{unclear[0]!r} in its name is no integer: rename it to something like step_400")
    if named := _STEP.findall(source.stem):
        return int(named[-1])
    if source.suffix.lower() in _PICKLED:
        beside = _unwrap(_read(source))[1]
        if isinstance(inside := beside.get("global_step", beside.get("step")), int):
            return inside
    stem = _VERSION.sub("", source.stem)
    numbers = _INTEGER.findall(stem)
    return int(numbers[-1]) if numbers else None


def _load(step: int, source: Path) -> tuple[dict[str, Tensor], dict[str, Scalar]]:
    """The state dict of the bare model, and the metadata."""
    if not source.is_dir():
        state, metadata = _unwrap(_read(source))
    else:
        file = _weights_file(source)
        state = _read_shards(file) if file.suffix == ".json" else _unwrap(_read(file))[0]
        metadata = _logged(source, step)
    return _bare(state), metadata


def _weights_hash(step: int, source: Path) -> str:
    with _named(source):
        return Manifest.from_json(encode(step, _load(step, source)[0], {}).document).weights_hash


def _read(file: Path) -> object:
    try:
        return _read_pickled(file) if file.suffix.lower() in _PICKLED else _safetensors_loader()(file)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        # Of the original message only the object's name: the rest explains how to load the file unsafely.
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise InputError(
            f"it is damaged, or holds Python objects{f' ({named[1]})' if named else ''} besides tensors and "
            f"numbers, which are never loaded: save model.state_dict() alone"
        ) from None
    except Exception as error:
        raise InputError(f"it is damaged or of another format ({one_line(error)})") from None


class _StandIn:
    """Takes the place of a Python object in a file: remembers nothing, does nothing."""

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
            except Exception:  # torch before 2.6 has no such functions, a damaged file can raise anything
                raise refusal from None


def _numpy_scalars() -> list[Any]:
    """What a file needs in order to hold a number of numpy's, such as a loss that is np.mean(losses)."""
    kinds = [type(np.dtype(name)) for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")]
    make: Any = np.float64(0).__reduce__()[0]
    return [(make, name) for name in _NUMPY_SCALARS if name.endswith("scalar")] + [np.dtype, *kinds]


def _unwrap(content: object) -> tuple[Mapping, dict[str, Scalar]]:
    """The state dict in a loaded file, and the plain numbers beside it."""
    if not isinstance(content, Mapping):
        raise InputError(f"it holds a {type(content).__name__}, not a state dict: save model.state_dict()")
    wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    if not wrapped:
        return content, {}
    if len(wrapped) > 1:
        raise InputError(f"it holds several state dicts ({', '.join(wrapped)}): save the one to study by itself")
    return content[wrapped[0]], _numbers(content)


def _numbers(content: Mapping) -> dict[str, Scalar]:
    """Those entries that are numbers, also as tensors or numpy scalars."""
    found: dict[str, Scalar] = {}
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, int | float | Tensor | np.generic):
            with suppress(InputError):
                scalar = as_scalar(key, value)
                if type(scalar) in (int, float):
                    found[key] = scalar
    return found


def _bare(state: Mapping) -> dict:
    """The state dict without the prefixes of wrappers."""
    if any(isinstance(name, str) and name.split(".")[-1] == "_flat_param" for name in state):
        raise InputError("it holds the flat parameters of FSDP: save the full state dict (FULL_STATE_DICT)")
    names = {name: _WRAPPED_MODULE.sub("", name) if isinstance(name, str) else name for name in state}
    if all(isinstance(name, str) and name.startswith("module.") for name in names.values()):
        # Once only: a layer of the model itself may be called "module" as well.
        names = {name: bare.removeprefix("module.") for name, bare in names.items()}
    origins: dict[object, object] = {}
    for name, bare in names.items():
        if origins.setdefault(bare, name) is not name:
            raise InputError(
                f"{origins[bare]!r} and {name!r} are both {bare!r} without the prefixes of torch.compile and "
                f"parallel wrappers: save the state dict of the unwrapped model"
            )
    return {bare: state[name] for name, bare in names.items()}


def _trainer_step(folder: Path) -> int | None:
    named = _TRAINER_FOLDER.fullmatch(Path(os.path.abspath(folder)).name)
    return int(named[1]) if named else None


def _weights_file(source: Path) -> Path:
    """The file that decides about a checkpoint: itself, or the weights or the index in a Trainer's folder."""
    if not source.is_dir():
        return source
    for name in _WEIGHTS:
        if (source / name).is_file():
            return source / name
    raise InputError(
        f"{source} is named like a checkpoint of the Hugging Face Trainer, but holds none of "
        f"{', '.join(_WEIGHTS)}: rename or remove it, or give the other checkpoints one by one"
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    try:
        shard_of = dict(_json(index)["weight_map"])
        shards = {name: index.parent / name for name in shard_of.values()}
    except _BAD_JSON as error:
        raise InputError(f"{index.name} is damaged or of another format ({one_line(error)})") from None
    suffix = Path(index.name.removesuffix(".index.json")).suffix
    for name, file in shards.items():
        if file.name != name or file.suffix != suffix:
            raise InputError(f"{index.name} names the shard {name!r}, but expected is a {suffix} file beside it")
        if not file.is_file():
            raise InputError(f"the shard {name} in {index.name} is missing: copy the whole folder")
    state: dict[str, Tensor] = {}
    for name, file in shards.items():
        with _named(name):
            held = _unwrap(_read(file))[0]
        wanted = [tensor for tensor, shard in shard_of.items() if shard == name]
        missing = [tensor for tensor in wanted if tensor not in held]
        unknown = [tensor for tensor in held if tensor not in shard_of]
        if missing or unknown:
            which = f"the tensor {missing[0]!r} is not in {name}" if missing else f"{name} also holds {unknown[0]!r}"
            raise InputError(f"{which}, other than {index.name} says: copy the whole folder again")
        state |= {tensor: held[tensor] for tensor in wanted}
    return state


def _logged(folder: Path, step: int) -> dict[str, Scalar]:
    """What the Trainer logged at a step; a log that is missing or unreadable says nothing."""
    try:
        content = _json(folder / "trainer_state.json")
        reached = content.get("global_step", step)
        entries = [entry for entry in content.get("log_history", ()) if entry["step"] == step]
    except _BAD_JSON:
        return {}
    if reached != step:
        raise InputError(f"its trainer_state.json is of step {reached}: give the folder its name back")
    # Losses of training and of evaluation are entries of their own.
    logged = {key: value for entry in entries for key, value in entry.items() if key in _LOGGED}
    return {key: value for key, value in logged.items() if type(value) in (int, float)}


def _json(file: Path) -> dict:
    if file.stat().st_size > 64 << 20:
        raise ValueError("larger than 64 MiB")
    return json.loads(file.read_bytes())


@contextmanager
def _named(source: Path | str) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"{source} cannot be imported: {error}") from None


def _safetensors_loader():
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError("safetensors files need an extra package: pip install llckit[safetensors]") from None
    return load_file
