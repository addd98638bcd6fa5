"""`llckit estimate`: the LLC of every checkpoint of a store."""

from __future__ import annotations

from argparse import Namespace
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext

import numpy as np

from llckit.checks import check_positive
from llckit.cli.arguments import Commands, add_task_arguments, scales, steps
from llckit.cli.tables import print_curve
from llckit.files import check_new_file
from llckit.llc import CURVE_REL_TOL, LLCCurve, Spectrogram, WorkerPool, dask_executor, estimate_curve
from llckit.plotting import FIGURE_ENDINGS, plot_curve, plot_spectrogram, save_figure
from llckit.posterior import Task, behavioral_task, load_task
from llckit.store import CheckpointStore

__all__ = ["add_estimate_command"]


def add_estimate_command(commands: Commands) -> None:
    """Add `llckit estimate`."""
    summary = "the LLC of every checkpoint of a store; resumes where it stopped"
    command = commands.add("estimate", estimate, summary)
    command.add_argument("store", metavar="STORE")
    add_task_arguments(command)
    command.add_argument("--out", metavar="CURVE.csv", help="write the curve to a new file")
    command.add_argument("--plot", metavar="FILE.png", help="also draw the curve or the spectrogram")
    command.add_argument("--steps", metavar="A,B,…", type=steps, help="only these checkpoints")
    command.add_argument("--n-beta", metavar="X[,Y,…]", type=scales, help="default: n/ln(n); several: the spectrogram")
    command.add_argument("--localization", type=float, metavar="X", help="default: chosen, and printed")
    command.add_argument("--minutes", type=float, metavar="M", help="end after so long; checkpoints share it equally")
    command.add_argument("--rel-tol", type=float, default=CURVE_REL_TOL, metavar="R", help="relative error to reach")
    command.add_argument("--chains", type=int, metavar="C", help="chains per checkpoint (default: chosen)")
    command.add_argument("--draws", type=int, metavar="D", help="draws per chain (default: until the error is reached)")
    command.add_argument("--batch-size", type=int, metavar="B", help="samples per gradient (default: chosen)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of all randomness (default 0)")
    command.add_argument("--params", metavar="NAMES", help="sample only these, such as 'layers.0.*,head.weight'")
    where = command.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, metavar="N", help="processes on this machine (default: this one alone)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster, such as tcp://host:8786")


def estimate(arguments: Namespace) -> int:
    """`llckit estimate STORE --task FILE.py:NAME`: exit code 1 if no checkpoint has an estimate."""
    seconds = None if arguments.minutes is None else 60 * check_positive("--minutes", arguments.minutes)
    if arguments.out is not None:
        check_new_file(arguments.out, [".csv"])
    if arguments.plot is not None:
        check_new_file(arguments.plot, FIGURE_ENDINGS)
    store = CheckpointStore(arguments.store, create=False)
    task = _task(arguments)
    with _executor(arguments) as executor:
        found = estimate_curve(
            store,
            task,
            steps=arguments.steps,
            n_beta=arguments.n_beta,
            localization=arguments.localization,
            max_seconds=seconds,
            rel_tol=arguments.rel_tol,
            num_chains=arguments.chains,
            num_draws=arguments.draws,
            batch_size=arguments.batch_size,
            seed=arguments.seed,
            executor=executor,
        )
    for curve in found.curves if isinstance(found, Spectrogram) else [found]:
        print_curve(curve)
    if arguments.out is not None:
        found.to_csv(arguments.out)
        print(f"written to {arguments.out}")
    if arguments.plot is not None:
        is_curve = isinstance(found, LLCCurve)
        title = store.path.name
        figure = plot_curve(found, title=title) if is_curve else plot_spectrogram(found, title=title)
        save_figure(figure, arguments.plot)
        print(f"drawn in {arguments.plot}")
    return 1 if np.isnan(found.llc).all() else 0


def _task(arguments: Namespace) -> Task:
    task = load_task(arguments.task, compile=arguments.compile)
    if arguments.params is not None:
        task = task.restricted(arguments.params.split(","))
    return behavioral_task(task) if arguments.behavioral else task


def _executor(arguments: Namespace) -> AbstractContextManager[Executor | None]:
    if arguments.workers is not None:
        return WorkerPool(arguments.workers)
    return nullcontext() if arguments.scheduler is None else dask_executor(arguments.scheduler)
