"""Faults below the store: at the k-th system call of a save, and a disk that is really full.

`supervise` forks a child whose system calls on files wait for an answer of its parent (seccomp's user notification):
go on, fail with this error, or return that. Linux on x86-64 and 64-bit ARM, no privileges and no tools needed.
"""

import contextlib
import ctypes
import errno
import fcntl
import functools
import json
import os
import platform
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import h5py
import torch

from llckit.store import CheckpointStore

LIBC = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "ioctl": 16,
        "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20, "access": 21, "sendfile": 40, "fcntl": 72,
        "flock": 73, "fsync": 74, "fdatasync": 75, "truncate": 76, "ftruncate": 77, "rename": 82, "mkdir": 83,
        "creat": 85, "link": 86, "unlink": 87, "symlink": 88, "readlink": 89, "chmod": 90, "fchmod": 91,
        "getdents64": 217, "openat": 257, "mkdirat": 258, "newfstatat": 262, "unlinkat": 263, "renameat": 264,
        "linkat": 265, "symlinkat": 266, "readlinkat": 267, "fchmodat": 268, "faccessat": 269,
        "sync_file_range": 277, "fallocate": 285, "preadv": 295, "pwritev": 296, "syncfs": 306, "renameat2": 316,
        "copy_file_range": 326, "statx": 332, "openat2": 437, "faccessat2": 439,
    },
    "aarch64": {
        "fcntl": 25, "ioctl": 29, "flock": 32, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36, "linkat": 37,
        "renameat": 38, "truncate": 45, "ftruncate": 46, "fallocate": 47, "faccessat": 48, "fchmod": 52,
        "fchmodat": 53, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62, "read": 63, "write": 64,
        "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69, "pwritev": 70, "sendfile": 71,
        "readlinkat": 78, "newfstatat": 79, "fstat": 80, "fsync": 82, "fdatasync": 83, "sync_file_range": 84,
        "syncfs": 267, "renameat2": 276, "copy_file_range": 285, "statx": 291, "openat2": 437, "faccessat2": 439,
    },
}.get(platform.machine(), {})  # fmt: skip
NAMES = {number: name for name, number in NUMBERS.items()}
SECCOMP = {"x86_64": 317, "aarch64": 277}.get(platform.machine(), -1)
PIDFD_GETFD = 438
NO_NEW_PRIVS = 38
CLONE_NEWNS, CLONE_NEWUSER = 0x20000, 0x10000000
CONTINUE = 1
RECEIVE, SEND, SET_FLAGS = 0xC0502100, 0xC0182101, 0x40082104  # ioctls on the listener
WAKE_IN_TURN = 1  # parent and child take turns on one processor, without a scheduler's delay
NOTICE = struct.Struct("@QII iIQ6Q")  # id, pid, flags; number, architecture, instruction, arguments
RESPONSE = struct.Struct("@QqiI")  # id, value, error, flags
PATIENCE = 20.0  # seconds for an answer of the child; a save takes a hundredth


class Call(NamedTuple):
    """A system call that waits."""

    name: str
    pid: int
    arguments: tuple[int, ...]


# What to do about the i-th call: None lets it happen, a signal is sent instead, a negative number is an error's, and
# others are returned.
Answer = Callable[[int, Call], int | None]


def supported() -> str | None:
    """Why this machine cannot supervise, or None."""
    if sys.platform != "linux" or not NUMBERS:
        return f"no table of system calls for {sys.platform} on {platform.machine()}"
    try:
        supervise(lambda: iter(()), lambda index, call: None, lambda report: None)
    except OSError as error:
        return f"seccomp's user notification is refused: {error}"
    return None


def supervise(action: Callable[[], Iterator[object]], answer: Answer, received: Callable[[object], object]) -> int:
    """Run `action` in a forked child, answer its system calls, and hand what it yields to `received` meanwhile.

    Returns:
        The child's exit code, minus the signal if it was killed; SIGALRM is for taking too long.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _be_supervised(action, theirs)
    theirs.close()
    with ours:
        _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        if listeners:
            _serve(child, listeners[0], ours, answer, received)
            os.close(listeners[0])
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not listeners:
        raise OSError(status, os.strerror(status))
    return status


def _be_supervised(action: Callable[[], Iterator[object]], channel: socket.socket) -> None:
    """The child: its messages use calls on sockets, which are not supervised."""
    listener = _listen()
    if listener < 0:
        os._exit(ctypes.get_errno())
    socket.send_fds(channel, [b"."], [listener])
    try:
        for report in action():
            channel.sendall(json.dumps(report).encode())
            channel.recv(1)
        ctypes.CDLL(h5py.h5.__file__).H5close()  # as HDF5 does where a process ends by itself
        os._exit(0)
    finally:
        traceback.print_exc()
        os._exit(1)


def _listen() -> int:
    instruction = struct.Struct("HBBI")
    numbers = list(NAMES)
    load, jump_if_equal, give = 0x20, 0x15, 0x06
    notify, allow = 0x7FC00000, 0x7FFF0000
    program = instruction.pack(load, 0, 0, 0)
    for index, number in enumerate(numbers):
        program += instruction.pack(jump_if_equal, len(numbers) - index, 0, number)
    program += instruction.pack(give, 0, 0, allow) + instruction.pack(give, 0, 0, notify)
    memory = ctypes.create_string_buffer(program)
    header = struct.pack("@HP", len(numbers) + 3, ctypes.addressof(memory))
    LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0)
    set_filter, new_listener = 1, 8
    return LIBC.syscall(SECCOMP, set_filter, new_listener, header)


def _serve(child: int, listener: int, channel: socket.socket, answer: Answer, received: Callable) -> None:
    with contextlib.suppress(OSError):  # Linux before 6.6
        fcntl.ioctl(listener, SET_FLAGS, WAKE_IN_TURN)
    index = -1
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(channel, select.POLLIN)
    while True:
        events = dict(poll.poll(1000 * PATIENCE))
        if not events:
            os.kill(child, signal.SIGALRM)
            return
        if events.get(listener, 0) & select.POLLIN:
            notice = bytearray(NOTICE.size)
            try:
                fcntl.ioctl(listener, RECEIVE, notice)
                identity, pid, _, number, _, _, *arguments = NOTICE.unpack(notice)
                index += 1
                value = answer(index, Call(NAMES[number], pid, tuple(arguments)))
                if isinstance(value, signal.Signals):
                    os.kill(child, value)
                    continue
                error, flags = (0, CONTINUE) if value is None else (min(value, 0), 0)
                fcntl.ioctl(listener, SEND, RESPONSE.pack(identity, max(value or 0, 0), error, flags))
            except FileNotFoundError:
                pass  # the child was killed meanwhile
        elif events.get(channel.fileno(), 0) & select.POLLIN and (report := channel.recv(2**20)):
            received(json.loads(report))
            channel.sendall(b".")
        elif events.get(listener, 0) & select.POLLHUP:
            return


def fail(at: int, error: int, persist: bool = False) -> Answer:
    """The call number `at` fails; with `persist` all later ones do, too."""
    return lambda index, call: -error if index == at or (persist and index > at) else None


def kill(at: int) -> Answer:
    """The process is killed at its call number `at`."""
    return lambda index, call: signal.SIGKILL if index == at else None


def cut(at: int, then: int | None = None) -> Answer:
    """The call number `at`, a write, writes but the first half; later writes fail with the error `then`, if any."""

    def answer(index: int, call: Call) -> int | None:
        if index > at and call.name in ("write", "pwrite64"):
            return None if then is None else -then
        return _write_half(call) if index == at else None

    return answer


def _write_half(call: Call) -> int:
    handle, address, size, offset = call.arguments[:4]
    half = max(size // 2, 1)
    with open(f"/proc/{call.pid}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        data = memory.read(half)
    process = os.pidfd_open(call.pid)
    file = LIBC.syscall(PIDFD_GETFD, process, handle, 0)
    written = os.pwrite(file, data, offset) if call.name == "pwrite64" else os.write(file, data)
    os.close(file)
    os.close(process)
    return written


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
