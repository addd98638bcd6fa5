"""devinterp in an interpreter of its own, since it needs other versions of what we need; `INSTALL` says how."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks._harness import ROOT, Run

WORKER = "benchmarks.peers._devinterp_worker"
OPTIONS = {"--peer": {"metavar": "PYTHON", "help": "interpreter of an environment with devinterp (see peers/_peer.py)"}}
INSTALL = (
    "--peer is missing; expected the interpreter of an environment with devinterp: python3.11 -m venv PEER && "
    "PEER/bin/pip install -c constraints.txt torch h5py scipy tqdm devinterp==1.3.2"
)
STOPPED = "devinterp's process stopped; what it said is above"


class PeerError(Exception):
    """The peer cannot be run, stopped, or has other models than we have."""


class Peer:
    """devinterp's process, one request at a time.

    Args:
        interpreter: Python of an environment with devinterp.

    Raises:
        PeerError: It cannot be run, or cannot import devinterp and llckit.
    """

    def __init__(self, interpreter: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT.parent), "OMP_NUM_THREADS": "1"}
        try:
            check = [interpreter, "-c", "import devinterp, llckit"]
            found = subprocess.run(check, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            raise PeerError(f"--peer {interpreter} cannot be run: {error.strerror}") from error
        if found.returncode != 0:
            reason = (found.stderr.strip() or f"exit code {found.returncode}").splitlines()[-1]
            raise PeerError(f"--peer {interpreter} cannot import devinterp and llckit: {reason}")
        worker, pipe = [interpreter, "-m", WORKER], subprocess.PIPE
        self.process = subprocess.Popen(worker, stdin=pipe, stdout=pipe, env=environment, text=True, cwd=ROOT.parent)
        self.versions = self._read()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def ask(self, action: str, name: str, **request: Any) -> dict[str, Any]:
        """Send one request.

        Args:
            action: A name among the worker's `ACTIONS`.
            name: The toy it is about.
            request: The arguments.

        Returns:
            The answer.

        Raises:
            PeerError: The worker stopped.
        """
        assert self.process.stdin is not None
        try:
            print(json.dumps({"action": action, "name": name, **request}), file=self.process.stdin, flush=True)
        except OSError:
            raise PeerError(STOPPED) from None
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(STOPPED)
        return json.loads(line)


@contextmanager
def peer_of(run: Run) -> Iterator[Peer | None]:
    """The peer that `--peer` names. Without it `--quick` gets None, and other runs end with what to install."""
    if run.arguments.peer is None:
        if not run.quick:
            run.refuse(INSTALL)
        yield None
        return
    try:
        with Peer(run.arguments.peer) as peer:
            run.document["environment"]["peer"] = peer.versions
            yield peer
    except PeerError as error:
        run.refuse(str(error))
