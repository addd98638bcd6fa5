"""Kept results: under which key an estimate is kept in its store, and how it is read again."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from typing import Any

from llckit.errors import InputError
from llckit.files import replace_file
from llckit.llc.curve import LLCCurve
from llckit.llc.gradients import Gradients
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.scale import Scale
from llckit.llc.settings import Settings
from llckit.posterior import Checkpoint, Task
from llckit.sampling import Sampler
from llckit.store import CheckpointStore

VERSION = 13  # of the estimator: raise it where the same settings would give other numbers
READ_OPERATIONS, FEWEST_READ = 5e8, 16  # and samples: what it costs to know a checkpoint again
FOLDER = "estimates"  # inside the store's folder; beside an exported store, its name comes first


class Cache:
    """The estimates of a store: small JSON documents by key, each written whole or not at all.

    Args:
        store: The store whose estimates they are.
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


def kept_curves(store: CheckpointStore) -> dict[bool, LLCCurve]:
    """The curves whose estimates a store already holds, without any task.

    Args:
        store: The checkpoints.

    Returns:
        By whether it is behavioral, the curve that `estimate_curve` gave last, with all steps estimated at its
        settings; a kind that was never estimated is missing.
    """
    cache = Cache(store)
    curves: dict[bool, LLCCurve] = {}
    for keys in cache.curves_newest_last():
        kept = {step: cache.estimate(keys[str(step)]) for step in store.steps if str(step) in keys}
        found = {step: estimate for step, estimate in kept.items() if estimate is not None}
        if found:
            curve = LLCCurve.from_estimates(list(found), list(found.values()), [store.metadata(step) for step in found])
            curves[curve.behavioral] = curve
    return curves


def fingerprint(checkpoint: Checkpoint) -> list[float | str]:
    """L(w*) and a hash of ∇L(w*), both of the user's loss: they change if the loss or the data do.

    They are those of all samples if that costs no more than 5·10⁸ operations, else of as few as that, and of 16 at
    least. Data in memory are hashed in full beside it.

    Args:
        checkpoint: Of any task.

    Returns:
        The loss, the SHA-256 of its gradient, and that of the data.
    """
    user = checkpoint.user
    few = user.thinned(max(FEWEST_READ, int(READ_OPERATIONS / max(1, user.price.sample))))
    grad = few.loss_grad.cpu().contiguous().numpy().tobytes()
    return [few.loss, hashlib.sha256(grad).hexdigest(), user.samples.digest]


def describe(task: Task, scale: Scale, gradients: Gradients, settings: Settings) -> dict[str, Any]:
    """Everything that decides an estimate, apart from the checkpoint: part of its key.

    Args:
        task: Model, data and loss.
        scale: nβ and γ.
        gradients: Which samples a gradient takes.
        settings: What was asked for.

    Returns:
        JSON types by name.
    """
    given = settings.sampler
    sampler = given if isinstance(given, Sampler) else gradients.default_sampler()
    return {
        "version": VERSION,
        "behavioral": task.behavioral,
        "n_beta": scale.n_beta,
        "localization": scale.localization,
        "sampler": [sampler.name, sampler.settings],
        "num_chains": settings.chains_for(task.checkpoint()),
        "num_draws": settings.num_draws,
        "num_burnin": gradients.num_burnin if settings.num_burnin is None else settings.num_burnin,
        "control": gradients.control,
        "rel_tol": settings.rel_tol,
        "max_grad_evals": settings.budget.max_grad_evals,
        "batch_size": gradients.batch_size,
        "subset": gradients.subset,
        "sampled": [f"{name} {size}" for name, size in zip(task.layout.shapes, task.layout.sizes, strict=True)],
        "entries": {name: make_key(index.tolist()) for name, index in task.layout.indices.items()},
        "seed": settings.seed,
    } | describe_compiling(task)


def describe_compiling(task: Task) -> dict[str, bool]:
    """Nothing if a task does not compile, so that keys stay what they were before tasks could."""
    return {} if task.compiler is None else {"compile": True}


def make_key(*parts: Any) -> str:
    """A short hash of JSON types.

    Args:
        *parts: What decides.

    Returns:
        32 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
