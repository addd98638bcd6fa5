"""Saves under faults: at the k-th system call, and on a disk that is really full."""

import ctypes
import errno
import functools
import json
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from syscalls import LIBC, Answer, Call, supervise

from llckit.store import CheckpointStore

CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000


STEP = 5  # the one that is saved under faults
# What the store holds before; None: there is no folder.
SCENARIOS = {"no folder": None, "empty": [], "others": [1, 9], "a dead writer's": [1, 9], "the same": [STEP]}


def contents(step: int) -> dict[str, torch.Tensor]:
    """Distinct for each step; written by one call a tensor."""
    return {"w": torch.arange(3000.0) + step, "b": torch.full((3,), float(step))}


class Faulted(NamedTuple):
    """A save under a fault.

    Attributes:
        status: The process's exit code, minus the signal if it was killed.
        calls: The names of the system calls of the save.
        error: What it raised, type and message; None if it returned.
        state: What a reader saw then: "before", "after" or what is wrong.
        leftovers: Temporary files that it left.
        again: What the same process raised when it saved again, or None.
        ending: What a reader saw after another process had saved it as well, or what that raised.
    """

    status: int
    calls: list[str]
    error: list[str] | None
    state: str
    leftovers: int
    again: list[str] | None
    ending: str

    def broken(self, said: str) -> list[str]:
        """Which promises of the store were broken, where an error should say `said`."""
        kind, message = self.error or ("", "")
        promises = {
            "before or after": self.state in ("before", "after"),
            "a save that returned is there": self.error is not None or self.state == "after",
            "errors are for users": kind in ("", "InputError"),
            "the error says what happened": self.error is None or said in message,
            "the process goes on": self.status == 0,
            "a save without faults succeeds": self.again is None and self.ending == "after",
        }
        return [promise for promise, kept in promises.items() if not kept]


def save_under(answer: Answer, folder: Path, scenario: str, compress: bool = False) -> Faulted:
    """One supervised save into a new store; then again, unless `answer` still objects, and by another process."""
    _import_all(compress)
    shutil.rmtree(folder, ignore_errors=True)
    before = SCENARIOS[scenario]
    if before is not None:
        store = CheckpointStore(folder)
        for step in before:
            store.save(step, contents(step), step=step)
    if scenario == "a dead writer's":
        supervise(lambda: iter([_save(folder)]), _kill_at_publication, lambda report: None)
        assert len(_temporary(folder)) == 1
    before = before or []

    looks: list = []
    calls: list[str] = []

    def watch(index: int, call: Call) -> int | None:
        if not looks:
            calls.append(call.name)
        return answer(index, call)

    def twice() -> Iterator[object]:
        yield _save(folder, compress)
        yield _save(folder, compress)

    def look(report: object) -> None:
        looks.append((report, _state(folder, before), len(_temporary(folder))))

    status = supervise(twice, watch, look)
    while len(looks) < 2:
        look(["killed", str(status)])
    (error, state, leftovers), (again, _, _) = looks
    return Faulted(status, calls, error, state, leftovers, again, _saved_after_all(folder, before))


@functools.cache
def _import_all(compress: bool) -> None:
    """The first save and load of a process import modules, whose calls would be counted."""
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(folder, compress=compress)
        store.save(STEP, contents(STEP))
        store.load(STEP)


def _kill_at_publication(index: int, call: Call) -> int | None:
    return signal.SIGKILL if call.name in ("link", "linkat", "rename", "renameat", "renameat2") else None


class Squeezed(NamedTuple):
    """A save on a disk with little room.

    Attributes:
        error: What it raised, type and message; None if it returned.
        state: What a reader saw then: "before", "after" or what is wrong.
        leftovers: Temporary files that it left.
        used: By how much the room had shrunk, (pages, files).
        ending: What a reader saw after room was made and the step saved again, or what that raised.
    """

    error: list[str] | None
    state: str
    leftovers: int
    used: list[int]
    ending: str


def save_squeezed(folder: Path, pages: int = 500, files: int = 500) -> Squeezed:
    """Save to a file system in memory with room for so many pages and files; an OSError if the kernel mounts none."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            refused = _mount_small_disk(folder)
            report = {"refused": refused} if refused else {"found": _squeeze(folder, pages, files)}
            os.write(writing, json.dumps(report).encode())
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as channel:
        said = channel.read()
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError(f"the process that saved ended with {status}")
    report = json.loads(said)
    if "refused" in report:
        raise OSError(report["refused"], os.strerror(report["refused"]))
    return Squeezed(*report["found"])


def _mount_small_disk(folder: Path) -> int:
    """In namespaces of this process's own, so that it needs no privileges and ends with it; gives the errno."""
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNS):
        return ctypes.get_errno()
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except OSError as error:
        return error.errno or errno.EPERM
    failed = LIBC.mount(b"none", os.fsencode(folder), b"tmpfs", 0, b"size=4m,nr_inodes=600")
    return ctypes.get_errno() if failed else 0


def _squeeze(folder: Path, pages: int, files: int) -> Squeezed:
    store, ballast = CheckpointStore(folder / "run"), folder / "ballast"
    store.save(1, contents(1), step=1)
    ballast.mkdir()
    for index in range(_room(folder)[1] - 1 - files):
        (ballast / str(index)).touch()
    (ballast / "large").write_bytes(bytes((_room(folder)[0] - pages) * os.statvfs(folder).f_frsize))
    room = _room(folder)
    assert room == [pages, files]
    error = _save(store.path)
    used = [before - now for before, now in zip(room, _room(folder), strict=True)]
    state, leftovers = _state(store.path, [1]), len(_temporary(store.path))
    shutil.rmtree(ballast)
    return Squeezed(error, state, leftovers, used, _saved_after_all(store.path, [1]))


def _room(folder: Path) -> list[int]:
    status = os.statvfs(folder)
    return [status.f_bavail, status.f_favail]


def _save(folder: Path, compress: bool = False) -> list[str] | None:
    try:
        CheckpointStore(folder, compress=compress).save(STEP, contents(STEP), step=STEP)
    except Exception as error:
        return [type(error).__name__, str(error)]


def _saved_after_all(folder: Path, before: list[int]) -> str:
    if error := _save(folder):
        return ": ".join(error)
    state = _state(folder, before)
    CheckpointStore(folder).save(STEP + 1, contents(STEP + 1))  # only who publishes sweeps
    left = _temporary(folder)
    return f"left {left}" if left else state


def _temporary(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")] if folder.exists() else []


def _state(folder: Path, before: list[int]) -> str:
    if not folder.exists():
        return "before"
    store = CheckpointStore(folder)
    steps = store.steps
    if steps not in (before, sorted({*before, STEP})):
        return f"holds {steps}"
    if damages := store.verify():
        return damages[0].message
    for step in steps:
        loaded = store.load(step)
        if store.metadata(step) != {"step": step} or loaded.keys() != contents(step).keys():
            return f"step {step} has other metadata or names"
        if not all(torch.equal(loaded[name], tensor) for name, tensor in contents(step).items()):
            return f"step {step} has other values"
    return "after" if STEP in steps else "before"
