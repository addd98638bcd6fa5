"""The LLC of every checkpoint of a store: computed once, kept in the store's folder, resumed where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, overload

import numpy as np
from tqdm import tqdm

from llckit.environment import is_interactive
from llckit.errors import InputError
from llckit.llc.cache import Cache, describe, fingerprint, make_key
from llckit.llc.cost import MODEST
from llckit.llc.curve import LLCCurve
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.jobs import Job, check_sendable, finish
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.outcome import Outcome
from llckit.llc.scale import check_ladder, check_scale, choose_scale
from llckit.llc.scale_of_run import RunChoice, choose_for_run
from llckit.llc.settings import SPEED, Budget, Settings
from llckit.llc.spectrogram import Spectrogram
from llckit.llc.start_from import start_from
from llckit.posterior import Task, steady_threads
from llckit.sampling import Sampler, Start
from llckit.store import CheckpointStore

# A curve is read for its shape, at many checkpoints: looser and cheaper than a single estimate.
CURVE_REL_TOL = 0.03
CURVE_MAX_GRAD_EVALS = 10_000  # per chain and checkpoint
CHOICE = 0.25  # of the time: what the choice of nβ, γ and gradients may take


class _Options(TypedDict, total=False):
    """The keywords of `estimate_curve` that decide nothing about the type it returns."""

    localization: float | None
    sampler: Sampler | Literal["auto"]
    num_chains: int | None
    num_draws: int | None
    num_burnin: int | None
    rel_tol: float
    max_grad_evals: int | None
    max_seconds: float | None
    batch_size: int | None
    subset: int | None
    seed: int
    executor: Executor | None
    progress: bool


@overload
def estimate_curve(
    store: CheckpointStore,
    task: Task,
    steps: Iterable[int] | None = None,
    *,
    n_beta: float | None = None,
    **options: Unpack[_Options],
) -> LLCCurve: ...


@overload
def estimate_curve(
    store: CheckpointStore,
    task: Task,
    steps: Iterable[int] | None = None,
    *,
    n_beta: Sequence[float] | np.ndarray,
    **options: Unpack[_Options],
) -> Spectrogram: ...


def estimate_curve(
    store: CheckpointStore,
    task: Task,
    steps: Iterable[int] | None = None,
    *,
    n_beta: float | Sequence[float] | np.ndarray | None = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = CURVE_REL_TOL,
    max_grad_evals: int | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    subset: int | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    progress: bool = True,
) -> LLCCurve | Spectrogram:
    """λ̂ at every checkpoint of a store, at one nβ and γ.

    Each estimate is kept inside the store as soon as it is there. A second call computes only what is missing, and
    notices other weights, another loss and other settings. What was left open is chosen on the first call and kept (see
    `choose_for_run`). An estimate depends on its own checkpoint and on its anchor (see docs/architecture.md), and on no
    other.

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
        max_grad_evals: Gradients per chain and checkpoint, and of the choice, after which sampling ends.
        max_seconds: Seconds after which the call ends. The choice of what was left open takes a quarter at most and is
            kept; checkpoints share the rest equally.
        batch_size: Samples per gradient.
        subset: Samples of a fixed subset.
        seed: Seed of all randomness.
        executor: Any `concurrent.futures.Executor` whose workers reach the store and the task's file under the same
            paths; the task must come from `load_task`. The result is the same without.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The `LLCCurve`; for several nβ the `Spectrogram`, whose `llc` has the shape (steps, scales). In a notebook
        Ctrl-C gives the curve of what is done.

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
        budget=Budget.of(max_grad_evals, max_seconds, CURVE_MAX_GRAD_EVALS),
        seed=seed,
        batch_size=batch_size,
        subset=subset,
    )
    if executor is not None:
        check_sendable(executor, task, settings)
    one, ladder = _one_or_ladder(n_beta)
    check_scale(task.n, one, localization)
    one, localization = (None if x is None else float(x) for x in (one, localization))  # JSON knows no NumPy
    chosen = _check_checkpoints(store, task, steps)
    cache = Cache(store)
    cache.check_writable()
    with closing(task.samples):
        with steady_threads(task):
            known = _recognise(store, task, chosen, progress)
            if ladder is not None and localization is None:
                last = task.checkpoint(store.load(store.steps[-1]))
                localization = choose_scale(last, task.n, operations=settings.budget.affordable).localization
        run = _Run(store, task, known, cache, settings, executor, progress)
        if ladder is None:
            return run.curve(one, localization, may_be_partial=True)
        scales = tqdm(ladder.tolist(), desc="scales", disable=None if progress else True)
        parts = (settings.sharing(1 / (len(ladder) - done)) for done in range(len(ladder)))
        return Spectrogram(
            tuple(
                run._replace(settings=part).curve(one, localization, may_be_partial=False)
                for one, part in zip(scales, parts, strict=True)
            )
        )


def _one_or_ladder(
    n_beta: float | Sequence[float] | np.ndarray | None,
) -> tuple[float | None, np.ndarray | None]:
    if n_beta is None or np.isscalar(n_beta):
        return n_beta, None  # pyright: ignore[reportReturnType]
    return None, check_ladder(n_beta)  # pyright: ignore[reportArgumentType]


class _Known(NamedTuple):
    """How a checkpoint is recognised: hash of its weights, L(w*), and a hash of ∇L(w*)."""

    weights_hash: str
    fingerprint: list[float | str]


class _Run(NamedTuple):
    """What all scales of one call share."""

    store: CheckpointStore
    task: Task
    known: dict[int, _Known]
    cache: Cache
    settings: Settings
    executor: Executor | None
    progress: bool

    def curve(self, n_beta: float | None, localization: float | None, *, may_be_partial: bool) -> LLCCurve:
        """Read what is kept, estimate what is missing: anchors first, then the checkpoints that begin with theirs."""
        store, task, cache, settings = self.store, self.task, self.cache, self.settings
        with steady_threads(task):
            choice = choose_for_run(store, task, cache, n_beta, localization, settings.sharing(CHOICE))
        described = describe(task, choice.scale, choice.gradients, settings)
        is_hmc = settings.sampler == "auto" and choice.gradients.default_sampler().name == "hmc"
        anchors = find_anchors(self.known) if is_hmc and settings.num_burnin is None else {}
        keys = self._keys(described, anchors)
        name = "curve-" + make_key(described, choice.fingerprint)
        done: dict[int, LLCEstimate] = {}
        bar = tqdm(total=len(keys), desc="checkpoints", disable=None if self.progress else True)

        def keep(step: int, estimate: LLCEstimate) -> None:
            cache.put(keys[step], {"settings": described, "estimate": estimate.to_dict()})
            done[step] = estimate
            bar.update()

        try:
            for step, key in keys.items():
                estimate = cache.estimate(key)
                if estimate is not None and not self._has_more_time(estimate, len(keys)):
                    done[step] = estimate
                    bar.update()
            missing = [step for step in keys if step not in done]
            self._estimate({step: None for step in missing if step not in anchors}, choice, keep, len(missing))
            followers = [step for step in missing if step in anchors]
            self._estimate({step: start_from(done[anchors[step]]) for step in followers}, choice, keep, len(followers))
        except KeyboardInterrupt:
            if not (may_be_partial and is_interactive() and done):
                raise
            tqdm.write(
                f"interrupted: this is {len(done)} of {len(keys)} checkpoints; the same call goes on with the rest"
            )
        finally:
            bar.close()
            earlier = cache.curve(name)
            cache.put(name, {"settings": described, "keys": earlier | {str(step): keys[step] for step in done}})
        there = [step for step in keys if step in done]
        return LLCCurve.from_estimates(there, [done[step] for step in there], [store.metadata(step) for step in there])

    def _has_more_time(self, estimate: LLCEstimate, checkpoints: int) -> bool:
        """Whether a kept estimate that ended before its error was reached had less time than there is now."""
        budget = self.settings.budget
        if estimate.how_found.is_cut or budget.is_open:
            return estimate.how_found.is_cut and budget.is_open
        is_short = estimate.outcome in (Outcome.BUDGET_EXHAUSTED, Outcome.NOT_MIXED)
        return is_short and budget.max_grad_evals is None and SPEED * budget.seconds_left > 2 * MODEST * checkpoints

    def _keys(self, described: dict[str, Any], anchors: dict[int, int]) -> dict[int, str]:
        """The key of each checkpoint's estimate; that of its anchor is part of a follower's."""
        own = {step: make_key(*known, described) for step, known in self.known.items() if step not in anchors}
        return {
            step: own.get(step) or make_key(*known, described, own[anchors[step]]) for step, known in self.known.items()
        }

    def _estimate(
        self,
        starts: dict[int, Start | None],
        choice: RunChoice,
        keep: Callable[[int, LLCEstimate], None],
        to_come: int,
    ) -> None:
        """Estimate these checkpoints, here or by workers, out of so many to come; each begins with what is given."""
        store, task, settings, (scale, gradients, _) = self.store, self.task, self.settings, choice
        if self.executor is not None and starts:
            at_once = getattr(self.executor, "_max_workers", 1)
            seconds = None if settings.budget.is_open else settings.budget.seconds_left * min(1, at_once / to_come)
            jobs = [
                Job.make(
                    store,
                    task,
                    step,
                    float(self.known[step].fingerprint[0]),
                    scale,
                    gradients,
                    settings,
                    start,
                    seconds,
                )
                for step, start in starts.items()
            ]
            finish(jobs, self.executor, keep)
            return
        with steady_threads(task):
            for done, (step, start) in enumerate(starts.items()):
                checkpoint, sharing = task.checkpoint(store.load(step)), settings.sharing(1 / (to_come - done))
                keep(step, estimate_checkpoint(task, checkpoint, scale, gradients, sharing, start=start))


def find_anchors(steps: Iterable[int]) -> dict[int, int]:
    """Whose warm-up each checkpoint goes on from.

    Checkpoints are grouped by step + 1 into 1 … 3, 4 … 15, 16 … 63 and so on; the first in each group is its anchor.

    Args:
        steps: Of the chosen checkpoints.

    Returns:
        The anchor's step by step; anchors themselves are left out.
    """
    first: dict[int, int] = {}
    found = {step: first.setdefault(((step + 1).bit_length() - 1) // 2, step) for step in sorted(steps)}
    return {step: anchor for step, anchor in found.items() if step != anchor}


def _recognise(store: CheckpointStore, task: Task, steps: list[int], progress: bool) -> dict[int, _Known]:
    known: dict[int, _Known] = {}
    for step in tqdm(steps, desc="reading", leave=False, disable=None if progress else True):
        try:
            checkpoint = task.checkpoint(store.load(step))
            known[step] = _Known(store.manifest(step).weights_hash, fingerprint(checkpoint))
        except InputError as error:
            raise InputError(f"step {step}: {error}") from error
    return known


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
            entries = {name: entry for entry in manifest.tensors for name in entry.names}
            shapes = {name: entry.shape for name, entry in entries.items()}
            task.layout.check_names(shapes, {name: entry.dtype for name, entry in entries.items()})
        except InputError as error:
            raise InputError(f"step {step}: {error}") from error
        broken = [name for name in manifest.nonfinite if name in parameters]
        if broken:
            raise InputError(
                f"step {step}: weights hold NaN or inf in {', '.join(broken[:5])}; choose steps without it"
            )
    return chosen
