"""Processes killed while they save: what is left of a store, of one live HDF5 file, and of files of torch.save.

    python benchmarks/store_kills.py [--rounds N] [--seconds S] [--out benchmarks/results/store_kills.json]

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

Then, for S seconds, two processes save and four load from one store.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import struct
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import torch
from tqdm import tqdm

from llckit.environment import environment
from llckit.errors import InputError
from llckit.store import CheckpointStore

RESULTS = Path(__file__).parent / "results" / "store_kills.json"
TENSORS, NUMBERS = 10, 30_000
WRITERS = 3
LONGEST = 0.15  # seconds that a round's writers live at most
STEP = struct.Struct("q")

Acknowledge = Callable[[int], object]


def contents(step: int, numbers: int = NUMBERS) -> dict[str, torch.Tensor]:
    """A function of the step; another one of each place in it."""
    return {f"w{index}": torch.arange(float(numbers)) + step * (index + 1) for index in range(TENSORS)}


def is_right(step: int, loaded: dict[str, torch.Tensor], numbers: int = NUMBERS) -> bool:
    """Whether these are the contents of the step."""
    expected = contents(step, numbers)
    return loaded.keys() == expected.keys() and all(torch.equal(loaded[name], expected[name]) for name in expected)


def forked(action: Callable[[], object]) -> int:
    """A child that does only this."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return child


def acknowledged_until_killed(writers: list[Callable[[Acknowledge], NoReturn]], seconds: float) -> set[int]:
    """The steps that the writers acknowledged before they were killed together."""
    reading, writing = os.pipe()
    children = [forked(partial(writer, lambda step: os.write(writing, STEP.pack(step)))) for writer in writers]
    os.close(writing)
    time.sleep(seconds)
    for child in children:
        os.kill(child, signal.SIGKILL)
    for child in children:
        if os.waitpid(child, 0)[1] != signal.SIGKILL:
            raise RuntimeError("a writer ended by itself")
    with open(reading, "rb") as channel:
        return {step for (step,) in STEP.iter_unpack(channel.read())}


def write_store(folder: Path, first: int, stride: int, acknowledge: Acknowledge) -> NoReturn:
    """Into a store, every so manieth step."""
    store, step = CheckpointStore(folder), first
    while True:
        store.save(step, contents(step), step=step)
        acknowledge(step)
        step += stride


def write_hdf5(path: Path, libver: Any, sync: bool, acknowledge: Acknowledge) -> NoReturn:
    """Into one HDF5 file that stays open."""
    step = 0
    with h5py.File(path, "w", libver=libver) as file:
        while True:
            group = file.create_group(str(step))
            for name, tensor in contents(step).items():
                group[name] = tensor.numpy()
            file.flush()
            if sync:
                os.fsync(file.id.get_vfd_handle())
            acknowledge(step)
            step += 1


def write_torch(folder: Path, replace: bool, acknowledge: Acknowledge) -> NoReturn:
    """By torch.save, in place."""
    step = 0
    while True:
        torch.save({"step": step, "state": contents(step)}, folder / ("last.pt" if replace else f"{step}.pt"))
        acknowledge(step)
        step += 1


def left_in_hdf5(path: Path, acknowledged: set[int]) -> str:
    """The outcome for a live HDF5 file."""
    if not path.exists():
        return "sound" if not acknowledged else "lost"
    unreadable = "unreadable" if acknowledged else "unreadable, nothing acknowledged"
    try:
        file = h5py.File(path, "r")
    except OSError:
        return unreadable
    right, wrong = set(), set()
    with file:
        try:
            steps = [int(name) for name in file.keys()]  # noqa: SIM118
        except (OSError, RuntimeError, ValueError):
            return unreadable
        for step in steps:
            try:
                group: Any = file[str(step)]
                arrays = {key: torch.from_numpy(np.asarray(dataset)) for key, dataset in group.items()}
                (right if is_right(step, arrays) else wrong).add(step)
            except (OSError, RuntimeError, KeyError, ValueError):
                wrong.add(step)
    return outcome(acknowledged, right, wrong)


def left_by_torch(folder: Path, acknowledged: set[int]) -> str:
    """The outcome for files of torch.save."""
    right, wrong = set(), set()
    for path in folder.iterdir():
        try:
            saved = torch.load(path)
            (right if is_right(saved["step"], saved["state"]) else wrong).add(saved["step"])
        except Exception:
            wrong.add(path.name)
    if (folder / "last.pt").exists() and acknowledged:  # only the last is asked of it, or the one after
        acknowledged = set() if right and max(right) >= max(acknowledged) else {max(acknowledged)}
    return outcome(acknowledged, right, wrong)


def outcome(acknowledged: set[int], right: set[int], wrong: set) -> str:
    """Its name."""
    if not acknowledged <= right:
        return "lost"
    return "torn" if wrong else "sound"


def kill_store(rounds: int, scratch: Path, generator: random.Random) -> dict[str, Any]:
    """The store's rounds, with more to say than their outcome."""
    counts: Counter[str] = Counter()
    examples: list[str] = []
    for round_ in tqdm(range(rounds), desc="store"):
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


def kill_others(rounds: int, scratch: Path, generator: random.Random) -> dict[str, dict[str, int]]:
    """Outcomes of the other ways to keep checkpoints."""
    ways: dict[str, tuple[Callable[[Path], Callable[[Acknowledge], NoReturn]], Callable[[Path, set[int]], str]]] = {}
    for name, libver, sync in (
        ("one HDF5 file, flush", None, False),
        ("one HDF5 file, flush and fsync", None, True),
        ("one HDF5 file, libver latest, flush and fsync", "latest", True),
    ):
        ways[name] = (
            lambda folder, libver=libver, sync=sync: partial(write_hdf5, folder / "run.h5", libver, sync),
            lambda folder, acknowledged: left_in_hdf5(folder / "run.h5", acknowledged),
        )
    for name, replace in (("torch.save, a file a step", False), ("torch.save, one file replaced", True)):
        ways[name] = (lambda folder, replace=replace: partial(write_torch, folder, replace), left_by_torch)
    found = {}
    for name, (writer, left) in ways.items():
        counts: Counter[str] = Counter()
        for _ in tqdm(range(rounds), desc=name):
            with tempfile.TemporaryDirectory(dir=scratch) as folder:
                acknowledged = acknowledged_until_killed([writer(Path(folder))], generator.uniform(0, LONGEST))
                counts["steps acknowledged"] += len(acknowledged)
                counts[_in_a_fork(partial(left, Path(folder), acknowledged))] += 1
        found[name] = dict(counts)
    return found


def _in_a_fork(look: Callable[[], str]) -> str:
    """A damaged file may crash or hang whoever opens it."""
    reading, writing = os.pipe()

    def tell() -> None:
        signal.alarm(20)
        os.write(writing, look().encode())

    child = forked(tell)
    os.close(writing)
    with open(reading) as channel:
        said = channel.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said or f"unreadable, and the reader ended with {status}"


def read_and_write(seconds: float, scratch: Path) -> dict[str, int]:
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
        for line in tqdm(channel, total=len(works), desc="readers and writers"):
            total.update(json.loads(line))
    for child in children:
        os.waitpid(child, 0)
    if total.pop("ended") != len(works):
        raise RuntimeError("a process died")
    total["steps"], total["damages"] = len(store), len(store.verify())
    return dict(total)


def main() -> None:
    """Kill, read, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500, metavar="N")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        document: dict[str, Any] = {
            "environment": environment() | {"h5py": h5py.version.version, "hdf5": h5py.version.hdf5_version},
            "rounds": arguments.rounds,
            "ways": {"store": kill_store(arguments.rounds, scratch, generator)},
        }
        document["ways"] |= kill_others(arguments.rounds, scratch, generator)
        document["readers and writers"] = {"seconds": arguments.seconds} | read_and_write(arguments.seconds, scratch)
    arguments.out.write_text(json.dumps(document) + "\n")
    for way, counts in document["ways"].items():
        print(f"{way:46}", ", ".join(f"{count} {what}" for what, count in counts.items() if isinstance(count, int)))
    print("readers and writers:", document["readers and writers"])


if __name__ == "__main__":
    main()
