"""How fast a store saves, loads and lists, beside the disk and other ways of keeping checkpoints.

    python -m benchmarks.store.throughput [--folder DIR]

Checkpoints of 100 MB (ten tensors) and of 1 kB; every way takes its turn in each round, and figures are medians.
Durable ways wait for the disk: `raw` writes and syncs the same bytes from memory. Reading is from the page cache,
where checking counts most. `hdf5` appends to one live file, flushed and synced. Compression is measured on 100
checkpoints of a net while it learns modular addition.
"""

from __future__ import annotations

import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

import llckit as lk
from benchmarks._grokking import recorded
from benchmarks._harness import Document, begin
from benchmarks._tables import digits, table

CHECKPOINTS = {"100 MB": (10, 2_500_000, 7), "1 kB": (2, 128, 101)}  # tensors, numbers in each, rounds


def synced(file: Path) -> None:
    """Wait for the disk."""
    with file.open("rb") as written:
        os.fsync(written.fileno())


class Ways:
    """Every way to keep one checkpoint; a round keeps it under a new number."""

    def __init__(self, folder: Path, state: dict[str, Tensor]) -> None:
        self.folder, self.state = folder, state
        self.bytes = b"".join(tensor.numpy().tobytes() for tensor in state.values())
        self.store = lk.CheckpointStore(folder / "store")
        self.live = h5py.File(folder / "live.h5", "w")

    def raw(self, index: int) -> None:
        """Bytes alone."""
        with open(self.folder / f"raw{index}", "xb") as file:
            file.write(self.bytes)
            file.flush()
            os.fsync(file.fileno())

    def llckit(self, index: int) -> None:
        """By a checkpoint store."""
        self.store.save(index, self.state, loss=0.5)

    def torch_save(self, index: int) -> None:
        """Pickled, and synced for a fair comparison."""
        torch.save(self.state, self.folder / f"{index}.pt")
        synced(self.folder / f"{index}.pt")

    def safetensors(self, index: int) -> None:
        """As safetensors, and synced for a fair comparison."""
        safetensors.torch.save_file(self.state, self.folder / f"{index}.safetensors")
        synced(self.folder / f"{index}.safetensors")

    def hdf5(self, index: int) -> None:
        """A group in one live file."""
        group = self.live.create_group(str(index))
        for name, tensor in self.state.items():
            group[name] = tensor.numpy()
        self.live.flush()
        synced(self.folder / "live.h5")

    def hashing(self, index: int) -> None:
        """The part of `llckit` that is SHA-256."""
        hashlib.sha256(self.bytes).digest()

    def saves(self) -> dict[str, Callable[[int], object]]:
        """By name."""
        ways = (self.raw, self.llckit, self.torch_save, self.safetensors, self.hdf5, self.hashing)
        return {way.__name__: way for way in ways}

    def loads(self) -> dict[str, Callable[[int], object]]:
        """By name."""
        return {
            "raw": lambda index: (self.folder / f"raw{index}").read_bytes(),
            "llckit": self.store.load,
            "torch_save": lambda index: torch.load(self.folder / f"{index}.pt", weights_only=True),
            "safetensors": lambda index: safetensors.torch.load_file(self.folder / f"{index}.safetensors"),
            "hdf5": lambda index: [item[()] for item in self.live[str(index)].values()],  # pyright: ignore
        }


def medians(ways: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Seconds of each, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in tqdm(range(rounds), desc="rounds", leave=False, disable=None):
        for name, way in ways.items():
            start = time.perf_counter()
            way(index)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def speeds(folder: Path, tensors: int, numbers: int, rounds: int) -> dict[str, Any]:
    """Seconds of saves and loads, by way."""
    folder.mkdir()
    ways = Ways(folder, {f"layers.{index}": torch.randn(numbers) for index in range(tensors)})
    found = {"save": medians(ways.saves(), rounds), "load": medians(ways.loads(), rounds)}
    ways.live.close()
    return found


def compression(folder: Path, last_step: int) -> dict[str, float]:
    """Sizes and times of compressed checkpoints of a run, over those of plain ones."""
    with recorded(lk.log_schedule(last_step, 100), last_step) as (_, plain):
        states = {step: plain.load(step) for step in plain.steps}
    packed = lk.CheckpointStore(folder / "packed", compress=True)
    again = lk.CheckpointStore(folder / "again")

    def seconds(work: Callable[[int], object]) -> float:
        start = time.perf_counter()
        for step in states:
            work(step)
        return time.perf_counter() - start

    saved = seconds(lambda step: packed.save(step, states[step])) / seconds(lambda step: again.save(step, states[step]))
    loaded = seconds(packed.load) / seconds(again.load)
    sizes = [sum(file.stat().st_size for file in store.path.glob("step_*.h5")) for store in (packed, again)]
    return {"size": sizes[0] / sizes[1], "save": saved, "load": loaded}


def listing(folder: Path, count: int) -> dict[str, float]:
    """Seconds to open and list a store of many checkpoints, and the one file it is exported to."""
    store = lk.CheckpointStore(folder / "many")
    state = {"w": torch.zeros(8)}
    for step in tqdm(range(count), desc="checkpoints", leave=False, disable=None):
        store.save(step, state, durable=False)
    store.export(folder / "many.h5")

    def opened(path: Path) -> int:
        return len(lk.CheckpointStore(path, create=False).steps)

    return {"checkpoints": count} | medians(
        {"folder": lambda _: opened(store.path), "file": lambda _: opened(folder / "many.h5")}, 5
    )


def report(document: Document) -> str:
    """Milliseconds by way; compression and listing in sentences."""
    cases, parts = document["cases"], []
    speeds = {name: case for name, case in cases.items() if "load" in case and isinstance(case["load"], dict)}
    if speeds:
        columns = [(name, verb) for name in speeds for verb in ("save", "load")]
        ways = dict.fromkeys(way for name, verb in columns for way in speeds[name][verb])
        rows = [[way, *(_milliseconds(speeds[name][verb].get(way)) for name, verb in columns)] for way in ways]
        parts.append(table(["milliseconds", *(f"{verb} {name}" for name, verb in columns)], rows))
    if "compression" in cases:
        found = {name: f"{ratio:.2f}" for name, ratio in cases["compression"].items()}
        sizes, times = f"{found['size']} of the size", f"{found['save']} and {found['load']} times the time"
        parts.append(f"Compressed checkpoints take {sizes}, and {times} to save and to load.")
    if "listing" in cases:
        found = cases["listing"]
        parts.append(f"A store of {found['checkpoints']} checkpoints is opened and listed in {found['folder']:.2f} s.")
    return "\n\n".join(parts)


def _milliseconds(seconds: float | None) -> str | None:
    return None if seconds is None else digits(1e3 * seconds)


def main() -> None:
    """Measure speeds, compression and listing."""
    sizes = {
        "checkpoints": (CHECKPOINTS, {"1 kB": (2, 128, 3)}),
        "last_step": (1000, 20),
        "listed": (10_000, 20),
    }
    folder_help = "on the disk to measure (default: the system's for temporary files)"
    options = {"--folder": {"type": Path, "metavar": "DIR", "help": folder_help}}
    run = begin(__file__, __doc__, report, sizes=sizes, options=options)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(dir=run.arguments.folder) as temporary:
        scratch = Path(temporary)
        cases: dict[str, Callable[[], dict[str, Any]]] = {
            label: partial(speeds, scratch / label.replace(" ", ""), *shape)
            for label, shape in run.sizes["checkpoints"].items()
        }
        cases["compression"] = partial(compression, scratch, run.sizes["last_step"])
        cases["listing"] = partial(listing, scratch, run.sizes["listed"])
        run.measure(cases, lambda measure: measure())


if __name__ == "__main__":
    main()
