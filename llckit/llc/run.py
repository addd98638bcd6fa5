"""The LLC of every checkpoint of a store: computed once, kept in the store's folder, resumed where it stopped."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from llckit.errors import InputError
from llckit.llc.curve import LLCCurve
from llckit.llc.estimate import LLCEstimate, Settings, estimate_point
from llckit.llc.settings import Scale, check_scale, choose_num_chains, choose_scale
from llckit.posterior import LocalPosterior, Point, Task
from llckit.sampling import Sampler, hmc
from llckit.store import CheckpointStore

FOLDER = "estimates"  # inside the store's folder
# A curve is read for its shape, at many checkpoints: looser and cheaper than a single estimate.
CURVE_REL_TOL = 0.03
CURVE_MAX_GRAD_EVALS = 10_000  # per chain and checkpoint
VERSION = 1  # of the estimator: raise it where the same settings would give other numbers


def estimate_curve(
    store: CheckpointStore,
    task: Task,
    steps: Iterable[int] | None = None,
    *,
    n_beta: float | None = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = CURVE_REL_TOL,
    max_grad_evals: int = CURVE_MAX_GRAD_EVALS,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> LLCCurve:
    """λ̂ at every checkpoint of a store, at one nβ and γ.

    Each checkpoint's estimate is kept in `estimates/` inside the store as soon as it is there, under a key made of the
    weights' hash, all settings, L(w*) and a hash of ∇L(w*): a second call, after an interruption or with new
    checkpoints, computes only what is missing, and an edited loss is noticed. nβ and γ that are left open are chosen
    at the last checkpoint there is on the first call, and kept.

    Args:
        store: the checkpoints.
        task: model, data and loss; `behavioral_task(task)` for the behavioral LLC.
        steps: which checkpoints; None takes all.
        n_beta: see `estimate_llc`, as for all further arguments.
        localization: γ.
        sampler: "auto" is `hmc()`.
        num_chains: chains per checkpoint.
        num_draws: draws per chain.
        num_burnin: warm-up steps.
        rel_tol: relative standard error to reach.
        max_grad_evals: gradients per chain and checkpoint at most.
        batch_size: samples per gradient.
        seed: of all randomness.
        progress: whether a bar is shown (on a terminal).

    Returns:
        The curve.

    Raises:
        InputError: an empty store, unknown steps, a checkpoint that does not fit the task or holds NaN, or wrong
            settings; before any sampling.
    """
    if not isinstance(task, Task):
        raise InputError(f"task is a {type(task).__name__}; expected llckit.Task(model, data, loss_fn)")
    settings = Settings(
        num_chains=num_chains,
        num_draws=num_draws,
        num_burnin=num_burnin,
        sampler=hmc() if sampler == "auto" else sampler,
        rel_tol=rel_tol,
        max_grad_evals=max_grad_evals,
        seed=seed,
        batch_size=batch_size,
    )
    check_scale(task, n_beta, localization)
    chosen = _check_checkpoints(store, task, steps)
    results = _Results(store.path / FOLDER)
    scale = _scale_of_store(store, task, results, n_beta, localization)
    estimates: list[LLCEstimate] = []
    for step in tqdm(chosen, desc="checkpoints", disable=None if progress else True):
        point = task.point(store.load(step))
        described = _describe(task, point, scale, settings)
        weights_hash = store.manifest(step).weights_hash
        key = _key(weights_hash, _fingerprint(task, point), described)
        kept = results.get(key)
        if kept is None:
            estimate = estimate_point(task, point, scale, settings).to_dict()
            kept = {"weights_hash": weights_hash, "settings": described, "estimate": estimate}
            results.put(key, kept)
        estimates.append(LLCEstimate.from_dict(kept["estimate"]))
    return LLCCurve.from_estimates(chosen, estimates)


def kept_curves(store: CheckpointStore) -> dict[bool, LLCCurve]:
    """The curves whose estimates a store already holds, without any task.

    Args:
        store: the checkpoints.

    Returns:
        The most recently computed curve by whether it is behavioral; a kind that was never estimated is missing.
    """
    step_of = {store.manifest(step).weights_hash: step for step in reversed(store.steps)}
    groups: dict[str, dict[int, LLCEstimate]] = {}
    for kept in _Results(store.path / FOLDER).newest_last():
        if kept.get("weights_hash") in step_of:
            group = _key(kept["settings"])
            merged = groups.pop(group, {}) | {step_of[kept["weights_hash"]]: LLCEstimate.from_dict(kept["estimate"])}
            groups[group] = merged
    curves: dict[bool, LLCCurve] = {}
    for by_step in groups.values():
        steps = sorted(by_step)
        curve = LLCCurve.from_estimates(steps, [by_step[step] for step in steps])
        curves[curve.behavioral] = curve
    return curves


def _check_checkpoints(store: CheckpointStore, task: Task, steps: Iterable[int] | None) -> list[int]:
    available = store.steps
    if not available:
        raise InputError(f"{store.path} holds no checkpoints; record or import some first")
    chosen = available if steps is None else sorted(set(steps))
    unknown = sorted(set(chosen) - set(available))
    if unknown or not chosen:
        raise InputError(
            f"steps {unknown[:5]} are not in {store.path}; it holds {len(available)} checkpoints, {available[0]} … "
            f"{available[-1]}"
        )
    parameters = dict(task.model.named_parameters(remove_duplicate=False))
    for step in chosen:
        manifest = store.manifest(step)
        try:
            task.check_names({name: entry.shape for entry in manifest.tensors for name in entry.names})
        except InputError as error:
            raise InputError(f"step {step}: {error}") from error
        broken = [name for name in manifest.nonfinite if name in parameters]
        if broken:
            raise InputError(
                f"step {step}: weights hold NaN or inf in {', '.join(broken[:5])}; choose steps without it"
            )
    return chosen


def _scale_of_store(
    store: CheckpointStore, task: Task, results: _Results, n_beta: float | None, localization: float | None
) -> Scale:
    """The choice made on the first call, unless the loss at the checkpoint it was made at has changed since."""
    asked = {"version": VERSION, "dim": task.dim, "n": task.n, "behavioral": task.behavioral}
    key = "scale-" + _key(asked, n_beta, localization)
    kept = results.get(key)
    if (
        kept is not None
        and kept["step"] in store
        and kept["fingerprint"] == _fingerprint(task, task.point(store.load(kept["step"])))
    ):
        return Scale(kept["n_beta"], kept["localization"], kept["rule"])
    step = store.steps[-1]
    point = task.point(store.load(step))
    scale = choose_scale(task, point, n_beta, localization)
    results.put(key, {**scale._asdict(), "step": step, "fingerprint": _fingerprint(task, point)})
    return scale


def _fingerprint(task: Task, point: Point) -> list[Any]:
    posterior = LocalPosterior(task, point, n_beta=1.0, localization=0.0, rows=1)
    grad = posterior.loss_grad.cpu().contiguous().numpy().tobytes()
    return [posterior.loss, hashlib.sha256(grad).hexdigest()]


def _describe(task: Task, point: Point, scale: Scale, settings: Settings) -> dict[str, Any]:
    return {
        "version": VERSION,
        "behavioral": task.behavioral,
        "n_beta": scale.n_beta,
        "localization": scale.localization,
        "sampler": [settings.sampler.name, settings.sampler.settings],
        "num_chains": settings.num_chains or choose_num_chains(task, point),
        "num_draws": settings.num_draws,
        "num_burnin": settings.num_burnin,
        "rel_tol": settings.rel_tol,
        "max_grad_evals": settings.max_grad_evals,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
    }


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class _Results:
    """Small JSON documents by key, each written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> dict[str, Any] | None:
        try:
            return json.loads((self._folder / f"{key}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            return None  # damaged: computing it again is cheaper than asking

    def newest_last(self) -> Iterator[dict[str, Any]]:
        files = sorted(self._folder.glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
        for file in files:
            kept = self.get(file.stem)
            if kept is not None:
                yield kept

    def put(self, key: str, value: dict[str, Any]) -> None:
        self._folder.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._folder, suffix=".tmp", delete=False, encoding="utf-8") as file:
            json.dump(value, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, self._folder / f"{key}.json")
