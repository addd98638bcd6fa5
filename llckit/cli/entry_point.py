"""`main`, which runs one command and turns errors into one line and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from llckit.cli.parser import make_parser
from llckit.errors import EstimationError, InputError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words after `llckit`; None takes those of the program.

    Returns:
        The exit code: 0 done, 1 the run failed, 2 wrong usage.
    """
    arguments = make_parser().parse_args(argv)
    try:
        with _no_interrupt_lost():
            return arguments.run(arguments)
    except (InputError, EstimationError) as error:
        print(f"llckit {arguments.command}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone, and Python would complain to it at exit
        return 1
    except OSError as error:  # such as a full disk
        print(f"llckit {arguments.command}: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        kept = "what is finished is kept; the same command goes on from there"
        print(f"\nllckit {arguments.command}: interrupted; {kept}", file=sys.stderr)
        return 1


@contextlib.contextmanager
def _no_interrupt_lost() -> Iterator[None]:
    """Send Ctrl-C again if Python drops it: finalisers and callbacks of weak references cannot raise."""
    before = sys.unraisablehook

    def again(dropped: sys.UnraisableHookArgs) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()  # at once it would be dropped again
        else:
            before(dropped)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before
