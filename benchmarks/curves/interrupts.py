"""Ctrl-C at random moments: is anything lost that was finished, and what comes back?

    python -m benchmarks.curves.interrupts

* *curve*: `llckit estimate` on eight checkpoints of an MLP, as a shell starts it, is sent SIGINT after a random part of
  the time that a whole run takes, once Python has imported everything. It is to end within seconds, with code 1 and one
  line (or 0 and none, if it had just finished), with every estimate that was there before; and the same command then
  writes the same table, byte for byte, as a run that nobody interrupted.
* *estimate*: `estimate_llc` of one net where Python is interactive, as in a notebook, is interrupted in that way. It
  gives a value with an error and an outcome, or raises KeyboardInterrupt if it had no draws. The interval is compared
  with a long run at the same nβ and γ.
"""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import llckit as lk
from benchmarks._estimates import TINY, Z95
from benchmarks._harness import Document, begin, in_own_process, module_of
from benchmarks._tables import digits, of, table
from benchmarks.estimator._small_nets import trained

TASK = """
import torch
from torch import nn
import llckit as lk

torch.set_num_threads(1)
inputs = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
targets = inputs[:, :2].sin()
model = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 2))
task = lk.Task(model, (inputs, targets), lambda model, batch: (model(batch[0]) - batch[1]).square().mean(1))
"""
LAST_SECONDS = 60.0  # then it has to have ended
NET = "MLP"


class Folder:
    """A store of checkpoints and a task, in a folder that is removed at the end."""

    def __init__(self, path: Path, checkpoints: int, options: list[str]) -> None:
        self.path, self.store, self.options = path, path / "run.ckpts", options
        (path / "task.py").write_text(TASK)
        torch.manual_seed(0)
        names: dict[str, Any] = {}
        exec(TASK, names)
        task, optimizer = names["task"], torch.optim.Adam(names["model"].parameters(), lr=3e-3)
        store = lk.CheckpointStore(self.store)
        for step in range(checkpoints):
            store.save(step, names["model"].state_dict())
            for _ in range(40):
                optimizer.zero_grad()
                task.loss_fn(names["model"], (names["inputs"], names["targets"])).mean().backward()
                optimizer.step()

    def command(self, out: str) -> subprocess.Popen[str]:
        """The command, with its table in that file."""
        words = ["estimate", str(self.store), "--task", f"{self.path / 'task.py'}:task", "--out", str(self.path / out)]
        return self.llckit(*words, *self.options)

    def llckit(self, *words: str) -> subprocess.Popen[str]:
        """A command of the command line."""
        return subprocess.Popen(
            [Path(sys.executable).with_name("llckit"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=_as_a_shell,
        )

    def kept(self) -> dict[str, bytes]:
        """What is kept of finished estimates, by name."""
        folder = self.store / "estimates"
        return {file.name: file.read_bytes() for file in folder.rglob("*.json")} if folder.is_dir() else {}

    def forget(self) -> None:
        """Leave no estimate."""
        for file in (self.store / "estimates").rglob("*.json"):
            file.unlink()


def _as_a_shell() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a process without a terminal may have inherited that it is ignored


def _seconds_of(process: subprocess.Popen[str]) -> float:
    """How long a process just begun takes."""
    began = time.monotonic()
    process.communicate()
    return time.monotonic() - began


def curves(moments: list[float], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The command, interrupted at each of these parts of its time and run to its end."""
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path), sizes["checkpoints"], sizes["options"])
        start = _seconds_of(folder.llckit("--help"))
        seconds = _seconds_of(folder.command("whole.csv"))
        whole = (folder.path / "whole.csv").read_bytes()
        rounds = []
        for number, moment in enumerate(moments):
            folder.forget()
            process = folder.command(f"{number}.csv")
            time.sleep(start + moment * max(0.0, seconds - start))
            before = folder.kept()
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=LAST_SECONDS)
            ended, after = time.monotonic() - began, folder.kept()
            lines = [line for line in errors.replace("\r", "\n").splitlines() if line.strip()]
            row = {"code": process.returncode, "lines": lines, "seconds": ended, "kept": len(after)}
            is_there = all(after.get(name) == text for name, text in before.items())
            again = folder.command(f"{number}.csv" if row["code"] else f"{number}-again.csv")
            again.communicate()
            tables = [(folder.path / f"{number}{end}.csv") for end in ("", "-again")]
            is_same = again.returncode == 0 and all(file.read_bytes() == whole for file in tables if file.exists())
            rounds.append(row | {"nothing_lost": is_there, "same_table": is_same})
    return {"seconds": seconds, "rounds": rounds}


def interrupted(seconds: float | None, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One estimate where Python is interactive, interrupted after so long; to be called in a process of its own."""
    torch.set_num_threads(1)
    sys.ps1 = ">>> "
    signal.signal(signal.SIGINT, signal.default_int_handler)
    net = trained(NET, 200)
    began = time.monotonic()
    if seconds is not None:
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        found = lk.estimate_llc(net.model, net.data, net.loss_fn, progress=False, **sizes["own"])
    except KeyboardInterrupt:
        return {"seconds": time.monotonic() - began, "llc": None}
    ended = time.monotonic() - began
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it had finished before
    scale = {"n_beta": found.n_beta, "localization": found.localization}
    long_run = lk.estimate_llc(
        net.model, net.data, net.loss_fn, seed=1, rel_tol=0.01, progress=False, **scale, **sizes["long_run"]
    )
    error = math.hypot(found.mcse, long_run.mcse)
    holds = abs(found.llc - long_run.llc) <= Z95 * error
    row = {"llc": found.llc, "mcse": found.mcse, "outcome": found.outcome.value, "trusted": found.outcome.trusted}
    return row | {"seconds": ended, "long_run": long_run.llc, "holds": holds}


def estimates(moments: list[float], sizes: Mapping[str, Any]) -> dict[str, Any]:
    """One estimate, interrupted at each of these parts of its time."""
    call = f"{module_of(__file__)}:interrupted"
    seconds = in_own_process(call, None, sizes)["seconds"]
    return {"seconds": seconds, "rounds": [in_own_process(call, part * seconds, sizes) for part in moments]}


def summarize(cases: Mapping[str, Any]) -> dict[str, Any]:
    """Counts."""
    summary: dict[str, Any] = {}
    if "curve" in cases:
        rounds = cases["curve"]["rounds"]
        summary["curve"] = {"rounds": len(rounds), "most_seconds": max(row["seconds"] for row in rounds)} | {
            "one_line": sum(len(row["lines"]) == row["code"] for row in rounds),  # 1, or 0 where it had finished
            "nothing_lost": sum(row["nothing_lost"] for row in rounds),
            "same_table": sum(row["same_table"] for row in rounds),
        }
    if "estimate" in cases:
        rounds = cases["estimate"]["rounds"]
        usable = [row for row in rounds if row["llc"] is not None]
        summary["estimate"] = {"rounds": len(rounds), "usable": len(usable)} | {
            "trusted": sum(row["trusted"] for row in usable),
            "held": sum(row["holds"] for row in usable if row["trusted"]),
        }
    return summary


def report(document: Document) -> str:
    """Both, in a sentence each, and what came back."""
    parts, summary = [], document["summary"]
    if curve := summary.get("curve"):
        total = curve["rounds"]
        parts.append(
            f"Curves: {of(curve['one_line'], total)} interrupted runs end with one line, within "
            f"{curve['most_seconds']:.1f} s; {curve['nothing_lost']} keep all that was finished, and "
            f"{curve['same_table']} go on to the same table."
        )
    if found := summary.get("estimate"):
        parts.append(
            f"Estimates: {of(found['usable'], found['rounds'])} give a number, {found['trusted']} a trusted one, and "
            f"{of(found['held'], found['trusted'])} intervals of these hold the long run."
        )
        rows = [
            [f"{row['seconds']:.1f} s", "–", "–", "–"]
            if row["llc"] is None
            else [
                f"{row['seconds']:.1f} s",
                f"{digits(row['llc'], 4)} ± {digits(row['mcse'], 2)}",
                row["outcome"],
                digits(row["long_run"], 4),
            ]
            for row in document["cases"]["estimate"]["rounds"]
        ]
        parts.append(table(["ended after", "LLC", "outcome", "long run"], rows))
    return "\n\n".join(parts)


def main() -> None:
    """Interrupt both."""
    sizes = {
        "rounds": (10, 1),
        "seed": (0, 0),
        "checkpoints": (8, 2),
        "options": ([], ["--n-beta", "30", "--localization", "1", "--chains", "2", "--draws", "8"]),
        "own": ({}, TINY),
        "long_run": ({"max_grad_evals": 20_000}, TINY),
    }
    run = begin(__file__, __doc__, report, sizes=sizes)
    generator = random.Random(run.sizes["seed"])
    moments = [generator.random() for _ in range(run.sizes["rounds"])]
    cases = {"curve": curves, "estimate": estimates}
    run.measure(cases, lambda measure: measure(moments, run.sizes), summarize)


if __name__ == "__main__":
    main()
