"""`Reference`: what another process needs to make the same task."""

from __future__ import annotations

from typing import NamedTuple


class Reference(NamedTuple):
    """How another process makes the same task.

    Attributes:
        name: "file.py:NAME", as `load_task` takes it, with the file's whole path.
        digest: SHA-256 of the file.
        params: Names of the parameters that are sampled; None for those of the file.
        behavioral: Whether it is the behavioral task.
        compile: Whether `load_task` was asked to compile.
    """

    name: str
    digest: str
    params: tuple[str, ...] | None = None
    behavioral: bool = False
    compile: bool = False
