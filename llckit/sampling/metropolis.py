"""The Metropolis test that makes a proposal exact (Metropolis et al. 1953; Hastings 1970)."""

from __future__ import annotations

import torch
from torch import Tensor

from llckit.posterior import Energy
from llckit.sampling.noise import Noise

BLOCK = 2**15  # weights of a row that are summed at a time


def metropolis(
    weights: Tensor, energy: Energy, proposal: Tensor, proposed: Energy, change: Tensor, noise: Noise
) -> tuple[Tensor, Energy, Tensor]:
    """Move each row to its proposal with probability min(1, exp(−ΔH)); what is not finite is never accepted.

    Args:
        weights: Where the rows are, shape (rows, dim).
        energy: The posterior there.
        proposal: Where they may go, shape (rows, dim); overwritten.
        proposed: The posterior there; its gradient is overwritten.
        change: ΔH, shape (rows,).
        noise: Gives one uniform number per row.

    Returns:
        Weights, their energy, and the acceptance probabilities, shape (rows,).
    """
    acceptance = acceptance_of(change)
    accept = noise.uniform() < acceptance
    return *keep(accept, proposal, proposed, weights, energy), acceptance


def acceptance_of(change: Tensor) -> Tensor:
    """min(1, exp(−ΔH)), and 0 if ΔH is not finite."""
    return torch.where(torch.isfinite(change), (-change).clamp(max=0).exp(), 0.0)


def keep(accept: Tensor, proposal: Tensor, proposed: Energy, weights: Tensor, energy: Energy) -> tuple[Tensor, Energy]:
    """The proposal and its energy in rows that accept, shape (rows,), and what was there in the others."""
    # Proposal and gradient are overwritten: for large models there is no room for another copy.
    merged = (
        torch.where(accept[:, None], new, old, out=new) if new.dim() > 1 else torch.where(accept, new, old)
        for new, old in zip(proposed, energy, strict=True)
    )
    return torch.where(accept[:, None], proposal, weights, out=proposal), Energy(*merged)


def kinetic(momentum: Tensor) -> Tensor:
    """½‖p‖² of every row, float64."""
    total = torch.zeros(len(momentum), dtype=torch.float64, device=momentum.device)
    for part in momentum.split(BLOCK, dim=1):  # a sum in float64 makes a copy of what it adds up
        total += part.square().sum(1, dtype=torch.float64)
    return 0.5 * total
