"""Bounds on λ without sampling: the Hessian's rank from below, the symmetry orbit from above."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.geometry.hessian import gradient_and_products, has_kink
from llckit.geometry.loss_orbit import find_orbit
from llckit.geometry.rank import MAX_DENSE, MEMORY, TOLERANCE, counted, find_rank, make_task
from llckit.posterior import Checkpoint, LossFunction, Task


@dataclass(frozen=True)
class Bracket:
    """½ rank ∇²L(w*) <= λ(w*) <= ½ (dim − orbit dimension), valid where w* is a minimum of a loss that is smooth there.

    The lower bound holds since λ is at least that of the quadratic part, the upper since λ is at most half the
    codimension of any manifold of minima through w* (Watanabe, Algebraic Geometry and Statistical Learning Theory,
    2009). lower <= upper always; whether w* is a minimum, `grad_norm` and negative eigenvalues tell.
    Where the gradient jumps at w*, as with an L1 loss or a hinge, L may grow as the distance rather than its square,
    and λ is at most the whole codimension, dim − orbit dimension.

    Attributes:
        lower: ½ rank.
        upper: ½ (dim − orbit_dim), at a kink dim − orbit_dim.
        lower_finite: ½ Σ nβh/(nβh + γ) over the `rank` eigenvalues h that count, the part of the estimate at this nβ
            and γ that the quadratic directions supply; None if no nβ was given.
        rank: How many eigenvalues count, see `Rank`.
        rank_is_exact: Whether no more do; False for a lower bound, which keeps `lower` valid, only weaker.
        orbit_dim: Dimension of the symmetry orbit through w*; 0 where no symmetry is known, and for some large nets a
            lower bound, which keeps `upper` valid, only weaker (see `orbit_dim`).
        dim: Number of sampled parameters.
        eigenvalues: Of ∇²L(w*), ascending, float64, in the loss's unit, shape (dim,) up to 3000 parameters, and above
            the Ritz values found, shape (found,); 0 or missing along the orbit, where the curvature of an approximate
            minimum is the gradient's doing.
        grad_norm: ‖∇L(w*)‖.
        note: How the eigenvalues were found, in words.
    """

    lower: float
    upper: float
    lower_finite: float | None
    rank: int
    rank_is_exact: bool
    orbit_dim: int
    dim: int
    eigenvalues: Tensor
    grad_norm: float
    note: str


def bracket(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    *,
    n_beta: float | None = None,
    localization: float = 0.0,
    double: bool | None = None,
    max_bytes: int = MEMORY,
    progress: bool = True,
) -> Bracket:
    """Bounds on the learning coefficient at w* from the Hessian's rank and the known symmetries.

    Up to 3000 parameters model and floating-point data are copied to float64 and the Hessian of the mean loss over all
    samples is formed by double backward; above, its rank is found matrix-free (`hessian_rank`). Symmetries are looked
    for in the modules (`find_symmetries`) and kept where the loss itself has them: ∇L·tangent = 0 at a random point
    near w*, which regularisation, for one, breaks.

    Args:
        model: The architecture at w*, of any size.
        data: As for `Task`; for population losses anything with two or more samples.
        loss_fn: `loss_fn(model, batch)`, twice differentiable, able to work in float64 where `double` is.
        n_beta: nβ, for `lower_finite`.
        localization: γ >= 0, for `lower_finite`.
        double: Whether to work in float64; None does so up to 3000 parameters.
        max_bytes: Of the vectors kept above 3000 parameters; the more, the larger a rank can be counted.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        Both bounds and what they are made of.

    Raises:
        InputError: Impossible nβ or γ, a loss that is not finite or not twice differentiable, `max_bytes` that hold no
            four vectors, or anything that `Task` refuses.
    """
    if n_beta is not None and not (isinstance(n_beta, Real) and math.isfinite(n_beta) and n_beta > 0):
        raise InputError(f"n_beta is {n_beta!r}; expected a positive number")
    if not (isinstance(localization, Real) and math.isfinite(localization) and localization >= 0):
        raise InputError(f"localization is {localization!r}; expected a number >= 0")
    task = make_task(model, data, loss_fn, double=double)
    with closing(task.samples):
        point = task.checkpoint()
        if task.dim <= MAX_DENSE:
            local = expand(task, point)
            gradient, orbit_dim, kinked = local.gradient, local.orbit_dim, local.kinked
            found = counted(local.values, TOLERANCE, "all eigenvalues")
        else:
            gradient, _ = gradient_and_products(task, point, torch.zeros(0, task.dim))
            orbit_dim, kinked = find_orbit(task, point).dim, has_kink(task, point, gradient)
            found = find_rank(task, point, max_bytes=max_bytes, progress=progress)
    rank = min(found.rank, task.dim - orbit_dim)  # off a minimum, there may be curvature along the orbit
    kept = found.eigenvalues[len(found.eigenvalues) - rank :]
    finite = None if n_beta is None else 0.5 * float((n_beta * kept / (n_beta * kept + localization)).sum())
    return Bracket(
        lower=rank / 2,
        upper=(task.dim - orbit_dim) / (1 if kinked else 2),
        lower_finite=finite,
        rank=rank,
        rank_is_exact=found.is_exact,
        orbit_dim=orbit_dim,
        dim=task.dim,
        eigenvalues=found.eigenvalues,
        grad_norm=float(gradient.double().norm()),
        note=found.note + ("; the gradient jumps at w*, so that upper is the whole codimension" if kinked else ""),
    )


class Expansion(NamedTuple):
    """L(w* + x) ≈ L(w*) + gᵀx + ½ xᵀHx, with H = 0 along the symmetry orbit.

    Attributes:
        gradient: g, float64, shape (dim,).
        values: Eigenvalues of H, ascending, float64, shape (dim,).
        vectors: Its eigenvectors as columns, float64, shape (dim, dim).
        orbit_dim: Dimension of the orbit.
        kinked: Whether the gradient jumps at w*, so that the expansion does not hold.
    """

    gradient: Tensor
    values: Tensor
    vectors: Tensor
    orbit_dim: int
    kinked: bool


def expand(task: Task, point: Checkpoint) -> Expansion:
    """The loss to second order at w*, from its whole Hessian in the task's own precision.

    Args:
        task: Model and loss, of few parameters.
        point: w* and the samples.

    Returns:
        Gradient, eigenvalues and eigenvectors, all on the CPU.

    Raises:
        InputError: The loss is not twice differentiable, or not finite.
    """
    first, second = gradient_and_products(task, point, None)
    kinked = has_kink(task, point, first)
    gradient, hessian = first.double().cpu(), second.double().cpu()
    orbit_dim, basis = find_orbit(task, point)
    if basis is not None:
        basis = basis.cpu()
        hessian = hessian - basis.T @ (basis @ hessian)
        hessian = hessian - (hessian @ basis.T) @ basis
    values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
    return Expansion(gradient, values, vectors, orbit_dim, kinked)
