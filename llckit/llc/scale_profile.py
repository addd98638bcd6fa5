"""λ̂ against the scale of loss at which one looks: the LLC is the plateau, where there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from llckit.errors import InputError
from llckit.llc.choose_gradients import choose_gradients
from llckit.llc.estimate_checkpoint import estimate_checkpoint
from llckit.llc.ladder_limit import LEAST, Limit, ladder_limit
from llckit.llc.llc_estimate import LLCEstimate
from llckit.llc.make_task import make_task
from llckit.llc.outcome import Outcome
from llckit.llc.scale import Scale, check_ladder, choose_scale
from llckit.llc.scale_reason import NBetaRule
from llckit.llc.settings import REL_TOL, Budget, Settings
from llckit.posterior import LossFunction, Selection, Task, steady_threads
from llckit.sampling import Sampler

FLAT = 0.03  # per e-fold of nβ: |d ln λ̂ / d ln nβ| on a plateau
LEAST_FLAT = 3  # rungs of a plateau
BELOW, ABOVE, RUNGS = 10.0, 1000.0, 9  # the default ladder, around n/ln n: half a decade a rung


@dataclass(frozen=True)
class ScaleProfile:
    """λ̂ at a ladder of nβ, all at the same γ; arrays of shape (scales,).

    nβ E[L − L*] at inverse temperature nβ is the local exponent d ln V/d ln ε of the volume of weights whose loss is
    within ε ~ 1/nβ of L(w*); the learning coefficient is its limit, seen as a plateau (Watanabe 2009).

    Attributes:
        n_beta: The ladder, ascending.
        llc: λ̂ at each rung.
        mcse: Its standard error.
        llc_variance: Var[nβ L]; equal to λ̂ on a plateau.
        is_minimum: Whether w* is a minimum of the loss at that scale.
        plateau: The nβ between which λ̂ is flat: it changes by less than 3 % per e-fold, over at least three rungs that
            passed their checks and at which w* is a minimum; the longest such stretch, None if there is none.
        llc_plateau: Mean of λ̂ over the upper half of the plateau's rungs, weighted by precision, since what λ̂ lacks of
            its limit shrinks with nβ; None without one.
        localization: γ.
        estimates: The estimate at each rung.
    """

    n_beta: np.ndarray
    llc: np.ndarray
    mcse: np.ndarray
    llc_variance: np.ndarray
    is_minimum: np.ndarray
    plateau: tuple[float, float] | None
    llc_plateau: float | None
    localization: float
    estimates: tuple[LLCEstimate, ...]

    def limit(self, multiplicity: int) -> Limit:
        """What λ̂ tends to for nβ → ∞, for profiles without a plateau: see `ladder_limit`.

        Args:
            multiplicity: m, which theory has to tell.

        Returns:
            λ, its error and how well it fits, from the rungs that passed their checks.

        Raises:
            InputError: Fewer than five rungs did, or m is none of 1 to 4.
        """
        good = np.array([e.outcome.trusted for e in self.estimates])
        if good.sum() < LEAST:
            raise InputError(
                f"{good.sum()} of {len(good)} rungs passed their checks; expected at least {LEAST}: see summary()"
            )
        return ladder_limit(self.n_beta[good], self.llc[good], self.mcse[good], multiplicity)

    def summary(self) -> str:
        """A table for people.

        Returns:
            One line a rung, then the plateau.
        """
        lines = [f"{'n_beta':>10} {'llc':>9} {'± mcse':>8} {'variance':>9}  outcome"]
        lines += [
            f"{e.n_beta:10.4g} {e.llc:9.4g} {e.mcse:8.2g} {e.llc_variance:9.4g}  {e.outcome.value}"
            for e in self.estimates
        ]
        if self.plateau is None:
            lines.append("no plateau: at no decade of these scales is there one learning coefficient")
        else:
            lines.append(f"plateau from {self.plateau[0]:.4g} to {self.plateau[1]:.4g}: LLC {self.llc_plateau:.4g}")
        return "\n".join(lines)


def scale_profile(
    model: nn.Module | Task,
    data: Any = None,
    loss_fn: LossFunction | None = None,
    *,
    n_beta: Iterable[float] | None = None,
    localization: float | None = None,
    sampler: Sampler | Literal["auto"] = "auto",
    num_chains: int | None = None,
    num_draws: int | None = None,
    num_burnin: int | None = None,
    rel_tol: float = REL_TOL,
    max_grad_evals: int | None = None,
    max_seconds: float | None = None,
    batch_size: int | None = None,
    n: int | None = None,
    params: Selection = None,
    behavioral: bool = False,
    seed: int = 0,
    device: torch.device | str | None = None,
    compile: bool = False,
    progress: bool = True,
) -> ScaleProfile:
    """Estimate the LLC of one model at many scales of loss.

    Args:
        model: Model at w*, or a `Task`; see `estimate_llc`, as for all further arguments but `n_beta`.
        data: Samples.
        loss_fn: Loss.
        n_beta: The ladder; None takes 9 rungs from a tenth of n/ln n to a thousand times of it.
        localization: γ, the same at all rungs; None chooses it at n/ln n.
        sampler: "auto", or a sampler.
        num_chains: Chains per rung.
        num_draws: Draws per chain.
        num_burnin: Warm-up steps.
        rel_tol: Relative standard error to reach at each rung.
        max_grad_evals: Gradients per chain and rung.
        max_seconds: Seconds after which the call ends; rungs share them equally.
        batch_size: Samples per gradient.
        n: Number of samples.
        params: What to sample.
        behavioral: Whether to measure the distance from the model's own outputs.
        seed: Of all randomness; all rungs see the same noise.
        device: Where to compute.
        compile: Whether gradients of small models are compiled.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        The profile.

    Raises:
        InputError: Wrong input, before any sampling.
    """
    settings = Settings(
        num_chains=num_chains,
        num_draws=num_draws,
        num_burnin=num_burnin,
        sampler=sampler,
        rel_tol=rel_tol,
        budget=Budget.of(max_grad_evals, max_seconds),
        seed=seed,
        batch_size=batch_size,
    )
    task = make_task(model, data, loss_fn, n=n, device=device, params=params, compile=compile, behavioral=behavioral)
    with closing(task.samples), steady_threads(task):
        return _climb(task, settings, n_beta, localization, progress)


def _climb(
    task: Task, settings: Settings, n_beta: Iterable[float] | None, localization: float | None, progress: bool
) -> ScaleProfile:
    checkpoint = task.checkpoint()
    default = choose_scale(checkpoint, task.n, None, localization, settings.budget.affordable)
    gradients = choose_gradients(task, checkpoint, default, settings)
    reason = dataclasses.replace(default.reason, n_beta=NBetaRule.LADDER)
    ladder = default.n_beta * np.geomspace(1 / BELOW, ABOVE, RUNGS) if n_beta is None else check_ladder(n_beta)
    estimates = []
    for rung in tqdm(ladder.tolist(), desc="scales", disable=None if progress else True):
        scale = Scale(rung, default.localization, reason)
        sharing = settings.sharing(1 / (len(ladder) - len(estimates)))
        estimates.append(estimate_checkpoint(task, checkpoint, scale, gradients, sharing))
    llc, mcse = (np.array([getattr(e, name) for e in estimates]) for name in ("llc", "mcse"))
    usable = np.array([e.outcome.trusted for e in estimates])
    flat = find_plateau(ladder, llc, mcse, usable)
    upper = slice(0) if flat is None else slice((flat.start + flat.stop) // 2, flat.stop)
    return ScaleProfile(
        n_beta=ladder,
        llc=llc,
        mcse=mcse,
        llc_variance=np.array([e.llc_variance for e in estimates]),
        is_minimum=np.array([e.outcome is not Outcome.NOT_A_MINIMUM for e in estimates]),
        plateau=None if flat is None else (float(ladder[flat][0]), float(ladder[flat][-1])),
        llc_plateau=None if flat is None else float(np.average(llc[upper], weights=mcse[upper] ** -2.0)),
        localization=default.localization,
        estimates=tuple(estimates),
    )


def find_plateau(n_beta: np.ndarray, llc: np.ndarray, mcse: np.ndarray, usable: np.ndarray) -> slice | None:
    """The longest run of rungs over which λ̂ is flat.

    A run is flat if a straight line through ln λ̂ against ln nβ, weighted by the errors, has a slope below FLAT in
    size, and no pair of neighbours has one above it by more than its own two standard errors.

    Args:
        n_beta: Ascending.
        llc: λ̂.
        mcse: Its standard error.
        usable: Which rungs may take part.

    Returns:
        Which rungs, at least three; None if there is no such run.
    """
    usable = usable & (llc > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        x, y, error = np.log(n_beta), np.log(llc), mcse / llc
    best: slice | None = None
    for first in range(len(n_beta)):
        for stop in range(first + LEAST_FLAT, len(n_beta) + 1):
            rungs = slice(first, stop)
            if not usable[rungs].all():
                break
            if best is not None and stop - first < best.stop - best.start:
                continue
            step, rise = np.diff(x[rungs]), np.diff(y[rungs])
            doubt = 2 * np.hypot(error[rungs][1:], error[rungs][:-1])
            slope = np.polyfit(x[rungs], y[rungs], 1, w=1 / error[rungs])[0]
            if abs(slope) <= FLAT and (np.abs(rise) <= FLAT * step + doubt).all():
                best = rungs  # of two that are equally long, the one at the smaller scale of loss
    return best
