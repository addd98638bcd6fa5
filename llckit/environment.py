"""Where and with what a number was computed. Every stored result carries this."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["environment"]

PACKAGES = ("llckit", "torch", "numpy", "scipy")


def environment() -> dict[str, str | int]:
    """The date, the commit, the machine and the versions of the libraries.

    Returns:
        The keys `date` (UTC), `python`, `machine`, `cpu`, `cores`, `threads` (of torch), and the versions of `llckit`,
        `torch`, `numpy` and `scipy`. If llckit runs from a checkout, also `commit`, with a "+" if there are changes
        that are not committed.
    """
    import torch  # here, since rooms without torch use this file too

    commit = _commit()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **({} if commit is None else {"commit": commit}),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    } | {name: _version(name) for name in PACKAGES}


def is_interactive() -> bool:
    """Whether somebody sits before this session of Python, or before the notebook that it serves."""
    return hasattr(sys, "ps1")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # a checkout that is on the path, but not installed
        return "unknown"


def _commit() -> str | None:
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--exclude=*", "--abbrev=10", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")
