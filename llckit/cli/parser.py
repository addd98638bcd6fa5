"""The parser of the command line.

A new command is a file with a function `add_NAME_command`, and one line in `make_parser`.
"""

from __future__ import annotations

import argparse
from importlib import metadata

from llckit.cli.arguments import Commands, OneLineParser
from llckit.cli.bench import add_bench_command
from llckit.cli.criticality import add_criticality_command
from llckit.cli.demo import add_demo_command
from llckit.cli.detect import add_detect_command
from llckit.cli.estimate import add_estimate_command
from llckit.cli.report import add_report_command
from llckit.cli.store import add_store_commands
from llckit.cli.watch import add_watch_command

__all__ = ["make_parser"]


def make_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands.

    Returns:
        A parser whose result has the arguments of a command, its name as `command`, and its function as `run`.
    """
    summary = "How complex a network really is while it trains, and when it changes."
    parser = OneLineParser(prog="llckit", description=summary)
    parser.add_argument("--version", action="version", version=f"llckit {metadata.version('llckit')}")
    commands = Commands(parser)
    add_demo_command(commands)
    add_store_commands(commands)
    add_estimate_command(commands)
    add_watch_command(commands)
    add_detect_command(commands)
    add_criticality_command(commands)
    add_bench_command(commands)
    add_report_command(commands)
    return parser
