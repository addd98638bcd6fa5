"""The loop that turns a posterior and a sampler into a `Trace`: warm-up, draws, stopping."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from llckit.errors import InputError
from llckit.posterior import Energy, LocalPosterior, curvature
from llckit.sampling.base import Noise, Sampler
from llckit.sampling.diagnostics import MIN_DRAWS, fallen, mcse_mean, settled
from llckit.sampling.jumps import Jumps

NOISE_EVERY = 20  # draws between two measurements of the gradient's noise
VIRIAL_EVERY = 10  # … and of the virial, where a guide saves the gradients of all samples
CURVATURE_SAMPLES = 2048  # are enough for a first step size
SMALLEST = 0.1  # rel_tol is relative to at least this, so that λ near 0 can be reached
JUDGED = 150  # draws before chains can be said not to have mixed: R-hat of fewer is too noisy
LARGE = 2**20  # weights from which chains that may do so are moved one after the other
GROWTH = 1.25, 2.0  # the next look comes after the draws that seem needed, within these multiples of what is there

Observe = Callable[[Tensor], dict[str, np.ndarray]]


class _Told(NamedTuple):
    """What is kept of a step: excess, squared distance, virial and acceptance, shape (4, rows), and numbers."""

    columns: np.ndarray
    grad_evals: int
    step_size: float
    turn: float
    stretch: float
    noise: np.ndarray
    observed: dict[str, np.ndarray]


class _Lane:
    """Chains that move together: all of them, or one where weights are many and the sampler allows it.

    One after the other, chains need memory for the gradient and the noise of one, not of all.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        sampler: Sampler,
        seed: int,
        first: int,
        batch_size: int | None,
        stiffest: Callable[[], float],
    ) -> None:
        def noise(stream: int) -> Noise:
            return Noise(seed, posterior.rows, posterior.point.weights, first, stream)

        self._posterior, self._sampler, self._noise, self._batch_size = posterior, sampler, noise(0), batch_size
        self._jumps = Jumps(posterior, noise(2)) if sampler.jumps else None
        self._held = torch.full_like(posterior.n_beta, torch.nan)
        self.state = sampler.init(posterior.point.weights.repeat(posterior.rows, 1), self._potential, stiffest)

    def _potential(self, weights: Tensor) -> Energy:
        if self._sampler.guided:
            return self._posterior.without_gradient(weights)
        if self._batch_size is None:
            return self._posterior(weights)
        return self._posterior(weights, self._noise.integers(self._posterior.point.samples.n, self._batch_size))

    def _gradient_noise(self, weights: Tensor) -> np.ndarray:
        difference = self._potential(weights).grad - self._potential(weights).grad
        return difference.square().sum(1, dtype=torch.float64).cpu().numpy() / 2

    def advance(self, *, adapting: bool, virial: bool, measured: bool, observe: Observe | None) -> _Told:
        """One step, after a jump where that pays; whether to adapt and measure, and what to observe."""
        jumped = 0
        if self._jumps is not None:
            weights, energy, jumped = self._jumps.before_step(self.state.weights, self.state.energy)
            self.state = self.state._replace(weights=weights, energy=energy)
        self.state, info = self._sampler.step(self.state, self._potential, self._noise)
        if adapting:
            self.state = self._sampler.adapt(self.state, info)
        observed = {} if observe is None else observe(info.weights)
        noise = self._gradient_noise(info.weights) if measured else np.zeros(0)
        if virial:
            grad = self._posterior(info.weights).grad if self._sampler.guided else info.energy.grad
            self._held = self._posterior.along(info.weights, grad)
        columns = torch.stack((info.energy.excess, info.energy.distance2, self._held, info.acceptance))
        found = (jumped + info.grad_evals, info.step_size, info.turn, info.stretch)
        return _Told(columns.cpu().numpy(), *found, noise, observed)


@dataclass(frozen=True)
class Trace:
    """What the chains did, draw by draw; arrays (draws, chains), float64, warm-up left out.

    Attributes:
        excess: nβ (L(w) − L(w*)); its mean is the LLC.
        distance2: ‖w − w*‖².
        virial: (w − w*)·∇U(w), of mean `dim` under the exact posterior; measured at every tenth draw, and held in
            between, where a guide saves the gradients of all samples.
        acceptance: Metropolis acceptance probability.
        grad_evals: Gradients computed by each chain, warm-up included.
        num_burnin: Steps that are not among the draws: the warm-up and, where chains had not mixed, its repetitions.
        step_size: ε after warm-up.
        turn: Steps after which chains turn back, as far as the sampler knows; else 0.
        stretch: The largest scale that a weight moved on over the smallest; 1 where the sampler knows no scales.
        rel_tol: The relative error the draws were to reach, or None if their number was given.
        diverged: Whether a chain left the finite numbers.
        heat: What the noise of minibatches adds to the mean of the excess, to first order, shape (chains,); zeros where
            there is none, or where the sampler does not know.
        observed: Values of further functions of the weights at the same draws, by name.
    """

    excess: np.ndarray
    distance2: np.ndarray
    virial: np.ndarray
    acceptance: np.ndarray
    grad_evals: int
    num_burnin: int
    step_size: float
    turn: float
    stretch: float
    rel_tol: float | None
    diverged: bool
    heat: np.ndarray
    observed: dict[str, np.ndarray] = field(default_factory=dict)


def sample(
    posterior: LocalPosterior,
    sampler: Sampler,
    *,
    seed: int = 0,
    num_burnin: int | None = None,
    num_draws: int | None = None,
    rel_tol: float = 0.01,
    max_grad_evals: int,
    batch_size: int | None = None,
    progress: bool = False,
    observe: Observe | None = None,
) -> Trace:
    """Run all chains of one checkpoint from w*.

    Draws are added until their mean is known to `rel_tol`, or the budget ends, or chains have fallen below w* for good:
    there is nothing to measure then. Chains that turn out not to have mixed (see `settled`) are warmed up again where
    they are, twice as long: landscapes can be sharper away from w*. Where that would take more than half of the budget,
    the first half of the draws is left out instead.

    Args:
        posterior: The potential, one row a chain.
        sampler: How to move.
        seed: Of the noise.
        num_burnin: Warm-up steps; None takes the sampler's own number.
        num_draws: Draws per chain; None stops by `rel_tol`.
        rel_tol: The standard error to reach, relative to the mean (taken as at least 0.1).
        max_grad_evals: Gradients per chain after which sampling ends all the same.
        batch_size: Samples a gradient; None uses all.
        progress: Whether to show a bar on a terminal.
        observe: Maps the weights of a draw to values (rows,) by name, to be kept beside it.

    Returns:
        The trace.

    Raises:
        InputError: Minibatches for a sampler that needs the full loss.
    """
    if batch_size is not None and sampler.needs_full_loss and not sampler.guided:
        raise InputError(
            f"{sampler.name} compares energies of the full loss and takes no batch_size; leave it out, use baoab, or "
            "leave the sampler to the tool, which lets minibatches guide"
        )

    @functools.cache
    def stiffest() -> float:
        seen = posterior if batch_size is None else posterior.thinned(max(batch_size, CURVATURE_SAMPLES))
        largest = posterior.n_beta * curvature(seen).largest + posterior.localization
        return max(float(largest.max()), 1e-12)

    one_by_one = sampler.separable and posterior.dim >= LARGE
    if one_by_one and batch_size is not None:
        _ = posterior.loss_grad  # computed once for all chains, whose posteriors share it
    parts = [posterior.row(r) for r in range(posterior.rows)] if one_by_one else [posterior]
    lanes = [_Lane(part, sampler, seed, r, batch_size, stiffest) for r, part in enumerate(parts)]
    burnin = sampler.num_burnin if num_burnin is None else num_burnin
    records: list[np.ndarray] = []
    seen: list[dict[str, np.ndarray]] = []
    noises: list[np.ndarray] = []
    spent = warmed = 0
    diverged, step_size, turn, stretch = False, 0.0, 0.0, 1.0
    heated = batch_size is not None and sampler.heat is not None
    bar = tqdm(desc="sampling", unit="draw", leave=False, disable=None if progress else True)

    def advance(*, adapting: bool) -> np.ndarray:
        nonlocal step_size, turn, stretch, spent
        measured = not adapting and heated and len(records) % NOISE_EVERY == 0
        virial = not sampler.guided or (not adapting and len(records) % VIRIAL_EVERY == 0)
        observed = None if adapting else observe
        told = [lane.advance(adapting=adapting, virial=virial, measured=measured, observe=observed) for lane in lanes]
        step_size, turn, stretch = told[0].step_size, told[0].turn, told[0].stretch
        spent += told[0].grad_evals + 2 * measured
        if measured:
            noises.append(np.concatenate([one.noise for one in told]))
        if observe is not None and not adapting:
            seen.append({name: np.concatenate([one.observed[name] for one in told]) for name in told[0].observed})
        bar.update()
        return np.concatenate([one.columns for one in told], axis=1)

    with bar, torch.no_grad():
        done = False
        while not done:
            look = max(sampler.min_draws, burnin // 2) if num_draws is None else num_draws
            bar.total = warmed + len(records) + burnin + look
            limit = max_grad_evals if records else max_grad_evals / 2
            for _ in range(burnin):
                advance(adapting=True)
                warmed += 1
                if spent >= limit:
                    break
            if records and spent >= max_grad_evals:
                break  # nothing left to draw with: what the last round drew is the answer
            for lane in lanes:
                lane.state = sampler.freeze(lane.state)
            warmed += len(records)
            records.clear()
            seen.clear()
            noises.clear()
            mixed = True
            while mixed and not done:
                records.append(advance(adapting=False))
                diverged = not np.isfinite(records[-1]).all()
                done = diverged or len(records) == num_draws or (spent >= max_grad_evals and len(records) >= MIN_DRAWS)
                if num_draws is None and len(records) == look and not done:
                    excess, _, virial, _ = np.stack(records, axis=1)
                    mixed = settled(excess, virial, posterior.dim)
                    error, goal = mcse_mean(excess), rel_tol * max(abs(excess.mean()), SMALLEST)
                    done = (mixed and error <= goal) or fallen(excess)
                    if not mixed and len(records) < JUDGED:
                        mixed = True
                    elif not mixed:
                        warm_up = 2 * max(burnin, look) * spent / (warmed + look)
                        if spent + warm_up <= max_grad_evals / 2:
                            break
                        mixed, early = True, look // 2  # no budget for another: what came first is left out instead
                        warmed += early
                        del records[:early], seen[:early]
                    needed = 1.05 * look * (error / goal) ** 2
                    look = math.ceil(min(np.fmax(needed, GROWTH[0] * look), GROWTH[1] * look))
                    bar.total = warmed + look
                    bar.set_postfix(llc=f"{excess.mean():.3g}±{error:.1g}", refresh=False)
            burnin = 2 * max(burnin, len(records))
    return Trace(
        *np.stack(records, axis=1),
        grad_evals=spent,
        num_burnin=warmed,
        step_size=step_size,
        turn=turn,
        stretch=stretch,
        rel_tol=rel_tol if num_draws is None else None,
        diverged=diverged,
        heat=np.array([sampler.heat(step_size, noise) for noise in np.mean(noises, axis=0)])
        if sampler.heat is not None and noises
        else np.zeros(posterior.rows),
        observed={name: np.stack([values[name] for values in seen]) for name in (seen[0] if seen else ())},
    )
