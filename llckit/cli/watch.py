"""`llckit watch`: estimates checkpoints as they appear, and reports transitions once they are significant."""

from __future__ import annotations

import time
from argparse import Namespace

from tqdm import tqdm

from llckit.cli.arguments import Commands, add_detection_arguments, add_task_arguments
from llckit.cli.news import News
from llckit.cli.tables import curve_row
from llckit.errors import InputError
from llckit.llc import estimate_curve
from llckit.posterior import behavioral_task, load_task
from llckit.store import CheckpointStore
from llckit.transitions import check_false_boundaries

__all__ = ["add_watch_command"]

POLL = 2.0  # seconds between looks at the store


def add_watch_command(commands: Commands) -> None:
    """Add `llckit watch`."""
    command = commands.add("watch", watch, "follow a run: estimate checkpoints as they appear, report transitions")
    command.add_argument("store", metavar="STORE", help="the store that the run records to")
    add_task_arguments(command)
    command.add_argument("--n-beta", metavar="X", type=float, help="default: chosen at the first checkpoint")
    command.add_argument("--localization", type=float, metavar="X", help="default: chosen at the first checkpoint")
    add_detection_arguments(command)
    command.add_argument("--idle", type=float, metavar="SECONDS", help="end after so long without a new checkpoint")


def watch(arguments: Namespace) -> int:
    """`llckit watch STORE --task FILE.py:NAME`: until Ctrl-C, or until nothing new has come for `--idle` seconds."""
    store = CheckpointStore(arguments.store, create=False)
    if store.path.is_file():
        raise InputError(f"{store.path} is an exported file, to which nothing is added; use llckit estimate")
    task = load_task(arguments.task, compile=arguments.compile)
    task = behavioral_task(task) if arguments.behavioral else task
    if arguments.idle is not None and not arguments.idle > 0:
        raise InputError(f"--idle is {arguments.idle:g}; expected seconds above 0")
    printed: set[int] = set()
    news = News(arguments.axis, check_false_boundaries(arguments.false_boundaries))
    last_change = time.monotonic()
    while True:
        steps = store.steps
        if not printed.issuperset(steps):
            curve = estimate_curve(store, task, steps, n_beta=arguments.n_beta, localization=arguments.localization)
            for index, step in enumerate(steps):
                if step not in printed:
                    print(curve_row(curve, index), flush=True)
            for line in news.of(curve):
                print(line, flush=True)
            printed.update(steps)
            last_change = time.monotonic()
        elif arguments.idle is not None and time.monotonic() - last_change > arguments.idle:
            print(f"nothing new for {arguments.idle:g} s: {len(steps)} checkpoints, {news.summary()}")
            return 0
        _wait(POLL)


def _wait(seconds: float) -> None:
    with tqdm(total=0, desc="waiting for checkpoints", bar_format="{desc} {elapsed}", leave=False, disable=None):
        time.sleep(seconds)
