"""The command line: `llckit COMMAND`. Exit codes: 0 done, 1 the run failed, 2 wrong usage."""

from llckit.cli.entry_point import main

__all__ = ["main"]
