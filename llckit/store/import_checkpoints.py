"""Checkpoints that other programs have written, found and copied into a store."""

import os
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from llckit.checks import check_instance, shown
from llckit.errors import InputError
from llckit.store.checkpoint_store import CheckpointStore
from llckit.store.foreign_checkpoint import foreign_step, foreign_weights_hash, load_foreign, source_named
from llckit.store.foreign_file import SUFFIXES, safetensors_loader, suffix_of
from llckit.store.trainer_folder import WEIGHTS_FILES, is_left_beside, trainer_step, weights_file

__all__ = ["checkpoints_by_step", "import_checkpoints"]

_Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def import_checkpoints(
    sources: _Sources, store: CheckpointStore, *, dry_run: bool = False, progress: bool = False
) -> list[int]:
    """Copy saved state dicts into a store, in the order of their steps. Nothing in the sources is ever executed.

    Files are `.pt`, `.pth`, `.pth.tar`, `.bin`, `.ckpt` (read by `torch.load(weights_only=True)`, always) and
    `.safetensors`. A file holds a state dict, or a dict with one under `state_dict`, `model_state_dict`, `model` or
    one other key; numbers beside it, such as `loss` or `epoch`, become metadata. Python objects beside it, such as
    hyperparameters, and extra state of modules that is no tensor are passed over. A `checkpoint-N` folder of the
    Hugging Face Trainer is step N, with the loss, learning rate and epoch logged there.

    Names become those of the bare model: `_orig_mod.` (torch.compile) and what FSDP, activation checkpoints and
    Lightning add are removed wherever a module is wrapped, and leading `module.` and `_module.` (DataParallel,
    AveragedModel, Opacus) if all names have them.

    Everything that `checkpoints_by_step` checks is checked before anything is written. An interrupted import can be
    repeated: checkpoints that are there already are compared and accepted.

    Args:
        sources: Files and folders, or one of them. In a folder, the files with these suffixes and the `checkpoint-N`
            folders directly in it are taken.
        store: Where to save.
        dry_run: Only find the checkpoints; write nothing.
        progress: Show a progress bar on stderr, if that is a terminal.

    Returns:
        The steps imported, ascending; for a dry run, those that would be.

    Raises:
        InputError: A source is missing or of unknown kind, its step is unknown or that of another source with other
            weights, it holds no state dict, or the store has the step with other contents. Names the source.
    """
    check_instance("store", store, CheckpointStore)
    found = checkpoints_by_step(sources)
    if dry_run:
        return list(found)
    if any(".safetensors" in _deciding_file(source).name.lower() for source in found.values()):
        safetensors_loader()  # an InputError before anything is written
    for step, source in tqdm(found.items(), desc="import", unit="file", disable=None if progress else True):
        with source_named(source):
            store.put(step, *load_foreign(step, source))
    return list(found)


def checkpoints_by_step(sources: _Sources) -> dict[int, Path]:
    """Find the checkpoints that `import_checkpoints` would import.

    The step is the number after "step" in the name of the file (`step_400.pt`, `epoch=1-step=400.ckpt`). If there is
    none, it is the `global_step`, `step`, `global_steps` or `iteration` beside the weights (`last.ckpt`), else the last
    integer in the name. Two files may claim one step if their weights are equal; the first counts. Weights are read for
    these two questions only.

    Args:
        sources: Files and folders, or one of them.

    Returns:
        Files and `checkpoint-N` folders by step, ascending.

    Raises:
        InputError: A source is missing or of unknown kind, or its step is unknown or that of another source with other
            weights. Names the source.
    """
    found: dict[int, Path] = {}
    for source in _find(sources):
        with source_named(source):
            step = foreign_step(source)
        if step is None:
            raise InputError(
                f"{source} has no step in its name; rename it to something like step_400{suffix_of(source)}"
            )
        first = found.setdefault(step, source)
        if first is not source and foreign_weights_hash(step, first) != foreign_weights_hash(step, source):
            raise InputError(f"{first} and {source} both claim step {step}; rename or leave out one of them")
    return dict(sorted(found.items()))


def _find(sources: _Sources) -> list[Path]:
    try:
        given = [Path(source) for source in ([sources] if isinstance(sources, str | os.PathLike) else sources)]
    except TypeError:
        raise InputError(f"sources is {shown(sources)}; expected paths of files or folders") from None
    found: list[Path] = []
    for source in given:
        if source.is_dir():
            found += _find_in(source)
        elif not source.is_file():
            _refuse_absent([source])
            raise InputError(f"{source} does not exist; expected files or folders of checkpoints")
        elif suffix_of(source) not in SUFFIXES:
            raise InputError(f"{source} is of no known kind; expected one of {', '.join(sorted(SUFFIXES))}")
        else:
            found.append(source)
    if not found:
        raise InputError("there is nothing to import; expected files or folders of checkpoints")
    unique = {path.parent.resolve() / path.name: path for path in found}
    # A link such as "latest.pt" to a file that is found as well adds nothing.
    return [path for path in unique.values() if not (path.is_symlink() and path.resolve() in unique)]


def _find_in(folder: Path) -> list[Path]:
    if trainer_step(folder) is not None:
        return [weights_file(folder).parent]
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}") from None
    steps = [entry for entry in entries if entry.is_dir() and trainer_step(entry) is not None]
    named = [entry for entry in entries if suffix_of(entry) in SUFFIXES]
    files = [entry for entry in named if entry.is_file()]
    _refuse_absent([*named, *(entry for entry in entries if trainer_step(entry) is not None)])
    if steps:
        files = [file for file in files if not is_left_beside(file)]
    elif any((folder / name).is_file() for name in WEIGHTS_FILES):
        raise InputError(f"{folder} holds a model, but its name has no step; rename the folder to checkpoint-STEP")
    elif not files:
        raise InputError(f"the folder {folder} holds no {', '.join(sorted(SUFFIXES))} file")
    return files + [weights_file(entry).parent for entry in steps]


def _refuse_absent(entries: Iterable[Path]) -> None:
    """Refuse what is named like a checkpoint, but is a link whose target is not here, or a folder of shards."""
    for entry in entries:
        if entry.is_symlink() and not entry.exists():
            raise InputError(
                f"{entry} is a link to {os.readlink(entry)}, which is not here; get its content first (as by git annex "
                f"get, dvc pull or another download), or remove the link"
            )
        if entry.is_dir() and suffix_of(entry) in SUFFIXES:
            raise InputError(
                f"{entry} is a folder; expected a file: if DeepSpeed or FSDP saved it in shards, consolidate them into "
                f"one file, as by zero_to_fp32.py or lightning's consolidate_checkpoint"
            )


def _deciding_file(source: Path) -> Path:
    """The file that decides about a checkpoint: itself, or the weights or the index in a Trainer's folder."""
    return weights_file(source) if source.is_dir() else source
