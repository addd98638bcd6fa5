"""The loss to second order at w*, for models small enough for a whole Hessian."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from llckit.geometry.find_orbit import find_orbit
from llckit.geometry.hessian import gradient_and_products, has_kink
from llckit.posterior import Checkpoint, Task

__all__ = ["Expansion", "expand"]


class Expansion(NamedTuple):
    """L(w* + x) ≈ L(w*) + gᵀx + ½ xᵀHx, with H = 0 along the symmetry orbit.

    Attributes:
        gradient: g, float64, shape (dim,).
        values: Eigenvalues of H, ascending, float64, shape (dim,).
        vectors: Eigenvectors of H as columns, float64, shape (dim, dim).
        orbit_dim: Dimension of the symmetry orbit.
        kinked: Whether the gradient jumps at w*, so that the expansion does not hold.
    """

    gradient: Tensor
    values: Tensor
    vectors: Tensor
    orbit_dim: int
    kinked: bool


def expand(task: Task, checkpoint: Checkpoint) -> Expansion:
    """The loss to second order at w*, from its whole Hessian in the task's own precision.

    Args:
        task: Model and loss, with few parameters.
        checkpoint: w* and the samples.

    Returns:
        Gradient, eigenvalues and eigenvectors, all on the CPU.

    Raises:
        InputError: The loss is not twice differentiable, or not finite.
    """
    first, second = gradient_and_products(task, checkpoint, None)
    kinked = has_kink(task, checkpoint, first)
    gradient, hessian = first.double().cpu(), second.double().cpu()
    orbit_dim, basis = find_orbit(task, checkpoint)
    if basis is not None:
        basis = basis.cpu()
        hessian = hessian - basis.T @ (basis @ hessian)
        hessian = hessian - (hessian @ basis.T) @ basis
    values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    return Expansion(gradient, values, vectors, orbit_dim, kinked)
