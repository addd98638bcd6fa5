"""The symmetry orbit through w*, from those symmetries that the loss itself has."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from llckit.geometry.find_symmetries import find_symmetries
from llckit.geometry.hessian import shaken
from llckit.geometry.orbit_dim import orbit_dim
from llckit.geometry.symmetry import acts_within
from llckit.geometry.tangents import orbit_basis
from llckit.geometry.violations import violations
from llckit.posterior import Checkpoint, Task

__all__ = ["Orbit", "find_orbit"]

MAX_BASIS = 3000  # parameters up to which the tangent vectors are formed
SHAKE = 0.1  # distance from w* at which a symmetry is tried, in root mean square weights
SAMPLES = 32  # samples on which it is tried
# Largest violation of a symmetry that the loss has, a share of |∇L| |tangent|. Rounding stays far below. In float64 a
# weight decay of 1e-6 is above, in float32 one of 1e-3.
INVARIANCE = {torch.float64: 1e-8, torch.float32: 1e-5}


class Orbit(NamedTuple):
    """The orbit of the known symmetries at w*.

    Attributes:
        dim: Its dimension, or a lower bound of it (see `orbit_dim`).
        basis: An orthonormal basis of its tangent space, float64, shape (dim, weights); None above 3000 parameters.
    """

    dim: int
    basis: Tensor | None


def find_orbit(task: Task, checkpoint: Checkpoint) -> Orbit:
    """The orbit of those symmetries that the model's modules have (`find_symmetries`) and the loss itself has as well.

    The loss has a symmetry if ∇L at a random point near w* is orthogonal to all its generators (`violations`). If
    parameters are sampled in part, no symmetry is known.

    Args:
        task: Model and loss.
        checkpoint: w* and the samples.

    Returns:
        The dimension, and the basis up to 3000 parameters.
    """
    small = task.dim <= MAX_BASIS
    if task.layout.indices:
        return Orbit(0, torch.zeros(0, task.dim, dtype=torch.float64) if small else None)
    weights = task.layout.named(checkpoint.weights, {})
    symmetries = [s for s in find_symmetries(task.model, cross_entropy=True) if acts_within(s, weights)]
    if symmetries:
        moved, gradient = (task.layout.named(vector, {}) for vector in _near(task, checkpoint))
        broken = violations(moved, gradient, symmetries)
        symmetries = [s for s, size in zip(symmetries, broken, strict=True) if size <= INVARIANCE[task.dtype]]
    if not small:
        return Orbit(orbit_dim(weights, symmetries), None)
    basis = orbit_basis(weights, symmetries)
    return Orbit(len(basis), basis)


def _near(task: Task, checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """A random point near w*, and ∇L there."""
    weights = shaken(checkpoint, SHAKE).weights.requires_grad_()
    batch, _ = next(checkpoint.samples.chunks(SAMPLES))
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(task.flat_loss.mean(weights, checkpoint.fixed, batch), weights)
    return weights.detach(), gradient
