"""Where and with what a number was computed: what every stored result carries."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["environment"]

PACKAGES = ("llckit", "torch", "numpy", "scipy")


def environment() -> dict[str, str | int]:
    """Date, commit, CPU and versions.

    Returns:
        `date` (UTC), `commit` where llckit runs from a checkout (with "+" if it has changes that are not committed),
        `python`, `machine`, `cpu`, `cores`, `threads` of torch, and the version of llckit, torch, NumPy and SciPy.
    """
    import torch  # here: rooms without torch use this file, too

    commit = _commit()
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **({} if commit is None else {"commit": commit}),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
    } | {name: metadata.version(name) for name in PACKAGES}


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
