"""Tables in many dialects, and damaged, through `llckit detect` and `llckit criticality`: right, or one clear line.

    python -m benchmarks.detector.fuzz_tables

A sound table is written in a random dialect, or damaged at a random place, and given to the command line with `--json`.
The promises are:

* a dialect that has one meaning gives the output of the sound table, to the last character;
* anything else does so as well, or is refused in one line that names the file, with exit code 2;
* no traceback is shown, and no command takes longer than 60 seconds.

`broken` lists where one was not kept.
"""

from __future__ import annotations

import contextlib
import csv
import io
import random
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._fuzz import patience, tally
from benchmarks._harness import Document, begin
from benchmarks._tables import table
from llckit.cli import main as llckit
from llckit.toys import curie_weiss

Table = list[list[str]]  # the first row holds the names
Write = Callable[[Table, random.Random], str | bytes]

PATIENCE = 60  # seconds for a command
SAID = 300  # characters of what was said that are kept


def curve_table() -> Table:
    """A curve with one transition."""
    rng = np.random.default_rng(5)
    step = 10 * np.arange(30)
    llc, loss = np.where(step > 145, 9.0, 3.0), np.where(step > 145, 1.0, 2.0)
    columns = step, loss + 0.01 * rng.standard_normal(30), llc + 0.2 * rng.standard_normal(30)
    rows = [[str(at), f"{loss:.5f}", f"{llc:.5f}"] for at, loss, llc in zip(*columns, strict=True)]
    return [["step", "loss", "llc"], *rows]


def runs_table() -> Table:
    """Runs of several sizes of a system with known exponents."""
    runs = curie_weiss((64, 128, 256))._asdict()
    names = ["size", "control", "order_parameter", "binder"]
    return [names, *([f"{runs[name][row]:.7g}" for name in names] for row in range(len(runs["size"])))]


def text(rows: Sequence[Sequence[str]], **dialect: Any) -> str:
    """Comma-separated values."""
    out = io.StringIO()
    csv.writer(out, **{"lineterminator": "\n", **dialect}).writerows(rows)
    return out.getvalue()


def changed(cell: Callable[[str, random.Random], str], column: int | None = None, least: int = 1) -> Write:
    """A table of which one cell is written in another way."""

    def write(rows: Table, rng: random.Random) -> str:
        rows = [list(row) for row in rows]
        row, place = rng.randrange(least, len(rows)), rng.randrange(len(rows[0])) if column is None else column
        rows[row][place] = cell(rows[row][place], rng)
        return text(rows)

    return write


def with_column(name: str, value: Callable[[int], str], first: bool = False) -> Write:
    """A table with a column more."""

    def write(rows: Table, _: random.Random) -> str:
        cells = [name, *(value(row) for row in range(len(rows) - 1))]
        pairs = zip(rows, cells, strict=True)
        return text([[cell, *row] if first else [*row, cell] for row, cell in pairs])

    return write


def shuffled(rows: Table, rng: random.Random) -> str:
    """The same columns in another order."""
    order = rng.sample(range(len(rows[0])), len(rows[0]))
    return text([[row[place] for place in order] for row in rows])


def with_line(line: str, first: bool = False) -> Write:
    """A table with a line more, somewhere or before all others."""

    def write(rows: Table, rng: random.Random) -> str:
        lines = text(rows).splitlines(keepends=True)
        place = 0 if first else rng.randrange(1, len(lines) + 1)
        return "".join([*lines[:place], line + "\n", *lines[place:]])

    return write


def renamed(change: Callable[[str, random.Random], str], all_names: bool = False) -> Write:
    """A table with another name, or all names changed."""

    def write(rows: Table, rng: random.Random) -> str:
        one = rng.randrange(len(rows[0]))
        names = [change(name, rng) if all_names or place == one else name for place, name in enumerate(rows[0])]
        return text([names, *rows[1:]])

    return write


def scientific(cell: str, _: random.Random) -> str:
    """The same number with an exponent."""
    return np.format_float_scientific(float(cell))


def cut(rows: Table, rng: random.Random) -> str:
    """A table of which the last line has lost a cell or more."""
    row = rng.randrange(2, len(rows))
    return text([*rows[:row], rows[row][: rng.randrange(1, len(rows[0]))]])


def with_byte(rows: Table, rng: random.Random) -> bytes:
    """A byte that is no text, somewhere."""
    whole = bytearray(text(rows).encode())
    whole[rng.randrange(len(whole))] = rng.choice([0, 0xFF, 0x89, 0xC3])
    return bytes(whole)


# Their output is that of the sound table.
DIALECTS: dict[str, Write] = {
    "line ends of Windows": lambda rows, _: text(rows, lineterminator="\r\n").encode(),
    "byte order mark": lambda rows, _: text(rows).encode("utf-8-sig"),
    "everything in quotes": lambda rows, _: text(rows, quoting=csv.QUOTE_ALL),
    "spaces after commas": lambda rows, _: text(rows).replace(",", ", "),
    "empty lines": with_line(""),
    "no line end at the end": lambda rows, _: text(rows).rstrip("\n"),
    "columns in another order": shuffled,
    "exponents": changed(scientific),
    "spaces about a number": changed(lambda cell, _: f"  {cell} "),
    "a sign": changed(lambda cell, _: cell if cell.startswith("-") else f"+{cell}"),
}
CURVE_DIALECTS: dict[str, Write] = {
    "a column of notes": with_column("note", lambda row: "warm-up" if row < 3 else "", first=False),
    "pandas' index": with_column("", str, first=True),
    "capital letters": renamed(lambda name, _: name.title(), all_names=True),
    "Weights & Biases": lambda rows, _: text([["Step", *(f"a run - {name}" for name in rows[0][1:])], *rows[1:]]),
    "MLflow": lambda rows, _: text(
        [["run_id", "key", "value", "step"]]
        + [["a", rows[0][place], row[place], row[0]] for place in (1, 2) for row in rows[1:]]
    ),
}
# Their output is that of the sound table, or they are refused.
DAMAGE: dict[str, Write] = {
    "semicolons": lambda rows, _: text(rows, delimiter=";"),
    "semicolons and decimal commas": lambda rows, _: text(rows, delimiter=";").replace(".", ","),
    "tabs": lambda rows, _: text(rows, delimiter="\t"),
    "decimal commas": lambda rows, _: text(rows, quoting=csv.QUOTE_NONE, escapechar="\\").replace(".", ","),
    "decimal commas in quotes": lambda rows, _: text([[cell.replace(".", ",") for cell in row] for row in rows]),
    "UTF-16": lambda rows, _: text(rows).encode("utf-16"),
    "a strange byte": with_byte,
    "a cell too many": with_line("1,2,3,4,5,6"),
    "a cut line": cut,
    "a name twice": lambda rows, rng: text(
        [[*row, row[place]] for place in [rng.randrange(len(rows[0]))] for row in rows]
    ),
    "a misspelt name": renamed(lambda name, rng: name.replace(rng.choice(name), "q")),
    "a comment before all": with_line("# my runs", first=True),
    "names again": lambda rows, rng: with_line(",".join(rows[0]))(rows, rng),
    "a word": changed(
        lambda _, rng: rng.choice(["abc", "1.2.3", "0x1f", "1_000", "--", "N/A", "#REF!", "1,5", "½", "1e"])
    ),
    "a unit": changed(lambda cell, rng: cell + rng.choice(["%", " s", "k", "f", "d0"])),
    "infinity": changed(lambda _, rng: rng.choice(["inf", "-inf", "1e999", "Infinity"])),
    "thousands": changed(lambda _, __: "1,000"),
}
CURVE_DAMAGE: dict[str, Write] = {
    "steps backwards": lambda rows, _: text([rows[0], *rows[:0:-1]]),
    "a step twice": lambda rows, rng: text([*rows, rng.choice(rows[1:])]),
    "half a step": changed(lambda cell, _: f"{cell}.5", column=0),
    "a step below zero": changed(lambda _, rng: str(-rng.randrange(1, 99)), column=0),
    "a step beyond all": changed(lambda _, rng: str(2**53 + rng.randrange(1000)), column=0),
    "an empty step": changed(lambda _, __: "", column=0),
    "a strange outcome": with_column("outcome", lambda row: "converged" if row != 4 else "convergd"),
    "an outcome is missing": with_column("outcome", lambda row: "converged" if row != 4 else ""),
    "two kinds of loss": with_column("loss_kind", lambda row: ("task", "behavioral")[row % 2]),
    "two scales": with_column("n_beta", lambda row: ("10", "20")[row % 2]),
    "two runs": lambda rows, _: text(
        [["Step", "a - loss", "b - loss", "a - llc"], *([*r[:2], *r[1:]] for r in rows[1:])]
    ),
}
COMMANDS: dict[str, tuple[Callable[[], Table], dict[str, Write], dict[str, Write]]] = {
    "detect": (curve_table, DIALECTS | CURVE_DIALECTS, DAMAGE | CURVE_DAMAGE),
    "criticality": (runs_table, DIALECTS, DAMAGE),
}


def run(command: str, file: Path) -> tuple[int | None, str, str]:
    """What a command says about a file: its exit code (None if it raised), standard output and standard error."""
    said, errors = io.StringIO(), io.StringIO()
    try:
        with (
            patience(PATIENCE),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(errors),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("error")  # a warning would be a second line
            return llckit([command, str(file), "--json"]), said.getvalue(), errors.getvalue()
    except BaseException:
        return None, said.getvalue(), traceback.format_exc(limit=-1).splitlines()[-1]


def outcome(command: str, file: Path, right: str, is_sound: bool) -> str:
    """What came of a table, with what was said if a promise was broken."""
    code, said, errors = run(command, file)
    if code == 0 and said == right:
        return "right"
    lines = errors.splitlines()
    if code == 2 and not is_sound and len(lines) == 1 and file.name in lines[0] and not said:
        return "refused in one line"
    return f"broken: {code}, {(errors or said)[-SAID:]}"


def tried(command: str, tables: int, seed: int) -> Iterator[tuple[str, str]]:
    """Each of so many tables, and what came of it."""
    make, dialects, damage = COMMANDS[command]
    sound = make()
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "sound.csv"
        file.write_text(text(sound))
        code, right, errors = run(command, file)
        if code != 0:
            raise RuntimeError(errors)
        for index in range(tables):
            rng = random.Random(f"{command} {seed} {index}")
            kind = rng.choice([*dialects, *damage])
            written = (dialects | damage)[kind](sound, rng)
            file = Path(name) / f"table-{index}.csv"
            file.write_bytes(written if isinstance(written, bytes) else written.encode())
            yield f"{index}, {kind}", outcome(command, file, right, kind in dialects)


def measure(command: str, tables: int, seed: int) -> dict[str, Any]:
    """Outcomes of so many tables."""
    return {"tables": tables} | tally(tried(command, tables, seed))


def report(document: Document) -> str:
    """Outcomes by command."""
    outcomes = ("right", "refused in one line", "broken")
    rows = [
        [f"llckit {command}", found["tables"], *(found.get(one, 0) for one in outcomes)]
        for command, found in document["cases"].items()
    ]
    return table(["command", "tables", *outcomes], rows)


def main() -> None:
    """Write, damage, run, compare."""
    run = begin(__file__, __doc__, report, sizes={"tables": (1000, 12), "seed": (0, 0)})
    run.measure({name: name for name in COMMANDS}, lambda name: measure(name, run.sizes["tables"], run.sizes["seed"]))


if __name__ == "__main__":
    main()
