"""Arguments that several commands have, and the types of arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from llckit.transitions import FALSE_BOUNDARIES

__all__ = [
    "Commands",
    "OneLineParser",
    "add_detection_arguments",
    "add_json_argument",
    "add_task_arguments",
    "scales",
    "steps",
]


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2.

        Args:
            message: What is wrong.
        """
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class Commands:
    """The commands of a parser.

    Args:
        parser: The parser.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._actions = parser.add_subparsers(
            dest="command", required=True, metavar="COMMAND", parser_class=OneLineParser
        )

    def add(self, name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        """Add a command.

        Args:
            name: Word on the command line.
            run: Function that takes the parsed arguments and returns the exit code.
            summary: One line of help.

        Returns:
            The parser of the command, to which its arguments are added.
        """
        command = self._actions.add_parser(name, help=summary, description=summary)
        command.set_defaults(run=run)
        return command


def add_json_argument(command: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    command.add_argument("--json", action="store_true", help="one JSON document on stdout")


def add_task_arguments(command: argparse.ArgumentParser) -> None:
    """Add `--task`, `--behavioral` and `--compile`."""
    command.add_argument(
        "--task", required=True, metavar="FILE.py:NAME", help="an llckit.Task, or a function that returns one"
    )
    command.add_argument("--behavioral", action="store_true", help="the checkpoint's own outputs as targets")
    command.add_argument("--compile", action="store_true", help="compile gradients of small models: for long runs")


def add_detection_arguments(command: argparse.ArgumentParser) -> None:
    """Add `--axis` and `--false-boundaries`."""
    command.add_argument(
        "--axis", choices=("log", "linear"), default="log", help="smooth over ln(step + 1), or over the step"
    )
    command.add_argument(
        "--false-boundaries",
        type=float,
        default=FALSE_BOUNDARIES,
        metavar="RATE",
        help=f"false boundaries allowed on average in a curve that has none (default {FALSE_BOUNDARIES})",
    )


def steps(text: str) -> list[int]:
    """A list of steps.

    Args:
        text: Integers with commas between them.

    Returns:
        The steps.

    Raises:
        ArgumentTypeError: A word is not an integer.
    """
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of steps such as 0,100,200") from None


def scales(text: str) -> float | list[float]:
    """One number, or a list of several.

    Args:
        text: Numbers with commas between them.

    Returns:
        The number, or the list if there are several.

    Raises:
        ArgumentTypeError: A word is not a number.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number, or a list such as 10,100,1000") from None
    return numbers[0] if len(numbers) == 1 else numbers
