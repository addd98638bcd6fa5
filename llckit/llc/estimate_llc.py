"""`estimate_llc`: the LLC of one model, at a scale that is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from llckit.environment import is_interactive
from llckit.errors import EstimationError, InputError
from llckit.llc.choose_gradients import choose_gradients
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.estimate_on_plateau import estimate_on_plateau
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.make_task import make_task
from llckit.llc.scale import choose_scale
from llckit.llc.settings import REL_TOL, Budget, Settings
from llckit.posterior import LossFunction, Observable, Selection, Task, steady_threads
from llckit.sampling import Sampler


def estimate_llc(
    model: nn.Module | Task,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    *,
    n_beta: float | None = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = REL_TOL,
    max_grad_evals: int | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    subset: int | None = None,
    n: int | None = None,
    params: Selection = None,
    behavioral: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    compile: bool = False,
    progress: bool = True,
    observe: Mapping[str, Observable] | None = None,
    on_failure: Literal["return", "raise"] = "return",
) -> LLCEstimate:
    """The local learning coefficient of a model at its weights w*; no tuning needed.

    λ̂(w*) = nβ (E[L(w)] − L(w*)), w ~ exp(−nβ L(w) − γ/2 ‖w − w*‖²) (Lau et al., arXiv 2308.12108), with L the mean
    loss over all samples. All arguments but model, data and loss_fn can be left out.

    Args:
        model: Model at w*, left as it is; or a `Task`, which holds data and loss, too.
        data: Tensors, a Dataset or a DataLoader (see `Task`).
        loss_fn: `loss_fn(model, batch)` giving the mean loss, or one loss per sample.
        n_beta: nβ; None looks for a scale at which λ̂ is flat, from n/ln n upwards (see `estimate_on_plateau`).
        localization: γ; None chooses it from the curvature and the size of the weights (see `choose_scale`).
        sampler: "auto" takes the sampler that fits the gradients; or what `hmc(...)`, `sgld(...)` … give.
        num_chains: Chains; None takes 8, and up to 256 if the model is so small that they are free.
        num_draws: Draws per chain; None goes on until `rel_tol` or the budget is reached.
        num_burnin: Warm-up steps; None takes the sampler's own number.
        rel_tol: Standard error to reach, relative to λ̂ (taken as at least 0.1); at most 2 % if nβ is searched for.
        max_grad_evals: Gradients per chain, at all nβ together, after which sampling ends; None takes what some 11 s
            of a core allow, and 200 at least.
        max_seconds: Seconds after which the call ends, all that it does included; None sets no limit.
        batch_size: Samples per gradient; None and no `subset` lets `choose_gradients` decide.
        subset: Number of samples, fixed, whose loss stands for the full one; refused if their minimum lies elsewhere.
        n: Number of samples, if rows of `data` are not what counts.
        params: What to sample: names, patterns or masks by name (see `Task`); None samples all that trains.
        behavioral: Whether to measure the distance from the model's own outputs (see `behavioral_task`).
        seed: Seed of all randomness. Chain c of any estimate with this seed sees the same noise.
        device: Where to compute; None stays where the model is.
        compile: Whether to compile gradients of small models: faster in long runs, rounded otherwise (see `Task`).
        progress: Whether a bar is shown (on a terminal).
        observe: Functions of the model that give a number, by name, evaluated at every draw (`estimate.observed`).
        on_failure: "raise" turns every outcome that is not trusted into an `EstimationError` (see `Outcome.trusted`).

    Returns:
        The estimate, its error and outcome; `how_found` says what was chosen, and why. In a notebook Ctrl-C gives the
        best that is there.

    Raises:
        InputError: Wrong input, before any sampling.
        EstimationError: The estimate failed and `on_failure="raise"`.
    """
    if on_failure not in ("return", "raise"):
        raise InputError(f'on_failure is {on_failure!r}; expected "return" or "raise"')
    settings = Settings(
        num_chains=num_chains,
        num_draws=num_draws,
        num_burnin=num_burnin,
        sampler=sampler,
        rel_tol=rel_tol,
        budget=Budget.of(max_grad_evals, max_seconds),
        seed=seed,
        batch_size=batch_size,
        subset=subset,
        may_be_interrupted=is_interactive(),
    )
    task = make_task(model, data, loss_fn, n=n, device=device, params=params, compile=compile, behavioral=behavioral)
    with closing(task.samples), steady_threads(task):
        checkpoint = task.checkpoint()
        scale = choose_scale(checkpoint, task.n, n_beta, localization, settings.budget.affordable)
        gradients = choose_gradients(task, checkpoint, scale, settings)
        search: Callable[..., LLCEstimate] = estimate_checkpoint
        if n_beta is None and not gradients.allows_search:
            scale = scale.not_searched()
        elif n_beta is None:
            search = partial(estimate_on_plateau, keep_localization=localization is not None)
        estimate = search(task, checkpoint, scale, gradients, settings, progress=progress, observe=observe)
    if on_failure == "raise" and not estimate.outcome.trusted:
        raise EstimationError(f"{estimate.outcome.value}: {estimate.outcome.advice}")
    return estimate
