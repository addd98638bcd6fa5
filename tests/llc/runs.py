"""A small run and its task, estimated by processes that may die."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import nn

import llckit as lk

TASK = """
import pathlib

import torch
from torch import nn
import llckit as lk

torch.manual_seed(1)
x = torch.randn(200, 3)
model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
task = lk.Task(model, (x, torch.randint(0, 2, (200,))), lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]))
"""


QUICK = {"n_beta": 40.0, "num_chains": 4, "num_burnin": 20, "num_draws": 30, "progress": False}


STEPS = 6


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def new_store(path):
    store = lk.CheckpointStore(path)
    torch.manual_seed(0)
    for step in range(STEPS):
        store.save(step, net())
    return store


def assert_same(a, b):
    assert a.step.tolist() == b.step.tolist()
    for name in ("loss", "llc", "mcse", "llc_per_chain"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def spawned(workers):
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def wait_until(true, seconds):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def children():
    return [process.pid for process in multiprocessing.active_children()]


def estimated(folder):
    return [file for file in folder.glob("*.json") if not file.name.startswith(("scale-", "curve-"))]


def in_session(leader):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry))
    return found
