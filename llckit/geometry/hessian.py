"""Second derivatives of the loss at w*: its gradient, products with its Hessian, and the Hessian itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from llckit.errors import InputError
from llckit.posterior import Checkpoint, Task

COLUMNS = 32  # of the Hessian formed at a time
MEMORY = 2**28  # bytes that one chunk of samples may keep for them
NEAR, FAR = 0.01, 0.1  # of the root mean square weight: where gradients are compared with that at w*
JUMP = 0.5  # of the change far away: near by, a gradient without a jump has changed by a tenth of it


def gradient_and_products(task: Task, point: Checkpoint, vectors: Tensor | None) -> tuple[Tensor, Tensor]:
    """∇L(w*) and ∇²L(w*) v over all samples, by double backward: one graph of ∇L serves all v.

    Args:
        task: Model and loss.
        point: w* and the samples.
        vectors: One v a row, shape (k, dim); None takes all unit vectors, k = dim.

    Returns:
        The gradient, shape (dim,), and the products, shape (k, dim), in the precision of the weights.

    Raises:
        InputError: The loss cannot be differentiated twice, or what it gives is not finite.
    """
    weights = point.weights.detach().requires_grad_()
    vectors = torch.eye(task.dim).to(weights) if vectors is None else vectors.to(weights)
    gradient, products = torch.zeros_like(point.weights), torch.zeros_like(vectors)
    # Graphs of second derivatives alive at a time:
    held = max(1, min(COLUMNS, len(vectors))) if task.flat_loss.vmaps else 1
    size = max(1, MEMORY // (held * max(1, point.bytes_per_sample)))
    for batch, length in point.samples.chunks(size):
        # Only the plain kernel of attention can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            loss = task.flat_loss.mean(weights, point.fixed, batch) * (length / point.samples.n)
            (piece,) = torch.autograd.grad(loss, weights, create_graph=True)
            gradient += piece.detach()
            if not piece.requires_grad:  # a loss linear in the weights, or one that hides its second derivative
                elsewhere = shaken(point, FAR).weights.requires_grad_()
                (other,) = torch.autograd.grad(
                    task.flat_loss.mean(elsewhere, point.fixed, batch) * (length / point.samples.n), elsewhere
                )
                if not torch.allclose(other, piece, rtol=1e-3, atol=1e-3 * float(piece.abs().max())):
                    raise InputError(
                        "the loss cannot be differentiated twice (its gradient changes, yet has no derivative); the "
                        "bracket needs its Hessian"
                    )
                continue
            for start in range(0, len(vectors), COLUMNS):
                rows = slice(start, start + COLUMNS)
                products[rows] += _products(piece, weights, vectors[rows], batched=task.flat_loss.vmaps)
    if not (torch.isfinite(gradient).all() and torch.isfinite(products).all()):
        raise InputError(
            "the gradient or the Hessian of the loss over all samples holds NaN or inf; expected finite numbers for "
            "every sample"
        )
    return gradient, products


def shaken(point: Checkpoint, share: float) -> Checkpoint:
    """The point with its weights moved in a fixed random direction.

    Args:
        point: w*.
        share: Of the root mean square weight, by which each weight moves, times a normal number.

    Returns:
        Another point.
    """
    weights = point.weights.detach()
    scale = float(weights.double().square().mean().sqrt()) or 1.0
    noise = torch.randn(weights.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return point.at(weights + share * scale * noise.to(weights))


def has_kink(task: Task, point: Checkpoint, gradient: Tensor) -> bool:
    """Whether ∇L jumps at w*, as that of an absolute value does at 0: it changes as much near by as farther away.

    Args:
        task: Model and loss.
        point: w* and the samples.
        gradient: ∇L(w*).

    Returns:
        Whether it does; False where the gradient is not finite so near, which tells nothing.
    """
    none = torch.zeros(0, task.dim)
    try:
        near, far = (
            float((gradient_and_products(task, shaken(point, share), none)[0] - gradient).double().norm())
            for share in (NEAR, FAR)
        )
    except InputError:
        return False
    return near > JUMP * far


def _products(gradient: Tensor, weights: Tensor, vectors: Tensor, *, batched: bool) -> Tensor:
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
