"""The LLC of every checkpoint of a store: computed once, kept in the store's folder, resumed where it stopped."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from llckit.errors import InputError
from llckit.llc.curve import LLCCurve
from llckit.llc.execution import Job, check_sendable, finish
from llckit.llc.gradients import choose_gradients
from llckit.llc.outcome import LLCEstimate, Outcome
from llckit.llc.plateau import estimate_on_plateau
from llckit.llc.point import REL_TOL, Settings, estimate_point, users_loss
from llckit.llc.profile import check_ladder
from llckit.llc.results import Results
from llckit.llc.settings import Scale, check_scale, choose_num_chains, choose_scale
from llckit.llc.spectrogram import Spectrogram
from llckit.posterior import Point, Task, steady_threads
from llckit.sampling import Sampler, Start
from llckit.store import CheckpointStore

# A curve is read for its shape, at many checkpoints: looser and cheaper than a single estimate.
CURVE_REL_TOL = 0.03
CURVE_MAX_GRAD_EVALS = 10_000  # per chain and checkpoint
PROBES = 5  # checkpoints that have to agree to a scale other than n/ln n
VERSION = 10  # of the estimator: raise it where the same settings would give other numbers


def estimate_curve(
    store: CheckpointStore,
    task: Task,
    steps: Iterable[int] | None = None,
    *,
    n_beta: Any = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = CURVE_REL_TOL,
    max_grad_evals: int = CURVE_MAX_GRAD_EVALS,
    batch_size: int | None = None,
    subset: int | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = True,
) -> Any:
    """λ̂ at every checkpoint of a store, at one nβ and γ.

    All checkpoints are read and their loss is evaluated before the first is sampled. Each checkpoint's estimate is
    kept in `estimates/` inside the store as soon as it is there, under a key made of the weights' hash, all settings,
    L(w*) and a hash of ∇L(w*): a second call, after an interruption or with new checkpoints, computes only what is
    missing, and an edited loss is noticed. nβ and γ that are left open are chosen on the first call, and kept: γ at the
    last checkpoint there is, and nβ as `estimate_llc` does it there, provided that the estimates at that scale pass
    their checks at most of five checkpoints spread over the run; n/ln n otherwise.

    Of the chosen checkpoints the first with step + 1 in 1 … 3, in 4 … 15, in 16 … 63 and so on are anchors: the default
    sampler's warm-up at the others of an interval begins with what it found at the anchor, and takes a third of the
    steps. An estimate so depends on its own checkpoint and on its anchor, and on no other.

    Args:
        store: The checkpoints.
        task: Model, data and loss; `behavioral_task(task)` for the behavioral LLC.
        steps: Which checkpoints; None takes all.
        n_beta: A number or None: see `estimate_llc`, as for all further arguments. A sequence of ascending numbers
            measures every checkpoint at each of them, at the γ chosen for n/ln n.
        localization: γ.
        sampler: "auto", or a sampler.
        num_chains: Chains per checkpoint.
        num_draws: Draws per chain.
        num_burnin: Warm-up steps.
        rel_tol: Relative standard error to reach.
        max_grad_evals: Gradients per chain and checkpoint at most.
        batch_size: Samples per gradient.
        subset: Samples of a fixed subset; which of both is taken where neither is given is chosen at the last
            checkpoint there is, and from then on the same for all.
        seed: Of all randomness.
        executor: Any `concurrent.futures.Executor` whose workers reach the store and the task's file under the same
            paths; the task must come from `load_task`. The result is the same without.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The `LLCCurve`; for several nβ the `Spectrogram`, whose `llc` has the shape (steps, scales).

    Raises:
        InputError: An empty store, unknown steps, a checkpoint that is damaged, does not fit the task or holds NaN,
            a loss that is not finite there, wrong settings, or a task or sampler that cannot be sent to workers; before
            any sampling.
    """
    if not isinstance(store, CheckpointStore):
        raise InputError(f"store is a {type(store).__name__}; expected llckit.CheckpointStore(path)")
    if not isinstance(task, Task):
        raise InputError(f"task is a {type(task).__name__}; expected llckit.Task(model, data, loss_fn)")
    settings = Settings(
        num_chains=num_chains,
        num_draws=num_draws,
        num_burnin=num_burnin,
        sampler=sampler,
        rel_tol=rel_tol,
        max_grad_evals=max_grad_evals,
        seed=seed,
        batch_size=batch_size,
        subset=subset,
    )
    if executor is not None:
        check_sendable(executor, task, settings)
    ladder = None if n_beta is None or np.isscalar(n_beta) else check_ladder(n_beta)
    one: Any = n_beta if ladder is None else None
    check_scale(task, one, localization)
    one, localization = (None if x is None else float(x) for x in (one, localization))  # JSON knows no NumPy
    chosen = _check_checkpoints(store, task, steps)
    results = Results(store)
    results.check_writable()
    with closing(task.samples):
        with steady_threads(task):
            marks: dict[int, list[Any]] = {}
            for step in tqdm(chosen, desc="reading", leave=False, disable=None if progress else True):
                try:
                    marks[step] = [store.manifest(step).weights_hash, _fingerprint(task, task.point(store.load(step)))]
                except InputError as error:
                    raise InputError(f"step {step}: {error}") from error
            if ladder is not None and localization is None:
                localization = choose_scale(task, task.point(store.load(store.steps[-1])), None, None).localization
        run = _Run(store, task, marks, results, settings, executor, progress)
        if ladder is None:
            return _one_curve(run, one, localization)
        scales = tqdm(ladder.tolist(), desc="scales", disable=None if progress else True)
        return Spectrogram(tuple(_one_curve(run, one, localization) for one in scales))


class _Run(NamedTuple):
    """What all scales share; `marks` says by step what weights and loss are recognised by."""

    store: CheckpointStore
    task: Task
    marks: dict[int, list[Any]]
    results: Results
    settings: Settings
    executor: Executor | None
    progress: bool


def _one_curve(run: _Run, n_beta: float | None, localization: float | None) -> LLCCurve:
    store, task, marks, results, settings, executor, progress = run
    with steady_threads(task):
        scale, settings, loss_fingerprint = _choose(store, task, results, n_beta, localization, settings)
    described = _describe(task, scale, settings)
    inherits = settings.sampler == "auto" and settings.num_burnin is None and settings.choose_sampler().name == "hmc"
    anchors = _anchors(marks) if inherits else {}
    keys = {step: _key(*mark, described) for step, mark in marks.items() if step not in anchors}
    keys = {step: keys.get(step) or _key(*mark, described, keys[anchors[step]]) for step, mark in marks.items()}
    name = "curve-" + _key(described, loss_fingerprint)
    done: dict[int, LLCEstimate] = {}
    bar = tqdm(total=len(keys), desc="checkpoints", disable=None if progress else True)

    def keep(step: int, estimate: LLCEstimate) -> None:
        results.put(keys[step], {"settings": described, "estimate": estimate.to_dict()})
        done[step] = estimate
        bar.update()

    try:
        for step, key in keys.items():
            estimate = results.estimate(key)
            if estimate is not None:
                done[step] = estimate
                bar.update()
        for followers in (False, True):
            missing = {
                step: dataclasses.replace(settings, start=_start(done[anchors[step]])) if followers else settings
                for step in keys
                if step not in done and (step in anchors) == followers
            }
            if executor is not None and missing:
                jobs = [Job.make(store, task, step, marks[step][1][0], scale, own) for step, own in missing.items()]
                finish(jobs, executor, keep)
                continue
            with steady_threads(task):
                for step, own in missing.items():
                    keep(step, estimate_point(task, task.point(store.load(step)), scale, own))
    finally:
        bar.close()
        earlier = results.curve(name)
        results.put(name, {"settings": described, "keys": earlier | {str(step): keys[step] for step in done}})
    return LLCCurve.from_estimates(list(keys), [done[step] for step in keys], [store.metadata(step) for step in keys])


def kept_curves(store: CheckpointStore) -> dict[bool, LLCCurve]:
    """The curves whose estimates a store already holds, without any task.

    Args:
        store: The checkpoints.

    Returns:
        By whether it is behavioral, the curve that `estimate_curve` gave last, with all steps estimated at its
        settings; a kind that was never estimated is missing.
    """
    results = Results(store)
    curves: dict[bool, LLCCurve] = {}
    for keys in results.curves_newest_last():
        kept = {step: results.estimate(keys[str(step)]) for step in store.steps if str(step) in keys}
        found = {step: estimate for step, estimate in kept.items() if estimate is not None}
        if found:
            curve = LLCCurve.from_estimates(list(found), list(found.values()), [store.metadata(step) for step in found])
            curves[curve.behavioral] = curve
    return curves


def _anchors(steps: Iterable[int]) -> dict[int, int]:
    """Whose warm-up each checkpoint goes on from; anchors themselves are left out."""
    first: dict[int, int] = {}
    found = {step: first.setdefault(((step + 1).bit_length() - 1) // 2, step) for step in sorted(steps)}
    return {step: anchor for step, anchor in found.items() if step != anchor}


def _start(anchor: LLCEstimate) -> Start | None:
    if anchor.outcome is Outcome.DIVERGED or anchor.settings["stretch"] > 1:
        return None  # step and length are in units of scales that are not kept: the follower finds its own
    return Start(anchor.settings["step_size"], anchor.settings["turn"])


def _check_checkpoints(store: CheckpointStore, task: Task, steps: Iterable[int] | None) -> list[int]:
    available = store.steps
    if not available:
        raise InputError(f"{store.path} holds no checkpoints; record or import some first")
    try:
        chosen = available if steps is None else sorted(set(steps))
    except TypeError:
        raise InputError(f"steps is {steps!r}; expected a list of steps such as [0, 100]") from None
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


def _choose(
    store: CheckpointStore,
    task: Task,
    results: Results,
    n_beta: float | None,
    localization: float | None,
    settings: Settings,
) -> tuple[Scale, Settings, list[Any]]:
    """The choice made on the first call, unless the loss where it was made has changed since; and that loss's mark."""
    asked = {"version": VERSION, "sampled": [*task.shapes], "dim": task.dim, "n": task.n, "behavioral": task.behavioral}
    asked |= _compiles(task)
    asked |= {"sampler": settings.choose_sampler().name, "batch_size": settings.batch_size, "subset": settings.subset}
    key = "scale-" + _key(asked, n_beta, localization)
    kept = results.get(key)
    gradients = "batch_size", "subset", "guided", "gradients"
    if {*Scale._fields, *gradients, "step", "fingerprint"} <= kept.keys() and kept["step"] in store:
        fingerprint = _fingerprint(task, task.point(store.load(kept["step"])))
        if kept["fingerprint"] == fingerprint:
            chosen = dataclasses.replace(settings, **{name: kept[name] for name in gradients})
            return Scale(kept["n_beta"], kept["localization"], kept["rule"]), chosen, fingerprint
    step = store.steps[-1]
    try:
        point = task.point(store.load(step))
        scale, fingerprint = choose_scale(task, point, n_beta, localization), _fingerprint(task, point)
        settings = choose_gradients(task, point, scale, settings)
        if n_beta is None:
            scale = _common_plateau(store, task, scale, settings)
    except InputError as error:
        raise InputError(f"step {step}: {error}") from error
    chosen = {name: getattr(settings, name) for name in gradients}
    results.put(key, {**scale._asdict(), **chosen, "step": step, "fingerprint": fingerprint})
    return scale, settings, fingerprint


def _common_plateau(store: CheckpointStore, task: Task, scale: Scale, settings: Settings) -> Scale:
    """The scale at which the last checkpoint's λ̂ is flat, if most checkpoints can be measured there; else as given."""
    sharp = dataclasses.replace(settings, rel_tol=min(settings.rel_tol, REL_TOL))
    last = task.point(store.load(store.steps[-1]))
    found = estimate_on_plateau(task, last, scale, sharp, hold_localization=True)
    candidate = Scale(found.n_beta, scale.localization, found.settings["rule"] + "; at the last checkpoint")
    if candidate.n_beta == scale.n_beta:
        return candidate
    chosen = np.unique(np.linspace(0, len(store.steps) - 1, PROBES).astype(int)).tolist()
    probes = [estimate_point(task, task.point(store.load(store.steps[i])), candidate, settings) for i in chosen]
    believed = sum(probe.outcome.trusted for probe in probes)
    if 2 * believed > len(probes):
        return candidate
    return scale._replace(
        rule=f"n_beta = n/ln(n), since {len(probes) - believed} of {len(probes)} checkpoints cannot be measured at "
        f"{candidate.n_beta:.4g}, where the last one is flat; {scale.rule.split('; ')[1]}"
    )


def _fingerprint(task: Task, point: Point) -> list[Any]:
    posterior = users_loss(task, point)
    grad = posterior.loss_grad.cpu().contiguous().numpy().tobytes()
    return [posterior.loss, hashlib.sha256(grad).hexdigest()]


def _describe(task: Task, scale: Scale, settings: Settings) -> dict[str, Any]:
    sampler = settings.choose_sampler()
    return {
        "version": VERSION,
        "behavioral": task.behavioral,
        "n_beta": scale.n_beta,
        "localization": scale.localization,
        "sampler": [sampler.name, sampler.settings],
        "num_chains": settings.num_chains or choose_num_chains(task, task.point()),
        "num_draws": settings.num_draws,
        "num_burnin": settings.num_burnin,
        "rel_tol": settings.rel_tol,
        "max_grad_evals": settings.max_grad_evals,
        "batch_size": settings.batch_size,
        "subset": settings.subset,
        "sampled": [f"{name} {size}" for name, size in zip(task.shapes, task.sizes, strict=True)],
        "entries": {name: _key(index.tolist()) for name, index in task.indices.items()},
        "seed": settings.seed,
    } | _compiles(task)


def _compiles(task: Task) -> dict[str, bool]:
    """Nothing where a task does not compile, so that keys stay what they were."""
    return {} if task.compiler is None else {"compile": True}


def _key(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
