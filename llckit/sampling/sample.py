"""`sample`: a posterior and a sampler in, a `Trace` out; `Sampling`: the same, and more of it later."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from llckit.posterior import LocalPosterior
from llckit.sampling.chain_group import ChainGroup, Draw, Observe, StepRecord, chain_groups
from llckit.sampling.diagnostics import MIN_DRAWS
from llckit.sampling.sampler import Sampler
from llckit.sampling.stopping import Done, FixedDraws, Progress, Stopping, WarmUpAgain
from llckit.sampling.trace import Trace

KEPT_BYTES = 2**26  # of weights of all chains, up to which a trace holds them


def sample(
    posterior: LocalPosterior,
    sampler: Sampler,
    *,
    stopping: Stopping,
    seed: int = 0,
    num_burnin: int | None = None,
    batch_size: int | None = None,
    control: bool = True,
    progress: bool = False,
    observe: Observe | None = None,
) -> Trace:
    """Run all chains of one checkpoint from w*: a warm-up, then draws until the stopping rule is satisfied.

    The rule may ask for another warm-up, which is at least twice as long as the last and goes on from where the chains
    are. The first warm-up takes half of the budget at most. Sampling ends early if a chain leaves the finite numbers.

    Args:
        posterior: The posterior, one row per chain.
        sampler: The sampler that moves them.
        stopping: `FixedDraws` or `UntilError`; either has the budget of gradients.
        seed: Seed of all randomness.
        num_burnin: Steps of the warm-up; None takes the sampler's own number.
        batch_size: Samples per gradient; None takes all.
        control: Whether w* is a control variate of paired minibatches (`PairedMinibatches`); others always have one.
        progress: Whether a bar is shown (on a terminal).
        observe: Maps the weights (rows, dim) of a draw to values (rows,) by name, which are kept beside it.

    Returns:
        The trace.

    Raises:
        InputError: The sampler does not accept minibatches and a batch size is given.
    """
    return Sampling(
        posterior,
        sampler,
        seed=seed,
        num_burnin=num_burnin,
        batch_size=batch_size,
        control=control,
        progress=progress,
        observe=observe,
    ).until(stopping)


class Sampling:
    """Chains that can be asked for more draws when some are there; see `sample` for the arguments.

    Args:
        may_be_interrupted: Whether Ctrl-C ends sampling with the draws that are there, if there are some.

    Attributes:
        grad_evals: Gradients per chain so far.
        warm_up: Gradients per chain of the next warm-up, at the least.
    """

    def __init__(
        self,
        posterior: LocalPosterior,
        sampler: Sampler,
        *,
        seed: int,
        num_burnin: int | None,
        batch_size: int | None,
        control: bool,
        progress: bool,
        observe: Observe | None,
        may_be_interrupted: bool = False,
    ) -> None:
        groups = chain_groups(posterior, sampler, seed, batch_size, control=control)
        self._chains = _Chains(groups, observe or (lambda weights: {}))
        self._burnin = sampler.num_burnin if num_burnin is None else num_burnin
        self._min_draws, self._dim, self._progress = sampler.min_draws, posterior.dim, progress
        self._may_be_interrupted = may_be_interrupted
        self._heat_grows = control or posterior.checkpoint.is_behavioral

    @property
    def grad_evals(self) -> int:
        """Gradients per chain so far."""
        return self._chains.grad_evals

    @property
    def warm_up(self) -> int:
        """Gradients per chain of the next warm-up, at the least."""
        return self._burnin * self._chains.step_cost

    def until(self, stopping: Stopping, what: str = "sampling") -> Trace:
        """Go on until the rule is satisfied, or until Ctrl-C where that is allowed.

        Args:
            stopping: The rule; its budget is that of all draws, earlier ones included.
            what: What the bar is called.

        Returns:
            All draws.

        Raises:
            KeyboardInterrupt: That is not allowed, or there are no draws yet.
        """
        chains = self._chains
        before, off = chains.left_out + len(chains.draws), None if self._progress else True
        chains.bar = tqdm(desc=what, unit="draw", initial=before, leave=False, disable=off)
        is_interrupted = False
        with chains.bar, torch.no_grad():
            try:
                while self._draw(stopping):
                    self._burnin = 2 * max(self._burnin, len(chains.draws))
                    chains.has_warmed_up = False
            except KeyboardInterrupt:
                is_interrupted = self._may_be_interrupted and len(chains.draws) >= MIN_DRAWS
                if not is_interrupted:
                    raise
        return _trace(chains, stopping, heat_grows=self._heat_grows, is_interrupted=is_interrupted)

    def _draw(self, stopping: Stopping) -> bool:
        """Draw until sampling is over, or chains have to be warmed up again; whether they have to."""
        chains, look = self._chains, stopping.first_look(self._min_draws, self._burnin)
        if not chains.has_warmed_up:
            chains.bar.total = chains.left_out + len(chains.draws) + self._burnin + look
            chains.warm_up(self._burnin, stopping)
            if chains.draws and _is_spent(chains, stopping):
                return False  # nothing is left to draw with: the draws before this warm-up are the answer
            chains.start_drawing()
        while True:
            if chains.diverged or (_is_spent(chains, stopping) and len(chains.draws) >= MIN_DRAWS):
                return False
            if len(chains.draws) >= look:
                excess, _, virial, _, _, heat = chains.columns()
                spent = (chains.grad_evals, chains.left_out, self._burnin, chains.last.turning_length)
                verdict = stopping.judge(Progress(excess - heat, virial, self._dim, *spent))
                if isinstance(verdict, WarmUpAgain):
                    return True
                chains.drop(verdict.dropped)
                if isinstance(verdict, Done):
                    return False
                look = verdict.look
                chains.bar.total = chains.left_out + look
                chains.bar.set_postfix(llc=f"{verdict.mean:.3g}±{verdict.error:.1g}", refresh=False)
            chains.draw()


def _is_spent(chains: _Chains, stopping: Stopping) -> bool:
    return chains.grad_evals >= stopping.max_grad_evals or time.time() >= stopping.deadline


class _Chains:
    """All chains of a run, and what they have done so far.

    Args:
        groups: The chains.
        observe: Functions of the weights to keep at each draw.

    Attributes:
        bar: Shows every step.
        has_warmed_up: Whether what comes next is a draw.
        draws: The draws since the last warm-up, but for those dropped.
        grad_evals: Gradients per chain, warm-ups included.
        left_out: Steps that are not among the draws.
        last: Record of the last step.
    """

    def __init__(self, groups: Sequence[ChainGroup], observe: Observe) -> None:
        self._groups, self._observe, self.bar = groups, observe, tqdm(disable=True)
        self.has_warmed_up = False
        self.draws: list[Draw] = []
        self.grad_evals = self.left_out = 0
        self.last = StepRecord(0, 0.0, 0.0, 1.0)

    def warm_up(self, steps: int, stopping: Stopping) -> None:
        """So many steps, or fewer if the budget ends; the first warm-up may take half of it."""
        part = 1.0 if self.draws else 0.5
        now = time.time()
        until = now + part * (stopping.deadline - now)
        for _ in range(steps):
            self._count([group.warm_up() for group in self._groups])
            self.left_out += 1
            if self.grad_evals >= part * stopping.max_grad_evals or time.time() >= until:
                break

    def start_drawing(self) -> None:
        """End the warm-up, and forget the draws before it."""
        for group in self._groups:
            group.freeze()
        self.drop(len(self.draws))
        self.has_warmed_up = True

    def draw(self) -> None:
        """One draw of each chain."""
        records, parts = zip(*(group.draw(len(self.draws), self._observe) for group in self._groups), strict=True)
        self._count(records)
        self.draws.append(Draw.joined(parts))

    def drop(self, number: int) -> None:
        """Leave out the first draws."""
        self.left_out += number
        del self.draws[:number]

    @property
    def step_cost(self) -> int:
        """Gradients per chain of a step, at the least."""
        return self._groups[0].step_cost

    @property
    def diverged(self) -> bool:
        """Whether the last draw of a chain is not finite."""
        return bool(self.draws) and not np.isfinite(self.draws[-1].columns).all()

    def columns(self) -> np.ndarray:
        """The columns of all draws, shape (6, draws, chains)."""
        return np.stack([draw.columns for draw in self.draws], axis=1)

    def weights(self) -> Tensor | None:
        """Where the chains are; None if that is too much to keep."""
        parts = [group.weights for group in self._groups]
        is_small = sum(part.nbytes for part in parts) <= KEPT_BYTES
        return torch.cat(parts) if is_small else None

    def _count(self, records: Sequence[StepRecord]) -> None:
        self.last = records[0]
        self.grad_evals += self.last.grad_evals
        self.bar.update()


def _trace(chains: _Chains, stopping: Stopping, *, heat_grows: bool, is_interrupted: bool) -> Trace:
    names = chains.draws[0].observed
    return Trace(
        *chains.columns(),
        grad_evals=chains.grad_evals,
        num_burnin=chains.left_out,
        step_size=chains.last.step_size,
        turning_length=chains.last.turning_length,
        scale_ratio=chains.last.scale_ratio,
        rel_tol=stopping.rel_tol,
        diverged=chains.diverged,
        is_short=isinstance(stopping, FixedDraws) and len(chains.draws) < stopping.num_draws,
        is_cut=is_interrupted or (time.time() >= stopping.deadline and chains.grad_evals < stopping.max_grad_evals),
        is_interrupted=is_interrupted,
        heat_grows=heat_grows,
        observed={name: np.stack([draw.observed[name] for draw in chains.draws]) for name in names},
        last=chains.weights(),
    )
