"""Bounds on λ without sampling: the Hessian's rank from below, the symmetry orbit from above."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from llckit.checks import check_integer, check_number, check_positive
from llckit.geometry.expansion import expand
from llckit.geometry.find_orbit import find_orbit
from llckit.geometry.hessian import gradient_and_products, has_kink
from llckit.geometry.rank import MAX_DENSE, MEMORY, TOLERANCE, Rank, counted, find_rank, make_task, resolution_of
from llckit.posterior import LossFunction

__all__ = ["Bracket", "bracket"]


@dataclass(frozen=True)
class Bracket:
    """½ rank ∇²L(w*) <= λ(w*) <= ½ (dim − orbit dimension), if w* is a minimum of a loss that is smooth there.

    The lower bound holds since λ is at least that of the quadratic part. The upper bound holds since λ is at most half
    the codimension of any manifold of minima through w* (Watanabe, Algebraic Geometry and Statistical Learning Theory,
    2009). lower <= upper always; `grad_norm` and `hessian.is_saddle` show whether w* is a minimum.

    If the gradient jumps at w*, as with an L1 loss or a hinge, L may grow as the distance rather than its square. Then
    λ is at most the whole codimension, dim − orbit dimension.

    Attributes:
        lower: Lower bound, ½ rank.
        upper: Upper bound, ½ (dim − orbit_dim), or dim − orbit_dim at a kink.
        lower_finite: Part of the estimate that the quadratic directions supply at this nβ and γ,
            ½ Σ nβh/(nβh + γ) over the `rank` eigenvalues h that count; None if no nβ was given.
        rank: Number of eigenvalues that count, at most dim − orbit_dim.
        orbit_dim: Dimension of the symmetry orbit through w*; 0 if no symmetry is known. For some large nets it is a
            lower bound (see `orbit_dim`), which keeps `upper` valid, only weaker.
        dim: Number of sampled parameters.
        grad_norm: ‖∇L(w*)‖, in the loss's unit.
        hessian: Rank of ∇²L(w*) as `hessian_rank` gives it, with eigenvalues. Up to 3000 parameters the eigenvalues are
            0 along the orbit, where the curvature of an approximate minimum comes from the gradient.
        has_kink: Whether the gradient jumps at w*.
    """

    lower: float
    upper: float
    lower_finite: float | None
    rank: int
    orbit_dim: int
    dim: int
    grad_norm: float
    hessian: Rank
    has_kink: bool

    @property
    def rank_is_exact(self) -> bool:
        """Whether no further eigenvalues count; if not, the rank is a lower bound and `lower` is valid, only weaker."""
        return self.hessian.is_exact

    @property
    def eigenvalues(self) -> Tensor:
        """Eigenvalues of ∇²L(w*), ascending, float64, shape (dim,); or Ritz values, shape (found,)."""
        return self.hessian.eigenvalues

    @property
    def note(self) -> str:
        """How the eigenvalues were found, and what is unusual at w*, in words."""
        kink = "; the gradient jumps at w*, so that upper is the whole codimension" if self.has_kink else ""
        return self.hessian.note + kink


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

    Up to 3000 parameters, model and floating-point data are copied to float64, and the Hessian of the mean loss over
    all samples is formed by double backward. Above that, its rank is found from Hessian-vector products
    (`hessian_rank`).

    Symmetries are looked for in the modules (`find_symmetries`). One is kept if the loss itself has it, which
    regularisation may break: ∇L must be orthogonal to its tangents at a random point near w*.

    Args:
        model: The model at w*, of any size.
        data: Data as for `Task`; for population losses, anything with two or more samples.
        loss_fn: `loss_fn(model, batch)`, twice differentiable, and able to work in float64 if `double`.
        n_beta: nβ, for `lower_finite`.
        localization: γ >= 0, for `lower_finite`.
        double: Whether to work in float64; None does so up to 3000 parameters.
        max_bytes: Bytes of the vectors kept above 3000 parameters. More bytes can count a larger rank.
        progress: Whether a bar is shown (on a terminal).

    Returns:
        Both bounds and what they are made of.

    Raises:
        InputError: nβ or γ is impossible, the loss is not finite or not twice differentiable, `max_bytes` holds no four
            vectors, or `Task` refuses something.
    """
    n_beta = None if n_beta is None else check_positive("n_beta", n_beta)
    localization = check_number("localization", localization, least=0)
    check_integer("max_bytes", max_bytes, 1)
    resolution = resolution_of(model)
    task = make_task(model, data, loss_fn, double=double)
    with closing(task.samples):
        checkpoint = task.checkpoint()
        if task.dim <= MAX_DENSE:
            local = expand(task, checkpoint)
            gradient, orbit_dim, kinked = local.gradient, local.orbit_dim, local.kinked
            hessian = counted(local.values, TOLERANCE, resolution=resolution)
        else:
            gradient, _ = gradient_and_products(task, checkpoint, torch.zeros(0, task.dim, device="cpu"))
            orbit_dim, kinked = find_orbit(task, checkpoint).dim, has_kink(task, checkpoint, gradient)
            hessian = find_rank(task, checkpoint, resolution=resolution, max_bytes=max_bytes, progress=progress)
    rank = min(hessian.rank, task.dim - orbit_dim)  # off a minimum, there may be curvature along the orbit
    h = hessian.eigenvalues[len(hessian.eigenvalues) - rank :]
    return Bracket(
        lower=rank / 2,
        upper=(task.dim - orbit_dim) / (1 if kinked else 2),
        lower_finite=None if n_beta is None else 0.5 * float((n_beta * h / (n_beta * h + localization)).sum()),
        rank=rank,
        orbit_dim=orbit_dim,
        dim=task.dim,
        grad_norm=float(gradient.double().norm()),
        hessian=hessian,
        has_kink=kinked,
    )
