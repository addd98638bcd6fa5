"""Where the estimates of a store's checkpoints are kept: in its folder, or beside its file, one file each."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any

from llckit.errors import InputError
from llckit.files import replace_file
from llckit.llc.outcome import LLCEstimate
from llckit.store import CheckpointStore

FOLDER = "estimates"  # inside the store's folder; beside an exported store, its name comes first


class Results:
    """The estimates of a store: small JSON documents by key, each written whole or not at all.

    Args:
        store: Whose they are.
    """

    def __init__(self, store: CheckpointStore) -> None:
        is_file = store.path.is_file()
        self._folder = store.path.with_name(f"{store.path.name}.{FOLDER}") if is_file else store.path / FOLDER

    def check_writable(self) -> None:
        """Raise `InputError` now rather than after the first estimate."""
        try:
            self._folder.mkdir(exist_ok=True)
            tempfile.TemporaryFile(dir=self._folder).close()
        except OSError as error:
            raise InputError(f"results cannot be kept in {self._folder}: {error.strerror}") from error

    def get(self, key: str) -> dict[str, Any]:
        """The document; an empty one where there is none, or a damaged one: computing again is cheaper than asking."""
        try:
            found = json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def estimate(self, key: str) -> LLCEstimate | None:
        """The estimate; None where there is none."""
        try:
            return LLCEstimate.from_dict(self.get(key)["estimate"])
        except (AttributeError, KeyError, TypeError, ValueError):
            return None

    def curve(self, key: str) -> dict[str, str]:
        """The keys of a curve's estimates by step."""
        keys = self.get(key).get("keys")
        return keys if isinstance(keys, dict) else {}

    def curves_newest_last(self) -> Iterator[dict[str, str]]:
        """All curves, in the order in which they were estimated."""
        files = sorted(self._folder.glob("curve-*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        for file in files:
            yield self.curve(file.stem)

    def put(self, key: str, value: dict[str, Any]) -> None:
        """Keep a document, durably."""
        replace_file(self._folder / f"{key}.json", json.dumps(value, allow_nan=False).encode())
