"""`depth_below`: how far w* lies above the minimum next to it."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from llckit.posterior.checkpoint import KEPT
from llckit.posterior.local_posterior import LocalPosterior

MAX_EVALS = 25
HISTORY_BYTES = 2**28  # of earlier steps and gradients that L-BFGS keeps
FIRST_STEP = 1e-2  # of a steepest descent, as a share of ‖w*‖
LONGER, SHORTER = 2.0, 0.25  # by which its step is multiplied after one that went down, and after one that did not


def depth_below(posterior: LocalPosterior) -> tuple[float, Tensor]:
    """nβ (L(w*) − L(ŵ)) with ŵ the minimum of U(w) = nβ (L(w) − L(w*)) + γ/2 ‖w − w*‖² next to w*.

    ŵ is where L-BFGS (Nocedal & Wright 2006, chapter 7; SciPy's L-BFGS-B) gets from w* within 25 gradients, so the
    depth is a lower bound. L-BFGS keeps fewer pairs of steps and gradients if all would need more than 256 MiB. Above
    four million weights steepest descent with as many gradients takes its place: it needs memory for four vectors.

    Args:
        posterior: A posterior of one row.

    Returns:
        The depth, at least 0 and dimensionless, and ŵ, shape (dim,).
    """
    if posterior.dim > KEPT:
        return _steepest_descent(posterior)
    start, slope = posterior.checkpoint.weights, posterior.n_beta * posterior.checkpoint.loss_grad.double()
    best, found, lowest, evals = 0.0, start.clone(), 0.0, 0
    # L-BFGS-B tries a first step of one unit: as torch's L-BFGS, g or g/‖g‖₁, whichever is shorter.
    unit = float(slope.norm() / slope.abs().sum().clamp(min=1.0))

    def potential(units: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal best, found, lowest, evals
        if evals == MAX_EVALS:  # its own limit is looked at between line searches only
            raise StopIteration
        evals += 1
        weights = start + torch.from_numpy(unit * units).to(start)
        energy = posterior(weights[None])
        if float(energy.potential) < lowest:
            lowest, best, found = float(energy.potential), -float(energy.excess), weights
        return float(energy.potential), unit * energy.grad[0].double().cpu().numpy()

    history = min(MAX_EVALS, max(1, HISTORY_BYTES // (16 * len(start))))
    if unit > 0:
        options = {"maxcor": history, "ftol": 0.0, "gtol": 0.0}
        with suppress(StopIteration):
            optimize.minimize(potential, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=options)
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
