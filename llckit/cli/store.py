"""Commands on stores: `llckit import`, `info`, `verify` and `export`."""

from __future__ import annotations

import dataclasses
import json
import math
from argparse import Namespace
from pathlib import Path

from llckit.cli.arguments import Commands, add_json_argument
from llckit.cli.tables import describe_scale, loss_kind, scale_of
from llckit.errors import InputError
from llckit.llc import LLCCurve, kept_curves
from llckit.store import CheckpointStore, checkpoints_by_step, import_checkpoints

__all__ = ["add_store_commands"]


def add_store_commands(commands: Commands) -> None:
    """Add the commands on stores."""
    command = commands.add("import", import_files, "copy .pt, .pth, .bin, .ckpt, .safetensors files into a store")
    command.add_argument(
        "sources", nargs="+", metavar="SRC", help="files such as step_400.pt, checkpoint-N folders, or folders of them"
    )
    command.add_argument("store", metavar="STORE", help="the store, made if missing")
    command.add_argument("--dry-run", action="store_true", help="only list what would be imported; write nothing")

    command = commands.add("info", info, "what a store holds")
    command.add_argument("store", metavar="STORE")
    add_json_argument(command)

    command = commands.add("verify", verify, "check every byte of a store against its checksums")
    command.add_argument("store", metavar="STORE")

    command = commands.add("export", export, "copy a store, verified, into one file that is read as a store")
    command.add_argument("store", metavar="STORE")
    command.add_argument("file", metavar="FILE.h5", help="a new file")


def import_files(arguments: Namespace) -> int:
    """`llckit import SRC... STORE`: copy foreign checkpoints into a store."""
    missing = [source for source in arguments.sources if not Path(source).exists()]
    if missing:
        raise InputError(f"{', '.join(missing)}: no such file or folder")
    if arguments.dry_run:
        _show_import(arguments)
        return 0
    is_new = not Path(arguments.store).exists()
    store = CheckpointStore(arguments.store)
    try:
        steps = import_checkpoints(arguments.sources, store, progress=True)
    except InputError:
        if is_new and not len(store):
            store.path.rmdir()
        raise
    print(f"imported {len(steps)} checkpoints into {store.path}: steps {steps[0]} … {steps[-1]}")
    return 0


def _show_import(arguments: Namespace) -> None:
    # The store is opened only if it exists, since opening makes its folder.
    there = CheckpointStore(arguments.store).steps if Path(arguments.store).exists() else []
    found = checkpoints_by_step(arguments.sources)
    for step, source in found.items():
        print(f"step {step}: {source}{' (already there)' if step in there else ''}")
    print(f"{len(found)} checkpoints for {arguments.store}, {len(found.keys() & there)} of them already there")


@dataclasses.dataclass(frozen=True)
class _Contents:
    """What a store holds; the names are those of `llckit info --json`."""

    store: str
    checkpoints: int
    first_step: int
    last_step: int
    tensors: int
    numbers: int
    bytes: int
    metadata: list[str]
    steps_with_nan_or_inf: list[int]
    estimated: dict[str, dict[str, int | float]]


def info(arguments: Namespace) -> int:
    """`llckit info STORE`: what is there, without reading weights."""
    store = CheckpointStore(arguments.store, create=False)
    curves = kept_curves(store)
    contents = _contents(store, curves)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(contents)))
    else:
        _print_contents(contents, curves)
    return 0


def _contents(store: CheckpointStore, curves: dict[bool, LLCCurve]) -> _Contents:
    manifests = [store.manifest(step) for step in store.steps]
    last = manifests[-1]
    return _Contents(
        store=str(store.path),
        checkpoints=len(manifests),
        first_step=manifests[0].step,
        last_step=last.step,
        tensors=len(last.tensors),
        numbers=sum(math.prod(tensor.shape) for tensor in last.tensors),
        bytes=sum(tensor.nbytes for manifest in manifests for tensor in manifest.tensors),
        metadata=sorted({key for manifest in manifests for key in manifest.metadata}),
        steps_with_nan_or_inf=[manifest.step for manifest in manifests if manifest.nonfinite],
        estimated={
            loss_kind(behavioral): {"checkpoints": len(curve)} | scale_of(curve) for behavioral, curve in curves.items()
        },
    )


def _print_contents(contents: _Contents, curves: dict[bool, LLCCurve]) -> None:
    print(
        f"{contents.store}: {contents.checkpoints} checkpoints, steps {contents.first_step} … {contents.last_step}\n"
        f"{contents.numbers} numbers in {contents.tensors} tensors each, {contents.bytes / 1e6:.1f} MB in all\n"
        f"metadata: {', '.join(contents.metadata) or 'none'}"
    )
    if contents.steps_with_nan_or_inf:
        print(f"NaN or inf in the weights of steps {', '.join(map(str, contents.steps_with_nan_or_inf))}")
    done = [f"{len(curve)} ({describe_scale(curve)})" for curve in curves.values()]
    print(f"estimated: {'; '.join(done) or 'none'}")


def verify(arguments: Namespace) -> int:
    """`llckit verify STORE`: read everything and compare checksums; exit code 1 if anything is damaged."""
    store = CheckpointStore(arguments.store, create=False)
    damages = store.verify(progress=True)
    for damage in damages:
        print(f"step {damage.step}: {damage.message}")
    print(f"{len(store)} checkpoints, {len({damage.step for damage in damages})} damaged")
    return 1 if damages else 0


def export(arguments: Namespace) -> int:
    """`llckit export STORE FILE.h5`: copy all checkpoints into one file."""
    store = CheckpointStore(arguments.store, create=False)
    store.export(arguments.file, progress=True)
    size = Path(arguments.file).stat().st_size
    print(f"{len(store)} checkpoints exported to {arguments.file}, {size / 1e6:.1f} MB; read it as any store")
    return 0
