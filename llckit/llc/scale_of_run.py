"""nβ, γ and gradients for all checkpoints of a run: chosen at the last one, tried at a few, and kept."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from llckit.errors import InputError
from llckit.llc.cache import VERSION, Cache, describe_compiling, fingerprint, make_key
from llckit.llc.choose_gradients import choose_gradients
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.estimate_on_plateau import estimate_on_plateau
from llckit.llc.gradients import Gradients, read_gradients
from llckit.llc.how_found import gradients_from_settings
from llckit.llc.rungs import STEADY
from llckit.llc.scale import Scale, choose_scale
from llckit.llc.scale_reason import NBetaRule, NotCommon, ScaleReason
from llckit.llc.settings import Settings
from llckit.posterior import Task
from llckit.sampling import Sampler
from llckit.store import CheckpointStore

PROBES = 5  # checkpoints that have to agree to a scale other than n/ln n


class RunChoice(NamedTuple):
    """What all checkpoints of a run are measured by.

    Attributes:
        scale: nβ and γ.
        gradients: Which samples a gradient takes.
        fingerprint: L(w*) and a hash of ∇L(w*) where the choice was made.
    """

    scale: Scale
    gradients: Gradients
    fingerprint: list[float | str]


def choose_for_run(
    store: CheckpointStore,
    task: Task,
    cache: Cache,
    n_beta: float | None,
    localization: float | None,
    settings: Settings,
) -> RunChoice:
    """The choice made on the first call, unless the loss where it was made has changed since.

    γ is chosen at the last checkpoint, and nβ as `estimate_llc` does it there, provided that the estimates at that
    scale can be trusted at most of five checkpoints spread over the run; else nβ = n/ln n.

    Args:
        store: The checkpoints.
        task: Model, data and loss.
        cache: Where the choice is kept.
        n_beta: nβ given by the user, or None.
        localization: γ given by the user, or None.
        settings: What was asked for.

    Returns:
        The choice.

    Raises:
        InputError: The last checkpoint cannot be measured.
    """
    key = _key(task, n_beta, localization, settings)
    kept = _kept(store, task, cache, key)
    if kept is not None:
        return kept
    step = store.steps[-1]
    try:
        checkpoint = task.checkpoint(store.load(step))
        found = fingerprint(checkpoint)
        scale = choose_scale(checkpoint, task.n, n_beta, localization, settings.budget.affordable)
        gradients = choose_gradients(task, checkpoint, scale, settings)
        if n_beta is None and not gradients.allows_search:
            scale = scale.not_searched()
        elif n_beta is None:
            scale = _common_plateau(store, task, scale, gradients, settings)
    except InputError as error:
        raise InputError(f"step {step}: {error}") from error
    document = scale._asdict() | {"reason": scale.reason.to_dict(), "gradients": gradients.to_dict()}
    cache.put(key, document | {"step": step, "fingerprint": found})
    return RunChoice(scale, gradients, found)


def _key(task: Task, n_beta: float | None, localization: float | None, settings: Settings) -> str:
    auto = "hmc" if settings.batch_size is None else "baoab"  # the key of the choice, made before gradients are chosen
    asked = {
        "version": VERSION,
        "sampled": [*task.layout.shapes],
        "dim": task.dim,
        "n": task.n,
        "behavioral": task.behavioral,
        **describe_compiling(task),
        "sampler": settings.sampler.name if isinstance(settings.sampler, Sampler) else auto,
        "batch_size": settings.batch_size,
        "subset": settings.subset,
    }
    return "scale-" + make_key(asked, n_beta, localization)


def _kept(store: CheckpointStore, task: Task, cache: Cache, key: str) -> RunChoice | None:
    kept = cache.get(key)
    try:
        if "rule" in kept:  # as version 0.1.0 has it
            reason, gradients = ScaleReason.earlier(kept["rule"]), gradients_from_settings(kept, guided=kept["guided"])
        else:
            reason, gradients = ScaleReason.from_dict(kept["reason"]), read_gradients(kept["gradients"])
        scale, step, known = Scale(kept["n_beta"], kept["localization"], reason), kept["step"], kept["fingerprint"]
    except (KeyError, TypeError, ValueError):
        return None  # there is none, or a damaged one
    if step not in store or fingerprint(task.checkpoint(store.load(step))) != known:
        return None
    return RunChoice(scale, gradients, known)


def _common_plateau(
    store: CheckpointStore, task: Task, scale: Scale, gradients: Gradients, settings: Settings
) -> Scale:
    """The scale at which the last checkpoint's λ̂ is flat, if most checkpoints can be measured there; else as given."""
    only_searched = dataclasses.replace(settings, rel_tol=STEADY)  # what is found is estimated again with the others
    last = task.checkpoint(store.load(store.steps[-1]))
    found = estimate_on_plateau(task, last, scale, gradients, only_searched, keep_localization=True)
    reason = dataclasses.replace(found.how_found.reason, at_last_checkpoint=True)
    candidate = Scale(found.n_beta, scale.localization, reason)
    if candidate.n_beta == scale.n_beta:
        return candidate
    chosen = np.unique(np.linspace(0, len(store.steps) - 1, PROBES).astype(int)).tolist()
    probes = [
        estimate_checkpoint(task, task.checkpoint(store.load(store.steps[i])), candidate, gradients, settings)
        for i in chosen
    ]
    failed = sum(not probe.outcome.trusted for probe in probes)
    if 2 * failed < len(probes):
        return candidate
    not_common = NotCommon(candidate.n_beta, failed, len(probes))
    return scale._replace(reason=dataclasses.replace(scale.reason, n_beta=NBetaRule.NOT_COMMON, not_common=not_common))
