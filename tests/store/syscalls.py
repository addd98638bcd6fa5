"""System calls of a child process that wait for an answer: go on, fail with this error, or return that.

`supervise` forks the child. Its system calls on files stop until the parent has answered (seccomp's user notification).
This works on Linux, on x86-64 and 64-bit ARM, and needs no privileges and no tools.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import platform
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import NamedTuple

import h5py

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
