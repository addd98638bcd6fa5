"""Bounds on λ without sampling: the Hessian's rank from below, the symmetry orbit from above."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from llckit.errors import InputError
from llckit.geometry.symmetry import Chain, find_layers, orbit_basis, tangents
from llckit.posterior import Point, Task, saved_bytes
from llckit.posterior.data import Tree, tree_map
from llckit.posterior.task import LossFunction

MAX_DIM = 3000  # a dense float64 Hessian of 72 MB, whose eigenvalues take seconds
TOLERANCE = 1e-6  # of the largest eigenvalue; float32 weights leave about 1e-7 where the exact minimum has zeros
NEGATIVE_MARGIN = 10.0
COLUMNS = 32  # of the Hessian formed at a time
MEMORY = 2**28  # bytes that one chunk of samples may keep for them
SHAKE = 0.1  # of the root mean square weight: how far from w* a symmetry is tried
INVARIANCE = 1e-8  # of |∇L| |tangent|: float64 rounding is far below, a weight decay of 1e-6 above


@dataclass(frozen=True)
class Bracket:
    """½ rank ∇²L(w*) <= λ(w*) <= ½ (dim − orbit dimension), valid where w* is a minimum of L.

    The lower bound holds since λ is at least that of the quadratic part, the upper since λ is at most half the
    codimension of any manifold of minima through w* (Watanabe, Algebraic Geometry and Statistical Learning Theory,
    2009). lower <= upper always; whether w* is a minimum, `grad_norm` and negative eigenvalues tell.

    Attributes:
        lower: ½ rank.
        upper: ½ (dim − orbit_dim).
        lower_finite: ½ Σ nβh/(nβh + γ) over the `rank` eigenvalues h that count, the part of the estimate at this nβ
            and γ that the quadratic directions supply; None if no nβ was given.
        rank: how many eigenvalues count: those above 1e-6 of the largest and above 10 times the size of the most
            negative one (a minimum has none, so its size is that of the errors). Both rules leave out too many rather
            than too few, which keeps the bound valid.
        orbit_dim: dimension of the symmetry orbit through w*; 0 where no symmetry is known.
        dim: number of sampled parameters.
        eigenvalues: of ∇²L(w*), ascending, float64, shape (dim,), in the loss's unit; 0 along the orbit, where the
            curvature of an approximate minimum is the gradient's doing.
        grad_norm: ‖∇L(w*)‖.
    """

    lower: float
    upper: float
    lower_finite: float | None
    rank: int
    orbit_dim: int
    dim: int
    eigenvalues: Tensor
    grad_norm: float


def bracket(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    *,
    n_beta: float | None = None,
    localization: float = 0.0,
) -> Bracket:
    """Bounds on the learning coefficient at w* from the whole Hessian and the known symmetries.

    Model and floating-point data are copied to float64 and the Hessian of the mean loss over all samples is formed
    by double backward. Symmetries are looked for in the modules (`find_layers`) and kept where the loss itself has
    them: ∇L·tangent = 0 at a random point near w*, which regularisation, for one, breaks.

    Args:
        model: the architecture at w*, with at most 3000 parameters to sample.
        data: as for `Task`; for population losses anything with two or more samples.
        loss_fn: `loss_fn(model, batch)`, twice differentiable, able to work in float64.
        n_beta: nβ, for `lower_finite`.
        localization: γ >= 0, for `lower_finite`.

    Returns:
        Both bounds and what they are made of.

    Raises:
        InputError: too many parameters, impossible nβ or γ, a loss that is not finite or not twice differentiable, or
            anything that `Task` refuses.
    """
    _check(model, n_beta, localization)
    double = copy.deepcopy(model).double() if isinstance(model, nn.Module) else model
    task = Task(double, data, lambda model, batch: loss_fn(model, _in_double(batch)))
    point = task.point()
    gradient, hessian = _derivatives(task, point)
    chain = _verified(task, point, find_layers(task.model))
    orbit = orbit_basis(task.named(point.weights, {}), *chain).to(hessian)
    hessian = hessian - orbit.T @ (orbit @ hessian)
    hessian = hessian - (hessian @ orbit.T) @ orbit
    eigenvalues = torch.linalg.eigvalsh((hessian + hessian.T) / 2).cpu()
    low, high = float(eigenvalues[0]), float(eigenvalues[-1])
    counted = eigenvalues[eigenvalues > max(TOLERANCE * high, -NEGATIVE_MARGIN * low, 0.0)]
    finite = None
    if n_beta is not None:
        finite = 0.5 * float((n_beta * counted / (n_beta * counted + localization)).sum())
    return Bracket(
        lower=len(counted) / 2,
        upper=(task.dim - len(orbit)) / 2,
        lower_finite=finite,
        rank=len(counted),
        orbit_dim=len(orbit),
        dim=task.dim,
        eigenvalues=eigenvalues,
        grad_norm=float(gradient.norm()),
    )


def _check(model: nn.Module, n_beta: float | None, localization: float) -> None:
    if n_beta is not None and not (math.isfinite(n_beta) and n_beta > 0):
        raise InputError(f"n_beta is {n_beta!r}; expected a positive number")
    if not (math.isfinite(localization) and localization >= 0):
        raise InputError(f"localization is {localization!r}; expected a number >= 0")
    if isinstance(model, nn.Module):
        dim = sum(p.numel() for p in model.parameters() if p.requires_grad)
        if dim > MAX_DIM:
            raise InputError(
                f"the model has {dim} parameters to sample; the bracket needs the whole Hessian and takes at most "
                f"{MAX_DIM}: freeze parameters with requires_grad_(False), or use estimate_llc"
            )


def _in_double(batch: Tree) -> Tree:
    return tree_map(lambda x: x.double() if x.is_floating_point() else x, batch)


def _derivatives(task: Task, point: Point) -> tuple[Tensor, Tensor]:
    """∇L(w*) and ∇²L(w*) over all samples."""
    weights = point.weights.detach().requires_grad_()
    gradient = torch.zeros_like(weights)
    hessian = weights.new_zeros(task.dim, task.dim)
    identity = torch.eye(task.dim).to(hessian)
    size = max(1, MEMORY // (COLUMNS * max(1, saved_bytes(task, point))))
    for batch, length in point.samples.chunks(size):
        # Only the plain kernel of attention can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            loss = task.loss(weights, point.fixed, batch) * (length / point.samples.n)
            (piece,) = torch.autograd.grad(loss, weights, create_graph=True)
            gradient += piece.detach()
            if not piece.requires_grad:  # a loss linear in the weights
                continue
            for start in range(0, task.dim, COLUMNS):
                rows = slice(start, start + COLUMNS)
                hessian[rows] += _rows(piece, weights, identity[rows], batched=task.vmaps)
    if not (torch.isfinite(gradient).all() and torch.isfinite(hessian).all()):
        raise InputError(
            "the gradient or the Hessian of the loss over all samples holds NaN or inf; expected finite numbers for "
            "every sample"
        )
    return gradient, hessian


def _rows(gradient: Tensor, weights: Tensor, vectors: Tensor, *, batched: bool) -> Tensor:
    def product(vector: Tensor, is_batch: bool) -> Tensor:
        return torch.autograd.grad(gradient, weights, vector, retain_graph=True, is_grads_batched=is_batch)[0]

    try:
        if batched:
            return product(vectors, True)
        return torch.stack([product(vector, False) for vector in vectors])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the loss cannot be differentiated twice ({reason}); the bracket needs its Hessian"
        ) from error


def _verified(task: Task, point: Point, chain: Chain) -> Chain:
    """The chain without those symmetries that the loss does not have."""
    scale = float(point.weights.square().mean().sqrt()) or 1.0
    noise = torch.randn(task.dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = (point.weights.detach() + SHAKE * scale * noise.to(point.weights)).requires_grad_()
    batch, _ = next(point.samples.chunks(COLUMNS))
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(task.loss(weights, point.fixed, batch), weights)
    moves = tangents(task.named(weights.detach(), {}), *chain)
    return Chain(
        chain.layers,
        [
            kind if bool(((rows @ gradient).abs() <= INVARIANCE * rows.norm(dim=1) * gradient.norm()).all()) else None
            for kind, rows in zip(chain.kinds, moves, strict=True)
        ],
    )
