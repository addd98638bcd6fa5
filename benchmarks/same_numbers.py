"""Does a change leave every number of the toolkit the same, to the last bit?

    python benchmarks/same_numbers.py against REV [--quick] [--only PATTERN]   # this checkout beside another commit
    python benchmarks/same_numbers.py write FILE.npz [--quick] [--only PATTERN]
    python benchmarks/same_numbers.py compare OLD.npz NEW.npz

`write` computes the outputs that `same_numbers_cases.py` lists and stores every number in them: estimates with all
their draws, curves, spectrograms, transitions, exponents, brackets, toys, and what the commands print and write.
`compare` names each output that differs, and the first place in it. It ends with 1 if there is any, else with 0.
`against` does both, for this checkout and for a temporary worktree of REV, at the same time. Both are computed with
this checkout's scripts, so these use public names only. `--checkout DIR` takes the package of another checkout.

Words are compared only if they are results, such as an outcome. The settings of an estimate and the text of a report
are outputs of their own, since they may be put differently on purpose. Seconds, dates, versions and paths are left
out, and so are warnings and the words of errors. An output that fails is stored as the type of its exception.

The numbers are the same only on one kind of CPU, with the same versions of the libraries, on one thread. All outputs
take 170 s of CPU time for each checkout, those of `--quick` 36 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CASES = Path(__file__).with_name("same_numbers_cases.py")
SEPARATOR = " | "  # between the name of an output and the path in it, as same_numbers_cases.py writes them
FAILED = "exception"  # the path in an output that failed
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def write(jobs: dict[Path, Path], options: list[str]) -> None:
    """Compute all outputs of some checkouts at once, each in a process of its own.

    Args:
        jobs: by the checkout, the file to write.
        options: `--quick` and `--only PATTERN`, as given.
    """
    processes = []
    for position, (checkout, file) in enumerate(jobs.items()):
        words = [str(file.resolve()), "--checkout", str(checkout), "--position", str(position), *options]
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(checkout)}
        processes.append(subprocess.Popen([sys.executable, str(CASES), *words], env=environment))
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit("an output file could not be written; the reason is above")


def compare(old: Path, new: Path) -> int:
    """Print each output that differs and where first.

    Args:
        old: what `write` wrote.
        new: the same of another checkout.

    Returns:
        The exit code: 1 if any output differs.
    """
    before, after = _read(old), _read(new)
    lines = []
    for name in dict.fromkeys([*before, *after]):
        if name not in after or name not in before:
            lines.append(f"{name}: {'missing' if name in before else 'added'}")
            continue
        found = list(_differences(before[name], after[name]))
        if found:
            more = f" (and in {len(found) - 1} other places)" if len(found) > 1 else ""
            lines.append(f"{name}: {found[0]}{more}")
    failed = [name for name in after if FAILED in after[name]]
    note = f"; {len(failed)} failed: {', '.join(failed)}" if failed else ""
    if lines:
        print("\n".join(lines))
        print(f"{len(before | after)} outputs, {len(lines)} of them differ{note}")
        return 1
    print(f"{len(after)} outputs, all the same{note}")
    return 0


def _read(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """By output and by the path in it, the array stored there."""
    outputs: dict[str, dict[str, np.ndarray]] = {}
    with np.load(path) as stored:
        for key in stored.files:
            name, _, place = key.partition(SEPARATOR)
            outputs.setdefault(name, {})[place] = stored[key]
    return outputs


def _differences(old: dict[str, np.ndarray], new: dict[str, np.ndarray]) -> Iterator[str]:
    added = [place for place in new if place not in old]
    for place, a in old.items():
        if place not in new:
            renamed = next((other for other in added if _is_same(a, new[other])), None)
            if renamed is not None:
                added.remove(renamed)
            yield f"{place} missing" + ("" if renamed is None else f" ({renamed} is new and the same)")
            continue
        b = new[place]
        if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            yield f"{place}: {_kind(a)} -> {_kind(b)}"
        elif len(unequal := np.argwhere(_unequal(a, b))):
            at = tuple(unequal[0].tolist())
            index = f"[{', '.join(map(str, at))}]" if at else ""
            yield f"{place}{index}: {a[at].item()!r} -> {b[at].item()!r}, {len(unequal)} of {a.size} differ"
    yield from (f"{place} added" for place in added)


def _is_same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype.kind == b.dtype.kind and not _unequal(a, b).any()


def _unequal(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Where the bits differ; all NaN are one, and a zero has a sign."""
    if a.dtype.kind != "f":
        return np.asarray(a != b)
    return ((a != b) | (np.signbit(a) != np.signbit(b))) & ~(np.isnan(a) & np.isnan(b))


def _kind(array: np.ndarray) -> str:
    if array.size == 1:
        return repr(array.item())
    kinds = {"f": "floats", "i": "integers", "b": "bools", "U": "texts"}
    return f"{kinds.get(array.dtype.kind, str(array.dtype))} of shape {array.shape}"


@contextmanager
def _worktree(revision: str, path: Path) -> Iterator[None]:
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(path), revision], check=True)
    try:
        yield
    finally:
        subprocess.run([*git, "remove", "--force", str(path)], check=True)


def main() -> int:
    """Run one of the three commands and return its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (("write", ["file"]), ("compare", ["old", "new"]), ("against", ["revision"])):
        command = commands.add_parser(name)
        for word in words:
            command.add_argument(word, type=str if word == "revision" else Path)
        if name != "compare":
            command.add_argument("--quick", action="store_true", help="the shorter part")
            command.add_argument("--only", metavar="PATTERN", help="outputs in whose names this regular expression is")
            command.add_argument("--checkout", type=Path, default=ROOT, help="of which package (default: this one)")
    arguments = parser.parse_args()
    if arguments.command == "compare":
        return compare(arguments.old, arguments.new)
    options = ["--quick"] if arguments.quick else []
    options += ["--only", arguments.only] if arguments.only else []
    if arguments.command == "write":
        write({arguments.checkout.resolve(): arguments.file}, options)
        return 0
    with tempfile.TemporaryDirectory(prefix="same_numbers_") as folder:
        other, old, new = (Path(folder).resolve() / name for name in ("checkout", "old.npz", "new.npz"))
        with _worktree(arguments.revision, other):
            write({other: old, arguments.checkout.resolve(): new}, options)
        return compare(old, new)


if __name__ == "__main__":
    sys.exit(main())
