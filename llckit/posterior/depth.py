"""`depth_below`: how far w* lies above the minimum next to it."""

from __future__ import annotations

import torch
from torch import Tensor

from llckit.posterior.checkpoint import KEPT
from llckit.posterior.local_posterior import LocalPosterior

MAX_EVALS = 25
HISTORY_BYTES = 2**28  # of earlier steps and gradients that L-BFGS keeps
FIRST_STEP = 1e-2  # of a steepest descent, as a share of ‖w*‖
LONGER, SHORTER = 2.0, 0.25  # by which its step is multiplied after one that went down, and after one that did not


def depth_below(posterior: LocalPosterior) -> tuple[float, Tensor]:
    """nβ (L(w*) − L(ŵ)) with ŵ the minimum of U(w) = nβ (L(w) − L(w*)) + γ/2 ‖w − w*‖² next to w*.

    ŵ is where L-BFGS with a strong Wolfe line search (Nocedal & Wright 2006, chapter 7; torch's own) gets from w*
    within 25 gradients, so the depth is a lower bound. L-BFGS keeps fewer pairs of steps and gradients if all would
    need more than 256 MiB. Above four million weights steepest descent with as many gradients takes its place: it needs
    memory for four vectors, L-BFGS for sixteen.

    Args:
        posterior: A posterior of one row.

    Returns:
        The depth, at least 0 and dimensionless, and ŵ, shape (dim,).
    """
    if posterior.dim > KEPT:
        return _steepest_descent(posterior)
    weights = posterior.checkpoint.weights.clone()[None].requires_grad_()
    best, found = 0.0, posterior.checkpoint.weights.clone()
    pair = 2 * weights.numel() * weights.element_size()
    optimizer = torch.optim.LBFGS(
        [weights],
        history_size=min(MAX_EVALS, max(1, HISTORY_BYTES // pair)),
        max_iter=MAX_EVALS,
        max_eval=MAX_EVALS,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    lowest = 0.0

    def closure() -> float:
        nonlocal best, found, lowest
        energy = posterior(weights.detach())
        weights.grad = energy.grad
        potential = float(energy.potential)
        if potential < lowest:
            lowest, best, found = potential, -float(energy.excess), weights.detach()[0].clone()
        return potential

    if bool(posterior.checkpoint.loss_grad.any()):
        optimizer.step(closure)
    return best, found


def _steepest_descent(posterior: LocalPosterior) -> tuple[float, Tensor]:
    weights = posterior.checkpoint.weights[None]
    energy = posterior(weights)
    slope = float(torch.linalg.vector_norm(energy.grad, dtype=torch.float64))
    size = float(torch.linalg.vector_norm(weights, dtype=torch.float64)) or 1.0
    step = FIRST_STEP * size / slope if slope > 0 else 0.0
    for _ in range(MAX_EVALS - 1 if slope > 0 else 0):
        further = torch.sub(weights, energy.grad, alpha=step)
        there = posterior(further)
        if float(there.potential) < float(energy.potential):
            weights, energy, step = further, there, step * LONGER
        else:
            step *= SHORTER
        del further, there
    return max(0.0, -float(energy.excess)), weights[0].clone()
