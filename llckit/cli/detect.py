"""`llckit detect`: the transitions of a curve, or of a spectrogram across its scales."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

from llckit.cli.arguments import Commands, add_detection_arguments, add_json_argument
from llckit.cli.tables import print_linked_transitions, print_transitions
from llckit.files import check_new_file
from llckit.llc import LLCCurve, Outcome, Spectrogram, read_curve
from llckit.plotting import FIGURE_ENDINGS, plot_curve, plot_spectrogram, save_figure
from llckit.tables import naming
from llckit.transitions import detect_across_scales, detect_transitions

__all__ = ["add_detect_command"]

# What is said about the estimates of each of these outcomes, before transitions are looked for in them.
DOUBTS = {
    Outcome.NOT_A_MINIMUM: "are no LLC (w* is no minimum; see llckit estimate --behavioral) and left out",
    Outcome.SCALE_DEPENDENT: "depend on their scale: compare them with each other, but take none for the LLC",
    Outcome.NOT_MIXED: "have error bars that are too small, since their chains have not mixed",
    Outcome.NOT_SPREAD: "see a part of the neighbourhood only, since flat directions have not been explored",
    Outcome.OVERHEATED: "are too high, since their chains are too hot",
    Outcome.OUTSIDE_BRACKET: "lie outside the bracket of their checkpoint, so that they are not its LLC",
}


def add_detect_command(commands: Commands) -> None:
    """Add `llckit detect`."""
    command = commands.add("detect", detect, "find the transitions of a curve, or of a spectrogram across its scales")
    command.add_argument(
        "curve",
        metavar="CURVE.csv",
        help="columns step, loss, llc[, llc_se][, llc_chain_*]; n_beta if there are several",
    )
    add_json_argument(command)
    command.add_argument("--plot", metavar="FILE.png", help="also draw the curve and its stages")
    add_detection_arguments(command)


def detect(arguments: Namespace) -> int:
    """`llckit detect CURVE.csv`."""
    if arguments.plot is not None:
        check_new_file(arguments.plot, FIGURE_ENDINGS)
    curve = read_curve(arguments.curve)
    if isinstance(curve, Spectrogram):
        _detect_across_scales(curve, arguments)
    else:
        _warn_of_doubts(curve)
        _detect_in_curve(curve, arguments)
    return 0


def _warn_of_doubts(curve: LLCCurve) -> None:
    outcomes = [] if curve.outcome is None else list(zip(curve.step.tolist(), curve.outcome, strict=True))
    for outcome, meaning in DOUBTS.items():
        steps = [str(step) for step, found in outcomes if found is outcome]
        if steps:
            print(f"{len(steps)} of {len(curve)} estimates {meaning}: steps {', '.join(steps)}", file=sys.stderr)


def _detect_in_curve(curve: LLCCurve, arguments: Namespace) -> None:
    with naming(arguments.curve):
        transitions = detect_transitions(curve, axis=arguments.axis, false_boundaries=arguments.false_boundaries)
    if arguments.plot is not None:
        figure = plot_curve(curve, transitions, title=Path(arguments.curve).name, axis=arguments.axis)
        save_figure(figure, arguments.plot)
    if arguments.json:
        print(json.dumps(transitions.to_dict()))
    else:
        print_transitions(transitions)


def _detect_across_scales(spectrogram: Spectrogram, arguments: Namespace) -> None:
    with naming(arguments.curve):
        found = detect_across_scales(spectrogram, axis=arguments.axis, false_boundaries=arguments.false_boundaries)
    if arguments.plot is not None:
        save_figure(plot_spectrogram(spectrogram, found, title=Path(arguments.curve).name), arguments.plot)
    if arguments.json:
        print(json.dumps(found.to_dict()))
    else:
        print_linked_transitions(found)
