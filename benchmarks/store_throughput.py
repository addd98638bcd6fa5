"""How fast a store saves, loads and lists, beside the disk and other ways of keeping checkpoints.

    python benchmarks/store_throughput.py [--folder DIR] [--out benchmarks/results/store_throughput.json]

Checkpoints of 100 MB (ten tensors) and of 1 kB; every way takes its turn in each round, and figures are medians.
Durable ways wait for the disk: `raw` writes and syncs the same bytes from memory. Reading is from the page cache,
where checking counts most. `hdf5` appends to one live file, flushed and synced. Compression is measured on 100
checkpoints of a net while it learns modular addition.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

import llckit as lk
from llckit.environment import environment
from llckit.toys import modular_addition, train

RESULTS = Path(__file__).parent / "results" / "store_throughput.json"
SIZES = {"100 MB": (10, 2_500_000, 7), "1 kB": (2, 128, 101)}  # tensors, numbers in each, rounds
LISTED = 10_000


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
        """Ours."""
        self.store.save(index, self.state, loss=0.5)

    def torch_save(self, index: int) -> None:
        """Pickled, and synced for a fair comparison."""
        torch.save(self.state, self.folder / f"{index}.pt")
        synced(self.folder / f"{index}.pt")

    def safetensors(self, index: int) -> None:
        """Likewise."""
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
        """What of `llckit` is SHA-256."""
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


def medians(ways: dict[str, Callable[[int], object]], rounds: int, what: str) -> dict[str, float]:
    """Seconds of each, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for index in tqdm(range(rounds), desc=what, disable=None):
        for name, way in ways.items():
            start = time.perf_counter()
            way(index)
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(found) for name, found in seconds.items()}


def compression(folder: Path) -> dict[str, float]:
    """Sizes and times of compressed checkpoints of a run, over those of plain ones."""
    plain = lk.CheckpointStore(folder / "run")
    train(modular_addition()._replace(last_step=1000), lk.Recorder(plain, lk.log_schedule(1000, 100)))
    packed = lk.CheckpointStore(folder / "packed", compress=True)
    states = {step: plain.load(step) for step in plain.steps}
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


def listing(folder: Path) -> dict[str, float]:
    """Seconds to open and list a store of many checkpoints, and the one file it is exported to."""
    store = lk.CheckpointStore(folder / "many")
    state = {"w": torch.zeros(8)}
    for step in tqdm(range(LISTED), desc="checkpoints", disable=None):
        store.save(step, state, durable=False)
    store.export(folder / "many.h5")

    def opened(path: Path) -> int:
        return len(lk.CheckpointStore(path, create=False).steps)

    found = medians({"folder": lambda _: opened(store.path), "file": lambda _: opened(folder / "many.h5")}, 5, "list")
    return {"checkpoints": LISTED} | found


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, help="on the disk to measure (default: the system's for temporary files)"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    result: dict[str, object] = {"environment": environment()}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        for label, (tensors, numbers, rounds) in SIZES.items():
            folder = Path(temporary) / label.replace(" ", "")
            folder.mkdir()
            ways = Ways(folder, {f"layers.{index}": torch.randn(numbers) for index in range(tensors)})
            save = medians(ways.saves(), rounds, f"save {label}")
            load = medians(ways.loads(), rounds, f"load {label}")
            ways.live.close()
            result[label] = {"save": save, "load": load}
            for verb, found in ("save", save), ("load", load):
                print(f"{verb} {label}: " + ", ".join(f"{name} {1e3 * took:.3g} ms" for name, took in found.items()))
                print(f"    raw ÷ llckit {found['raw'] / found['llckit']:.2f}")
        result["compression"] = packed = compression(Path(temporary))
        print("compressed ÷ plain:", ", ".join(f"{name} {ratio:.2f}" for name, ratio in packed.items()))
        result["listing"] = listing(Path(temporary))
        print("listing:", result["listing"])
    arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
