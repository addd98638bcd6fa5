"""`llckit report`: one HTML page about a run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np

from llckit.cli.arguments import Commands
from llckit.cli.tables import loss_kind
from llckit.errors import InputError
from llckit.files import check_new_file
from llckit.llc import LLCCurve, Spectrogram, kept_curves, read_curve
from llckit.report import REPORT_ENDINGS, write_report
from llckit.store import CheckpointStore
from llckit.transitions import MIN_CHECKPOINTS, detect_transitions

__all__ = ["add_report_command"]


def add_report_command(commands: Commands) -> None:
    """Add `llckit report`."""
    command = commands.add("report", report, "one HTML page with the curve, its stages and its diagnostics")
    command.add_argument("source", metavar="STORE|CURVE.csv", help="a store that was estimated, or a curve")
    command.add_argument("--spectrogram", metavar="CELLS.csv", help="estimates of the same run at several n_beta")
    command.add_argument("-o", "--out", required=True, metavar="REPORT.html")


def report(arguments: Namespace) -> int:
    """`llckit report STORE|CURVE.csv [--spectrogram CELLS.csv] -o report.html`."""
    check_new_file(arguments.out, REPORT_ENDINGS)
    cells = None if arguments.spectrogram is None else Spectrogram.from_csv(arguments.spectrogram)
    source = Path(arguments.source)
    main, second = _main_and_second(_curves(source))
    if _usable(main) < MIN_CHECKPOINTS:
        raise InputError(
            f"{source} holds {_usable(main)} estimates at minima of the {loss_kind(main.behavioral)} loss; a report "
            f"needs {MIN_CHECKPOINTS} or more: run llckit estimate without --steps, or with --behavioral"
        )
    if cells is not None and not np.isin(cells.step, main.step).any():
        raise InputError(f"{arguments.spectrogram} and {source} have no step in common; expected the same run")
    title = f"llckit: {source.name}"
    write_report(arguments.out, main, detect_transitions(main), title=title, behavioral=second, spectrogram=cells)
    print(f"written to {arguments.out}")
    return 0


def _curves(source: Path) -> dict[bool, LLCCurve]:
    """The curves in a source, by whether they are behavioral."""
    if source.is_dir() or source.suffix.lower() == ".h5":
        curves = kept_curves(CheckpointStore(source, create=False))
        if not curves:
            raise InputError(f"{source} has not been estimated yet; run llckit estimate {source} --task FILE.py:NAME")
        return curves
    curve = read_curve(source)
    if isinstance(curve, Spectrogram):
        raise InputError(
            f"{source} is a spectrogram, of {len(curve.n_beta)} scales; a report needs a store or a curve, with "
            f"--spectrogram {source} beside it"
        )
    return {curve.behavioral: curve}


def _main_and_second(curves: dict[bool, LLCCurve]) -> tuple[LLCCurve, LLCCurve | None]:
    """The curve of the training loss first, unless only the behavioral one is long enough to hold transitions."""
    order = sorted(curves, key=lambda behavioral: (_usable(curves[behavioral]) < MIN_CHECKPOINTS, behavioral))
    is_training_loss = order[0] is False
    return curves[order[0]], curves.get(True) if is_training_loss else None


def _usable(curve: LLCCurve) -> int:
    return int((np.isfinite(curve.llc) & curve.is_minimum).sum())
