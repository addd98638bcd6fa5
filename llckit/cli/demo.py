"""`llckit demo`: from a training run to a picture of its transitions, in one command."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from llckit.cli.arguments import Commands
from llckit.cli.tables import print_transitions
from llckit.errors import InputError
from llckit.llc import LLCCurve, WorkerPool, estimate_curve
from llckit.llc.estimate_curve import CURVE_REL_TOL
from llckit.plotting import plot_curve, save_figure
from llckit.posterior import Task, behavioral_task, load_task
from llckit.report import write_report
from llckit.store import CheckpointStore, Recorder, log_schedule, mixed_schedule
from llckit.toys import TrainingRun, digits, modular_addition, staircase, train
from llckit.transitions import detect_transitions

__all__ = ["add_demo_command", "digits_task", "grokking_task", "staircase_task"]

STORE, FINISHED = "run.ckpts", "report.html"


class _Demo(NamedTuple):
    """One demo: its run, and how its checkpoints are chosen and estimated."""

    run: Callable[[], TrainingRun]
    behavioral: bool
    title: str
    schedule: Callable[[int], list[int]] = lambda last_step: mixed_schedule(last_step, 40)
    rel_tol: float = CURVE_REL_TOL


def _late_steps(last_step: int) -> list[int]:
    return [step for step in log_schedule(last_step, 120) if step >= last_step // 50]


DEMOS = {
    "grokking": _Demo(modular_addition, False, "Grokking: addition modulo 43"),
    "digits": _Demo(digits, True, "Handwritten digits (behavioral LLC)"),
    # Its stages come late, and each changes λ̂ by a tenth only. They need sharper estimates, cheap for so small a net.
    "staircase": _Demo(staircase, True, "A linear net learning four modes (behavioral LLC)", _late_steps, rel_tol=0.01),
}
WORKERS = 2


def grokking_task() -> Task:
    """Task of the demo `grokking`; its worker processes load it by this name."""
    return DEMOS["grokking"].run().task


def digits_task() -> Task:
    """Task of the demo `digits`; its worker processes load it by this name."""
    return DEMOS["digits"].run().task


def staircase_task() -> Task:
    """Task of the demo `staircase`; its worker processes load it by this name."""
    return DEMOS["staircase"].run().task


def add_demo_command(commands: Commands) -> None:
    """Add `llckit demo`."""
    command = commands.add("demo", demo, "train a small net, record, estimate, detect and report")
    command.add_argument(
        "name", nargs="?", default="grokking", choices=sorted(DEMOS), help="which one (default: grokking)"
    )
    command.add_argument("--out", metavar="DIR", help="folder for all results (default: demo-NAME)")


def demo(arguments: Namespace) -> int:
    """`llckit demo [NAME] [--out DIR]`: an interrupted demo goes on when it is called again."""
    chosen = DEMOS[arguments.name]
    out = Path(arguments.out or f"demo-{arguments.name}")
    _check_folder(out)
    torch.set_num_threads(1)  # such small matrices gain nothing from a second thread, and lose much on a busy machine
    run = chosen.run()
    store = CheckpointStore(out / STORE)
    _record(run, chosen.schedule(run.last_step), store)
    print(f"estimating the LLC of {len(store)} checkpoints", flush=True)
    task = load_task(f"{__file__}:{arguments.name}_task")
    task = behavioral_task(task) if chosen.behavioral else task
    with WorkerPool(WORKERS) as pool:
        curve = estimate_curve(store, task, rel_tol=chosen.rel_tol, executor=pool)
    _write_results(out, curve, chosen.title)
    return 0


def _check_folder(out: Path) -> None:
    if (out / FINISHED).exists():
        raise InputError(f"{out} holds a finished demo; look at {out / FINISHED}, or choose another --out")
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / STORE).exists())):
        raise InputError(f"{out} exists and is no demo of ours; choose another --out")


def _record(run: TrainingRun, schedule: list[int], store: CheckpointStore) -> None:
    if store.steps != schedule:
        print(f"training: {run.last_step} steps, {run.task.dim} parameters, {run.task.n} samples", flush=True)
        train(run, Recorder(store, schedule), progress=True)


def _write_results(out: Path, curve: LLCCurve, title: str) -> None:
    transitions = detect_transitions(curve)
    for name in ("curve.csv", "transitions.json", "curve.png"):
        (out / name).unlink(missing_ok=True)  # left by a demo that was interrupted while writing
    curve.to_csv(out / "curve.csv")
    (out / "transitions.json").write_text(json.dumps(transitions.to_dict(), indent=1) + "\n", encoding="utf-8")
    save_figure(plot_curve(curve, transitions, title=title), out / "curve.png")
    write_report(out / FINISHED, curve, transitions, title=title)
    print_transitions(transitions)
    print(f"written to {out}: curve.csv, transitions.json, curve.png, {FINISHED}")
