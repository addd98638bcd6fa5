"""`estimate_llc`: the LLC of one model, at a scale that is found."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal

import torch
from torch import nn

from llckit.errors import EstimationError, InputError
from llckit.llc.gradients import choose_gradients
from llckit.llc.outcome import LLCEstimate
from llckit.llc.plateau import estimate_on_plateau
from llckit.llc.point import MAX_GRAD_EVALS, REL_TOL, Settings, estimate_point
from llckit.llc.settings import choose_scale
from llckit.posterior import Observable, Selection, Task, behavioral_task, steady_threads
from llckit.sampling import Sampler


def estimate_llc(
    model: nn.Module,
    data: Any,
    loss_fn: Any,
    *,
    n_beta: float | None = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = REL_TOL,
    max_grad_evals: int = MAX_GRAD_EVALS,
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
    loss over all samples and L(w*) computed on all of them.

    Args:
        model: At w*; it is copied, evaluated in evaluation mode, and left as it is.
        data: Tensors, a Dataset or a DataLoader (see `Task`); of a Dataset that takes more than 4 GiB samples are read
            again at every pass, by the DataLoader's `num_workers`.
        loss_fn: `loss_fn(model, batch)` giving the mean loss or one loss per sample.
        n_beta: nβ; None takes n/ln n, or 10, 100 or 1000 times that where only there λ̂ is flat in nβ (see
            `estimate_on_plateau`); `estimate.settings["rule"]` says which and why.
        localization: γ; None chooses it from the curvature and the size of the weights (see `choose_scale`).
        sampler: "auto" is `hmc()` on the full loss, a fixed subset, or guided by minibatches, and `baoab()` where they
            cannot guide; or what `hmc(...)`, `sgld(...)` … give.
        num_chains: Chains, all run in one batch; None takes 8, and up to 256 where the model is so small that they are
            free.
        num_draws: Draws per chain; None goes on until `rel_tol` or the budget is reached.
        num_burnin: Warm-up steps; None takes the sampler's own number.
        rel_tol: Standard error to reach, relative to λ̂ (taken as at least 0.1); 2 % at most where nβ is searched for.
        max_grad_evals: Gradients per chain, and at each nβ that is tried, after which sampling ends; the trajectory
            that crosses it is finished.
        batch_size: Samples per gradient.
        subset: Sample the loss of that many samples, fixed, in place of the full one; refused where their own minimum
            lies elsewhere. With both left open, `choose_gradients` decides, and
            `estimate.settings["gradients"]` says what and why: all samples up to 4096, else a fixed subset where it is
            safe, else minibatches that guide trajectories, which all samples accept or reject, or all samples where
            they hardly accept any.
        n: Number of samples, where rows of `data` are not what counts.
        params: What to sample: names or patterns, or boolean masks by name (see `Task`); None samples all that trains.
        behavioral: Whether to measure the distance from the model's own outputs in place of the loss, see
            `behavioral_task`: every model is a minimum of that.
        seed: Of all randomness; row r of any estimate with this seed sees the same noise.
        device: Where to compute; None stays where the model is.
        compile: Whether gradients of small models are compiled by torch, which takes seconds and pays for long runs;
            they are then rounded otherwise (see `Task`).
        progress: Whether a bar is shown (on a terminal).
        observe: Functions of the model to evaluate at every draw, by name, each giving a number: `estimate.observed`
            has their posterior means, `estimate.trace.observed` all values.
        on_failure: "raise" turns every outcome but converged and budget exhausted into an `EstimationError`.

    Returns:
        The estimate with its error, diagnostics and outcome.

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
        max_grad_evals=max_grad_evals,
        seed=seed,
        batch_size=batch_size,
        subset=subset,
    )
    task = Task(model, data, loss_fn, n=n, device=device, params=params, compile=compile)
    with closing(task.samples), steady_threads(task):
        task = behavioral_task(task) if behavioral else task
        point = task.point()
        scale = choose_scale(task, point, n_beta, localization)
        settings = choose_gradients(task, point, scale, settings)
        if n_beta is None:
            held = localization is not None
            estimate = estimate_on_plateau(
                task, point, scale, settings, hold_localization=held, progress=progress, observe=observe
            )
        else:
            estimate = estimate_point(task, point, scale, settings, progress=progress, observe=observe)
    if on_failure == "raise" and not estimate.outcome.trusted:
        raise EstimationError(f"{estimate.outcome.value}: {estimate.outcome.advice}")
    return estimate
