"""The command line: `llckit COMMAND`. Exit codes: 0 done, 1 the run failed, 2 wrong usage."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import metadata
from typing import NoReturn

from llckit.cli import commands
from llckit.cli.criticality import criticality
from llckit.cli.demo import DEMOS, demo
from llckit.cli.watch import follow
from llckit.errors import EstimationError, InputError
from llckit.transitions import FALSE_BOUNDARIES

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="llckit", description="How complex a network really is while it trains, and when it changes.")
    parser.add_argument("--version", action="version", version=f"llckit {metadata.version('llckit')}")
    actions = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, run: object, summary: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=summary, description=summary)
        action.set_defaults(run=run)
        return action

    def how_to_detect(action: argparse.ArgumentParser) -> None:
        action.add_argument(
            "--axis", choices=("log", "linear"), default="log", help="smooth over ln(step + 1), or the step"
        )
        action.add_argument(
            "--false-boundaries",
            type=float,
            default=FALSE_BOUNDARIES,
            metavar="RATE",
            help=f"how many a curve without any may have on average (default {FALSE_BOUNDARIES})",
        )

    action = add("demo", demo, "train a small net, record, estimate, detect and report")
    action.add_argument("name", nargs="?", default="grokking", choices=sorted(DEMOS), help="which (default: grokking)")
    action.add_argument("--out", metavar="DIR", help="folder for all results (default: demo-NAME)")

    action = add("import", commands.import_files, "copy .pt, .pth, .bin, .ckpt, .safetensors files into a store")
    action.add_argument(
        "sources", nargs="+", metavar="SRC", help="files such as step_400.pt, checkpoint-N folders, or folders of them"
    )
    action.add_argument("store", metavar="STORE", help="the store, made if missing")
    action.add_argument("--dry-run", action="store_true", help="only list what would be imported; write nothing")

    action = add("info", commands.info, "what a store holds")
    action.add_argument("store", metavar="STORE")
    action.add_argument("--json", action="store_true", help="one JSON document on stdout")

    action = add("verify", commands.verify, "check every byte of a store against its checksums")
    action.add_argument("store", metavar="STORE")

    action = add("export", commands.export, "copy a store, verified, into one file that is read as a store")
    action.add_argument("store", metavar="STORE")
    action.add_argument("file", metavar="FILE.h5", help="a new file")

    action = add("estimate", commands.estimate, "the LLC of every checkpoint of a store; resumes where it stopped")
    action.add_argument("store", metavar="STORE")
    action.add_argument(
        "--task", required=True, metavar="FILE.py:NAME", help="an llckit.Task, or a function giving one"
    )
    action.add_argument("--out", metavar="CURVE.csv", help="write the curve to a new file")
    action.add_argument("--plot", metavar="FILE.png", help="also draw the curve or the spectrogram")
    action.add_argument("--steps", metavar="A,B,…", type=_steps, help="only these checkpoints")
    action.add_argument("--n-beta", metavar="X[,Y,…]", type=_scales, help="default: n/ln(n); several: the spectrogram")
    action.add_argument("--localization", type=float, metavar="X", help="default: chosen, and told")
    action.add_argument("--params", metavar="NAMES", help="sample only these, such as 'layers.0.*,head.weight'")
    action.add_argument("--behavioral", action="store_true", help="the checkpoint's own outputs as targets")
    action.add_argument("--compile", action="store_true", help="compile gradients of small models: for long runs")
    where = action.add_mutually_exclusive_group()
    where.add_argument("--workers", type=int, metavar="N", help="processes on this machine (default: this one alone)")
    where.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster, such as tcp://host:8786")

    action = add("watch", follow, "follow a run: estimate checkpoints as they appear, tell of transitions")
    action.add_argument("store", metavar="STORE", help="the store that the run records to")
    action.add_argument(
        "--task", required=True, metavar="FILE.py:NAME", help="an llckit.Task, or a function giving one"
    )
    action.add_argument("--n-beta", metavar="X", type=float, help="default: chosen at the first checkpoint")
    action.add_argument("--localization", type=float, metavar="X", help="default: likewise")
    action.add_argument("--behavioral", action="store_true", help="the checkpoint's own outputs as targets")
    action.add_argument("--compile", action="store_true", help="compile gradients of small models: for long runs")
    how_to_detect(action)
    action.add_argument("--idle", type=float, metavar="SECONDS", help="end when nothing new has come for so long")

    action = add("detect", commands.detect, "find the transitions of a curve, or of a spectrogram across its scales")
    action.add_argument(
        "curve",
        metavar="CURVE.csv",
        help="columns step, loss, llc[, llc_se][, llc_chain_*]; n_beta if there are several",
    )
    action.add_argument("--json", action="store_true", help="one JSON document on stdout")
    action.add_argument("--plot", metavar="FILE.png", help="also draw the curve and its stages")
    how_to_detect(action)

    action = add("criticality", criticality, "critical exponents from runs of several sizes, and the law ν* = 2 - α")
    action.add_argument(
        "runs",
        metavar="RUNS.csv",
        help="columns size, control, order_parameter, susceptibility, specific_heat, binder, bimodality, …_se",
    )
    action.add_argument("--json", action="store_true", help="one JSON document on stdout")
    action.add_argument("--plot", metavar="FILE.png", help="also draw the collapse and its residuals")

    action = add("bench", commands.bench, "estimate toys whose LLC is known, and show the errors")
    action.add_argument("--json", action="store_true", help="one JSON document on stdout")

    action = add("report", commands.report, "one HTML page with the curve, its stages and its diagnostics")
    action.add_argument("source", metavar="STORE|CURVE.csv", help="a store that was estimated, or a curve")
    action.add_argument("--spectrogram", metavar="CELLS.csv", help="estimates of the same run at several n_beta")
    action.add_argument("-o", "--out", required=True, metavar="REPORT.html")
    return parser


def _steps(text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of steps such as 0,100,200") from None


def _scales(text: str) -> float | list[float]:
    try:
        scales = [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or a list such as 10,100,1000") from None
    return scales[0] if len(scales) == 1 else scales


@contextlib.contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Send Ctrl-C again where Python drops it: in finalisers and callbacks of weak references nothing can be raised."""
    before = sys.unraisablehook

    def again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()  # here it would be dropped again
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after `llckit`; None takes the program's own.

    Returns:
        The exit code.
    """
    arguments = _parser().parse_args(argv)
    try:
        with _no_interrupt_lost():
            return arguments.run(arguments)
    except (InputError, EstimationError) as error:
        print(f"llckit {arguments.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone; nothing is left to be said to it
        return 1
    except OSError as error:  # such as a full disk
        print(f"llckit {arguments.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "what is finished is kept; the same command goes on from there"
        print(f"\nllckit {arguments.command}: interrupted; {kept}", file=sys.stderr)
        return 1
