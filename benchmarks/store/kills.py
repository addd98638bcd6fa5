"""Processes killed while they save: what is left of a store, of one live HDF5 file, and of files of torch.save.

    python -m benchmarks.store.kills

Each round starts afresh, lets processes save steps of ten tensors with 30 000 floats one after another, which they
acknowledge by a pipe, and kills them (SIGKILL) together after a random time; the store has three writers, which in
every second round save the same steps. Then each is read as it is, with no step to repair it. The outcomes:

* sound: every acknowledged step is there, and every step that is listed is whole and right;
* torn: as sound, but a step that nobody acknowledged is listed and is not whole;
* lost: an acknowledged step is missing or has other values;
* unreadable: it cannot be opened; counted apart where nothing had been acknowledged.

The live HDF5 file gets one group a step and a flush (H5Fflush) after it, as h5py writes by default, with an fsync
besides, and with libver="latest". torch.save writes a file a step, or replaces the one file of the step before, in
place. Only the processes die: the system stays up, so that an fsync can change nothing but the timing.

Then, for a minute, two processes save and four load from one store.
"""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import h5py
from tqdm import tqdm

from benchmarks._harness import Document, begin
from benchmarks._tables import table
from benchmarks.store._killed_writers import (
    Acknowledge,
    acknowledged_until_killed,
    contents,
    forked,
    is_right,
    left_by_torch,
    left_in_hdf5,
    outcome,
    write_hdf5,
    write_store,
    write_torch,
)
from llckit.errors import InputError
from llckit.store import CheckpointStore

WRITERS = 3
LONGEST = 0.15  # seconds that a round's writers live at most
STORE, BOTH = "store", "readers and writers"
OUTCOMES = ("sound", "torn", "lost", "unreadable", "unreadable, nothing acknowledged")

Writer = Callable[[Acknowledge], NoReturn]


def kill_store(rounds: int, scratch: Path, generator: random.Random) -> dict[str, Any]:
    """The store's rounds, with more to count than their outcome."""
    counts: Counter[str] = Counter()
    examples: list[str] = []
    for round_ in tqdm(range(rounds), desc=STORE, leave=False, disable=None):
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            store = CheckpointStore(Path(name) / "run")
            starts = [(0, 1)] * WRITERS if round_ % 2 else [(first, WRITERS) for first in range(WRITERS)]
            writers = [partial(write_store, store.path, *start) for start in starts]
            acknowledged = acknowledged_until_killed(writers, generator.uniform(0, LONGEST))
            listed, damages = set(store.steps), store.verify()
            wrong = {damage.step for damage in damages}
            for step in listed - wrong:
                if not is_right(step, store.load(step)) or store.metadata(step) != {"step": step}:
                    wrong.add(step)
            counts[outcome(acknowledged, listed - wrong, wrong)] += 1
            counts["steps acknowledged"] += len(acknowledged)
            counts["steps listed"] += len(listed)
            left = _temporary(store)
            counts["rounds killed while writing"] += left > 0
            counts["temporary files left"] += left
            store.save(10**6, contents(0))
            counts["temporary files that the next writer left"] += _temporary(store)
            examples += [damage.message for damage in damages]
    return dict(counts) | {"damages": examples[:5]}


def _temporary(store: CheckpointStore) -> int:
    return sum(name.startswith(".writing") for name in os.listdir(store.path))


def other_ways() -> dict[str, tuple[Callable[[Path], Writer], Callable[[Path, set[int]], str]]]:
    """What writes into a folder, and what says how it was left, by name."""
    files = {
        "one HDF5 file, flush": (None, False),
        "one HDF5 file, flush and fsync": (None, True),
        "one HDF5 file, libver latest, flush and fsync": ("latest", True),
    }
    ways: dict[str, tuple[Callable[[Path], Writer], Callable[[Path, set[int]], str]]] = {
        name: (
            lambda folder, libver=libver, sync=sync: partial(write_hdf5, folder / "run.h5", libver, sync),
            lambda folder, acknowledged: left_in_hdf5(folder / "run.h5", acknowledged),
        )
        for name, (libver, sync) in files.items()
    }
    for name, replace in (("torch.save, a file a step", False), ("torch.save, one file replaced", True)):
        ways[name] = (lambda folder, replace=replace: partial(write_torch, folder, replace), left_by_torch)
    return ways


def kill_other(name: str, rounds: int, scratch: Path, generator: random.Random) -> dict[str, int]:
    """Outcomes of another way to keep checkpoints."""
    writer, left = other_ways()[name]
    counts: Counter[str] = Counter()
    for _ in tqdm(range(rounds), desc=name, leave=False, disable=None):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            acknowledged = acknowledged_until_killed([writer(Path(folder))], generator.uniform(0, LONGEST))
            counts["steps acknowledged"] += len(acknowledged)
            counts[_in_a_fork(partial(left, Path(folder), acknowledged))] += 1
    return dict(counts)


def _in_a_fork(look: Callable[[], str]) -> str:
    """A damaged file may crash or hang whoever opens it."""
    reading, writing = os.pipe()

    def answer() -> None:
        signal.alarm(20)
        os.write(writing, look().encode())

    child = forked(answer)
    os.close(writing)
    with open(reading) as channel:
        found = channel.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return found or f"unreadable, and the reader ended with {status}"


def read_and_write(seconds: float, scratch: Path) -> dict[str, Any]:
    """Two processes save, partly the same steps, and four load; small steps, so that there are many."""
    numbers, deadline = 300, time.monotonic() + seconds
    store = CheckpointStore(scratch / "shared")
    store.save(0, contents(0, numbers), step=0)
    reading, writing = os.pipe()

    def write(own: int, counts: Counter[str]) -> None:
        step = 0
        while time.monotonic() < deadline:
            step += 1
            if step % 3 in (own, 2):
                store.save(step, contents(step, numbers), step=step)
                counts["saves"] += 1

    def read(seed: int, counts: Counter[str]) -> None:
        generator = random.Random(seed)
        while time.monotonic() < deadline:
            steps = store.steps
            for step in {steps[-1], generator.choice(steps)}:
                sound = is_right(step, store.load(step), numbers) and store.metadata(step) == {"step": step}
                counts["loads"] += 1
                counts["torn loads"] += not sound

    def run(work: Callable[[Counter[str]], None]) -> None:
        counts: Counter[str] = Counter({"errors": 0, "torn loads": 0})
        try:
            work(counts)
        except InputError as error:
            counts["errors"] += 1
            print(error)
        finally:
            os.write(writing, json.dumps(counts | {"ended": 1}).encode() + b"\n")

    works = [partial(write, own) for own in range(2)] + [partial(read, seed) for seed in range(4)]
    children = [forked(partial(run, work)) for work in works]
    os.close(writing)
    total: Counter[str] = Counter({"steps": 0, "damages": 0})
    with open(reading) as channel:
        for line in channel:
            total.update(json.loads(line))
    for child in children:
        os.waitpid(child, 0)
    if total.pop("ended") != len(works):
        raise RuntimeError("a process died")
    total["steps"], total["damages"] = len(store), len(store.verify())
    return {"seconds": seconds} | total


def report(document: Document) -> str:
    """Outcomes by way, and what readers and writers did."""
    cases = document["cases"]
    rows = [
        [name, found["steps acknowledged"], *(found.get(outcome, 0) for outcome in OUTCOMES)]
        for name, found in cases.items()
        if name != BOTH
    ]
    text = table([f"{document['settings']['rounds']} rounds each", "steps acknowledged", *OUTCOMES], rows)
    if BOTH in cases:
        found = cases[BOTH]
        text += (
            f"\n\nFour readers beside two writers for {found['seconds']:.0f} s: {found.get('loads', 0)} loads, "
            f"{found.get('saves', 0)} saves, {found['errors']} errors, {found['torn loads']} torn loads."
        )
    return text


def main() -> None:
    """Kill, read, count."""
    run = begin(__file__, __doc__, report, sizes={"rounds": (500, 2), "seconds": (60.0, 0.2)})
    run.document["environment"] |= {"h5py": h5py.version.version, "hdf5": h5py.version.hdf5_version}
    generator, rounds = random.Random(0), run.sizes["rounds"]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        cases: dict[str, Callable[[], dict[str, Any]]] = {STORE: partial(kill_store, rounds, scratch, generator)}
        cases |= {way: partial(kill_other, way, rounds, scratch, generator) for way in other_ways()}
        cases[BOTH] = partial(read_and_write, run.sizes["seconds"], scratch)
        run.measure(cases, lambda measure: measure())


if __name__ == "__main__":
    main()
