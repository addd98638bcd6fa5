"""Writers to be killed, and what they leave in a store, in one HDF5 file and in files of torch.save."""

from __future__ import annotations

import os
import signal
import struct
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np
import torch

from llckit.store import CheckpointStore

TENSORS, NUMBERS = 10, 30_000
STEP = struct.Struct("q")

Acknowledge = Callable[[int], object]


def contents(step: int, numbers: int = NUMBERS) -> dict[str, torch.Tensor]:
    """Tensors that tell their step, and each their place in it."""
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
    """Into a store, every `stride`-th step from the first."""
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
    if (folder / "last.pt").exists() and acknowledged:  # it keeps only the last step, or the one after
        acknowledged = set() if right and max(right) >= max(acknowledged) else {max(acknowledged)}
    return outcome(acknowledged, right, wrong)


def outcome(acknowledged: set[int], right: set[int], wrong: set) -> str:
    """Its name."""
    if not acknowledged <= right:
        return "lost"
    return "torn" if wrong else "sound"
