"""Checkpoints that other programs have written, brought into a store; nothing in them is ever executed."""

import os
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from llckit.errors import InputError
from llckit.store.checks import one_line
from llckit.store.manifest import Scalar
from llckit.store.store import CheckpointStore

__all__ = ["import_checkpoints"]

_PICKLED = {".pt", ".pth", ".bin", ".ckpt"}
_SUFFIXES = _PICKLED | {".safetensors"}
_WRAPPERS = ("state_dict", "model_state_dict", "model")

_STEP = re.compile(r"steps?[=_-]?(\d+)", re.IGNORECASE)
# The digits of a decimal fraction, as in "loss=0.25", are no step.
_INTEGER = re.compile(r"(?<!\d)(?<!\d\.)\d+(?!\d|\.\d)")


def import_checkpoints(
    sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    store: CheckpointStore,
    *,
    progress: bool = False,
) -> list[int]:
    """Copy saved state dicts into a store, in the order of their steps.

    Files are `.pt`, `.pth`, `.bin`, `.ckpt` (read by `torch.load(weights_only=True)`, always) and
    `.safetensors`. A file holds a state dict, or a dict with one under `state_dict`, `model_state_dict` or
    `model`; plain numbers beside it, such as `loss` or `epoch`, become metadata. The step is the number after
    "step" in the file's name (`step_400.pt`, `epoch=1-step=400.ckpt`), else the last integer in it. All names
    are checked before anything is written. An interrupted import can be repeated: what is there already is
    accepted.

    Args:
        sources: Files and folders, or one of them; of a folder, the files directly in it with these suffixes.
        store: Where to.
        progress: Show a progress bar on stderr, if that is a terminal.

    Returns:
        The steps imported, ascending.

    Raises:
        InputError: A source is missing or of unknown kind, a name has no step or that of another file, a file
            holds no state dict, or its step is in the store with other contents. Names the file.
    """
    if not isinstance(store, CheckpointStore):
        raise InputError(f"store is a {type(store).__name__}, but it must be a CheckpointStore")
    files = _by_step(_find(sources))
    if any(file.suffix.lower() == ".safetensors" for file in files.values()):
        _safetensors_loader()
    for step, file in tqdm(files.items(), desc="import", unit="file", disable=None if progress else True):
        try:
            state, metadata = _unwrap(_read(file))
            store.save(step, state, **metadata)
        except InputError as error:
            raise InputError(f"{file} cannot be imported: {error}") from None
    return list(files)


def _find(sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    try:
        given = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    except TypeError:
        raise InputError(f"sources are {sources!r}, but they must be paths of files or folders") from None
    files: list[Path] = []
    for source in given:
        if source.is_dir():
            found = [file for file in source.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file()]
            found = sorted(file for file in found if not file.name.startswith("."))
            if not found:
                raise InputError(f"the folder {source} holds no {', '.join(sorted(_SUFFIXES))} file")
            files += found
        elif not source.is_file():
            raise InputError(f"{source} does not exist: give files or folders of checkpoints")
        elif source.suffix.lower() not in _SUFFIXES:
            raise InputError(f"{source} is of no known kind: expected one of {', '.join(sorted(_SUFFIXES))}")
        else:
            files.append(source)
    if not files:
        raise InputError("there is nothing to import: give files or folders of checkpoints")
    return list({file.resolve(): file for file in files}.values())


def _by_step(files: list[Path]) -> dict[int, Path]:
    steps: dict[int, Path] = {}
    for file in files:
        numbers = _STEP.findall(file.stem) or _INTEGER.findall(file.stem)
        if not numbers:
            raise InputError(f"{file} has no step in its name: rename it to something like step_400{file.suffix}")
        step = int(numbers[-1])
        if step in steps:
            raise InputError(f"{steps[step]} and {file} both claim step {step}: rename or leave out one of them")
        steps[step] = file
    return dict(sorted(steps.items()))


def _read(file: Path) -> object:
    try:
        if file.suffix.lower() in _PICKLED:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice on unusual pickles; what they hold is judged here
                return torch.load(file, map_location="cpu", weights_only=True)
        return _safetensors_loader()(file)
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


def _unwrap(content: object) -> tuple[Mapping, dict[str, Scalar]]:
    """The state dict in a loaded file, and the plain numbers beside it."""
    if not isinstance(content, Mapping):
        raise InputError(f"it holds a {type(content).__name__}, not a state dict")
    wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    if not wrapped:
        return content, {}
    if len(wrapped) > 1:
        raise InputError(f"it holds several state dicts ({', '.join(wrapped)}): save the one to study by itself")
    numbers = {key: value for key, value in content.items() if isinstance(key, str) and type(value) in (int, float)}
    return content[wrapped[0]], numbers


def _safetensors_loader():
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise InputError("safetensors files need an extra package: pip install llckit[safetensors]") from None
    return load_file
