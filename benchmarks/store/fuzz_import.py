"""Checkpoint files of other programs, made at random and damaged, through `llckit import`: right, or one clear line.

    python -m benchmarks.store.fuzz_import

The files are those of `_foreign_files.py`: names of wrappers, keys, things beside the weights, formats, pickle
protocols, names with steps, files without a state dict, and damage. Each is imported by the command line into a store
of its own. The promises are:

* a sound file is imported under its step, with the names of the bare model, bit for bit;
* anything else is so as well, or refused in one line that names the file, with exit code 1 or 2;
* nothing in a file is run, no traceback is shown, and no import takes longer than 20 seconds.

`broken` lists where one was not kept. Files of old formats and safetensors have no checksums, so their bytes are not
changed, only cut.
"""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks._fuzz import patience, tally
from benchmarks._harness import Document, begin
from benchmarks._tables import table
from benchmarks.store._foreign_files import FAMILIES, Foreign, State
from llckit.cli import main as llckit
from llckit.errors import InputError
from llckit.store import CheckpointStore
from llckit.store.encoding import as_bits

PATIENCE = 20  # seconds for an import


def import_one(foreign: Foreign, store: Path) -> str:
    """Import a file, and say what came of it."""
    said, errors = io.StringIO(), io.StringIO()
    try:
        with (
            patience(PATIENCE),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")  # a warning would be a second line
            code = llckit(["import", str(foreign.file), str(store)])
    except TimeoutError:
        return "broken: hangs"
    except BaseException:
        return f"broken: {traceback.format_exc(limit=-1).splitlines()[-1]}"
    if (foreign.file.parent / "sprung").exists():
        return "broken: something was run"
    if code:
        lines = errors.getvalue().splitlines()
        if foreign.readable or len(lines) != 1 or code not in (1, 2) or foreign.file.name not in lines[0]:
            return f"broken: {code}, {errors.getvalue()[-300:]}"
        return "refused in one line"
    return "imported right" if _is_right(foreign, store) else "broken: imported otherwise"


def _is_right(foreign: Foreign, store: Path) -> bool:
    try:
        found = CheckpointStore(store, create=False)
        return foreign.state is not None and found.steps == [foreign.step] and _equal(found.load(foreign.step), foreign)
    except InputError:
        return False


def _equal(loaded: State, foreign: Foreign) -> bool:
    expected = foreign.state or {}
    return loaded.keys() == expected.keys() and all(
        (loaded[name].dtype, loaded[name].shape) == (tensor.dtype, tensor.shape)
        and torch.equal(as_bits(loaded[name]), as_bits(tensor))
        for name, tensor in expected.items()
    )


def tried(family: str, files: int, seed: int) -> Iterator[tuple[str, str]]:
    """Each of so many files of a family, and what came of it."""
    for index in range(files):
        with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
            folder = Path(name)
            foreign = FAMILIES[family](folder, random.Random(f"{family} {seed} {index}"))
            yield str(index), import_one(foreign, folder / "store")


def measure(family: str, files: int, seed: int) -> dict[str, Any]:
    """Outcomes of so many files of a family."""
    return {"files": files} | tally(tried(family, files, seed))


def report(document: Document) -> str:
    """Outcomes by family."""
    outcomes = ("imported right", "refused in one line", "broken")
    rows = [
        [family, found["files"], *(found.get(outcome, 0) for outcome in outcomes)]
        for family, found in document["cases"].items()
    ]
    return table(["files", "number", *outcomes], rows)


def main() -> None:
    """Make, import, compare."""
    run = begin(__file__, __doc__, report, sizes={"files": (60, 4), "seed": (0, 0)})
    run.measure(
        {family: family for family in FAMILIES}, lambda name: measure(name, run.sizes["files"], run.sizes["seed"])
    )


if __name__ == "__main__":
    main()
