"""What a save does when any one of its system calls fails, when the disk is full, and what changed bytes do to a load.

    python -m benchmarks.store.faults

Linux; needs no privileges. In each scenario, the calls on files of one save are counted, and then one save each is made
in which the k-th call

* fails with EIO, ENOSPC, EDQUOT or EINTR, alone or (but for EINTR, which asks to try again) with all calls after it;
* kills the process;
* if it is a write, writes but half, alone or with ENOSPC from every later write.

The promises of a save are: the store is then exactly as before or after; a save that returned is there; what it raises
is an InputError that says what happened; the process goes on, can save again and ends by itself; another process can
save, and leaves no temporary file. `broken` lists where one was not kept. `disk` is a file system in memory with room
for so many pages or names, and what a save did then. `bytes` counts, over every byte of a small checkpoint changed in
nine ways (all bits, and each), what a load did: an error, or the identical tensors.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks._harness import ROOT, Document, begin
from benchmarks._tables import of, table
from llckit.errors import InputError
from llckit.store import CheckpointStore

sys.path.append(str(ROOT.parent / "tests" / "store"))
import faulty_saves  # pyright: ignore[reportMissingImports]
import syscalls  # pyright: ignore[reportMissingImports]

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINTR)
WRITES = ("write", "pwrite64")
COMPRESSED = "compressed"
PATIENCE = 20  # seconds for a load


def faults(calls: list[str]) -> Iterator[tuple[str, str, str, Any]]:
    """Kind of fault, the call that it hits, what its error should say, and the answer that makes it."""
    for at, name in enumerate(calls):
        for error in ERRORS:
            # HDF5 says that it could not `lstat` its file, but never why
            message = "" if name == "lstat" else os.strerror(error)
            yield errno.errorcode[error], name, message, syscalls.fail(at, error)
            if error != errno.EINTR:
                yield f"{errno.errorcode[error]} from then on", name, message, syscalls.fail(at, error, persist=True)
        yield "SIGKILL", name, "", syscalls.kill(at)
        if name in WRITES:
            yield "half", name, "", syscalls.cut(at)
            yield "half, then ENOSPC", name, os.strerror(errno.ENOSPC), syscalls.cut(at, then=errno.ENOSPC)


def broken_promises(kind: str, message: str, faulted: Any) -> list[str]:
    """Which were not kept, out of those that apply to the kind of fault."""
    broken = faulted.broken(message)
    if kind == "SIGKILL":
        broken = [promise for promise in broken if promise == "before or after"]
    if (kind == "SIGKILL" or "then" in kind) and faulted.ending == "after":
        broken = [promise for promise in broken if promise != "a save without faults succeeds"]
    return broken


def measure_calls(folder: Path, scenarios: list[str], every: int) -> dict[str, Any]:
    """All scenarios and, of their faults, every so manieth."""
    if reason := syscalls.supported():
        return {"skipped": reason}
    found: dict[str, Any] = {"saves": 0, "calls": {}, "outcomes": {}, "leftovers": 0, "broken": []}
    outcomes: dict[str, Counter[str]] = {}
    for scenario in scenarios:
        settings = ("others", True) if scenario == COMPRESSED else (scenario, False)
        calls = faulty_saves.save_under(lambda index, call: None, folder, *settings).calls
        found["calls"][scenario] = Counter(calls)
        for kind, name, message, answer in tqdm([*faults(calls)][::every], desc=scenario, leave=False, disable=None):
            faulted = faulty_saves.save_under(answer, folder, *settings)
            found["saves"] += 1
            did = "killed" if kind == "SIGKILL" else "raised" if faulted.error else "returned"
            outcomes.setdefault(f"{kind}: {name}", Counter())[f"{did}, {faulted.state}"] += 1
            found["leftovers"] += faulted.leftovers
            if broken := broken_promises(kind, message, faulted):
                found["broken"].append([scenario, kind, name, broken, faulted.error])
    found["outcomes"] = outcomes
    return found


def measure_disk(folder: Path) -> dict[str, Any]:
    """Every room from none to enough."""
    try:
        pages, files = faulty_saves.save_squeezed(folder).used
    except OSError as error:
        return {"skipped": f"no file system can be mounted: {error}"}
    rows = {f"{room} pages": faulty_saves.save_squeezed(folder, pages=room) for room in range(pages + 1)}
    rows |= {f"{room} names": faulty_saves.save_squeezed(folder, files=room) for room in range(files + 2)}
    refused = [row for row in rows.values() if row.error]
    full = os.strerror(errno.ENOSPC)
    return {
        "saves": len(rows),
        "refused": len(refused),
        "refused by an InputError that names the full disk": sum(
            row.error[0] == "InputError" and full in row.error[1] for row in refused
        ),
        "refused, exactly as before": sum(
            (row.state, row.leftovers, *row.used) == ("before", 0, 0, 0) for row in refused
        ),
        "returned, there": sum((row.error, row.state) == (None, "after") for row in rows.values()),
        "saved once there was room": sum(row.ending == "after" for row in rows.values()),
    }


def measure_bytes(folder: Path, every: int, *, compress: bool) -> dict[str, int]:
    """Every so manieth byte, in a forked process; a hang or crash ends it with a signal."""
    store = CheckpointStore(folder, compress=compress)
    state = {"w": torch.arange(40.0).reshape(5, 8), "b": torch.full((2,), -1.0, dtype=torch.bfloat16)}
    store.save(5, state, loss=0.5)
    file = store.path / "step_000000000005.h5"
    whole = file.read_bytes()
    places = range(0, len(whole), every)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        counts = Counter(bytes=len(places))
        handle = os.open(file, os.O_WRONLY)
        for place in places:
            for change in (0xFF, *(1 << bit for bit in range(8))):
                os.pwrite(handle, bytes([whole[place] ^ change]), place)
                signal.alarm(PATIENCE)
                counts[_load(store, state)] += 1
            os.pwrite(handle, bytes([whole[place]]), place)
            os.write(writing, json.dumps(counts).encode() + b"\n")
        os._exit(0)
    os.close(writing)
    with open(reading) as lines:
        bar = tqdm(lines, total=len(places), desc="bytes", leave=False, disable=None)
        last = [json.loads(line) for line in bar][-1]
    return last | {"ended by": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}


def _load(store: CheckpointStore, state: dict[str, torch.Tensor]) -> str:
    try:
        loaded, metadata = store.load(5), store.metadata(5)
    except InputError:
        return "error"
    except Exception as error:
        return f"another error: {type(error).__name__}"
    same = loaded.keys() == state.keys() and metadata == {"loss": 0.5}
    return "identical" if same and all(torch.equal(loaded[name], state[name]) for name in state) else "other values"


def report(document: Document) -> str:
    """Broken promises, full disks and changed bytes."""
    cases, rows = document["cases"], []
    for name, found in cases.items():
        if "skipped" in found:
            rows.append([name, f"skipped: {found['skipped']}"])
        elif name == "calls":
            rows.append(["saves with a fault in one system call", found["saves"]])
            rows.append(["of these, saves that broke a promise", len(found["broken"])])
        elif name == "disk":
            before = of(found["refused, exactly as before"], found["refused"])
            rows.append([f"{found['saves']} saves to a disk with little room", f"refused, exactly as before: {before}"])
        else:
            outcomes = ", ".join(f"{n} {what}" for what, n in found.items() if what not in ("bytes", "ended by"))
            rows.append([f"loads with one of {found['bytes']} bytes changed ({name})", outcomes])
    return table(["what", "found"], rows)


def main() -> None:
    """Measure calls, disks and bytes."""
    scenarios = [*faulty_saves.SCENARIOS, COMPRESSED]
    sizes = {
        "scenarios": (scenarios, ["others"]),
        "every_fault": (1, 40),
        "every_byte": (1, 400),
        "disk": (True, False),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "disk").mkdir()
        how = (run.sizes["scenarios"], run.sizes["every_fault"])
        cases: dict[str, Callable[[], dict[str, Any]]] = {"calls": partial(measure_calls, folder / "run", *how)}
        if run.sizes["disk"]:
            cases["disk"] = partial(measure_disk, folder / "disk")
        for name in ("plain", "deflated"):
            compress = name == "deflated"
            cases[f"bytes, {name}"] = partial(measure_bytes, folder / name, run.sizes["every_byte"], compress=compress)
        run.measure(cases, lambda measure: measure())


if __name__ == "__main__":
    main()
