"""Jumps to wherever the localization allows: they cross the barriers at which trajectories turn back."""

from __future__ import annotations

import torch
from torch import Tensor

from llckit.posterior import Energy, LocalPosterior
from llckit.sampling.metropolis import acceptance_of, metropolis
from llckit.sampling.noise import Noise

TRIALS = 4  # of every chain, before the first step
LEAST = 0.01  # share of them that must be accepted
EVERY = 2  # steps


class Jumps:
    """Independence Metropolis moves with the localization as proposal (Hastings 1970; Tierney, Ann. Stat. 22 (1994)).

    The posterior is π(w) ∝ e^(−E(w)) q(w), with the excess E = nβ (L(w) − L(w*)) and q = N(w*, 1/γ). A jump proposes
    w′ ~ q, wherever the chain is, and is accepted with probability min(1, e^(E(w) − E(w′))). This leaves π as it is.

    Barriers do not slow jumps down. If w* is the minimum, the law of a chain k jumps after w* is within (1 − Z)^k of π
    in total variation (Mengersen & Tweedie, Ann. Stat. 24 (1996)). Here Z = E_q[e^(−E)] is the share of jumps from w*
    that are accepted. Z falls like (nβ)^(−λ), so jumps pay only if λ is small.

    Before the first step, four proposals per chain measure the share; they move nothing. If it is below 0.01, or there
    is no localization, chains never jump. Otherwise they jump before every second step.

    Args:
        posterior: Gives E, w* and γ; its rows are the chains.
        noise: Random numbers for these chains that nothing else uses. So chains that never jump move as if there were
            no jumps.

    Attributes:
        share: Share of jumps from w* that are accepted, Z at a minimum; 0 without localization, None before the first
            step.
    """

    def __init__(self, posterior: LocalPosterior, noise: Noise) -> None:
        self._posterior, self._noise, self._steps = posterior, noise, 0
        self.share: float | None = None if bool((posterior.localization > 0).all()) else 0.0

    def before_step(self, weights: Tensor, energy: Energy) -> tuple[Tensor, Energy, int]:
        """Let all chains jump, if jumps pay and it is their turn.

        Args:
            weights: Where the chains are, shape (rows, dim).
            energy: The posterior there.

        Returns:
            Weights, their energy, and the gradients that this took.
        """
        spent = 0
        if self.share is None:
            accepted = [acceptance_of(self._posterior(self._propose()).excess).mean() for _ in range(TRIALS)]
            self.share, spent = float(torch.stack(accepted).mean()), TRIALS
        self._steps += 1
        if self.share < LEAST or self._steps % EVERY:
            return weights, energy, spent
        proposal = self._propose()
        proposed = self._posterior(proposal)
        # A trajectory cannot end where a gradient is not finite, since its ΔH is not finite. A jump must not either.
        usable = proposed.grad.isfinite().all(1)
        change = torch.where(usable, proposed.excess - energy.excess, torch.inf)
        weights, energy, _ = metropolis(weights, energy, proposal, proposed, change, self._noise)
        return weights, energy, spent + 1

    def _propose(self) -> Tensor:
        center, spread = self._posterior.checkpoint.weights, self._posterior.localization.rsqrt()[:, None]
        return self._noise.normal(len(center)).mul_(spread.to(center.dtype)).add_(center)
