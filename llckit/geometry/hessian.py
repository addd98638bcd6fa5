"""Second derivatives of the loss at w*: its gradient, products with its Hessian, and the Hessian itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from llckit.errors import InputError
from llckit.posterior import Checkpoint, Task

COLUMNS = 32  # Hessian-vector products formed at a time
MEMORY = 2**28  # bytes that one chunk of samples may keep for the graphs of these products
NEAR, FAR = 0.01, 0.1  # distances at which gradients are compared with ∇L(w*), in root mean square weights
JUMP = 0.5  # share of the change at FAR that counts as a jump at NEAR; a gradient without a jump has a tenth there


def gradient_and_products(task: Task, checkpoint: Checkpoint, vectors: Tensor | None) -> tuple[Tensor, Tensor]:
    """∇L(w*) and the products ∇²L(w*) v over all samples, by double backward: one graph of ∇L serves all v.

    Args:
        task: Model and loss.
        checkpoint: w* and the samples.
        vectors: The vectors v as rows, shape (k, dim); None takes all unit vectors, k = dim.

    Returns:
        The gradient, shape (dim,), and the products, shape (k, dim), in the precision of the weights.

    Raises:
        InputError: The loss cannot be differentiated twice, or a derivative is not finite.
    """
    weights = checkpoint.weights.detach().requires_grad_()
    vectors = torch.eye(task.dim, device="cpu").to(weights) if vectors is None else vectors.to(weights)
    gradient, products = torch.zeros_like(checkpoint.weights), torch.zeros_like(vectors)
    graphs = max(1, min(COLUMNS, len(vectors))) if task.flat_loss.vmaps else 1  # of second derivatives, alive at a time
    size = max(1, MEMORY // (graphs * max(1, checkpoint.bytes_per_sample)))
    for batch, length in checkpoint.samples.chunks(size):
        # Only the plain kernel of attention can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            loss = task.flat_loss.mean(weights, checkpoint.fixed, batch) * (length / checkpoint.samples.n)
            (piece,) = torch.autograd.grad(loss, weights, create_graph=True)
            gradient += piece.detach()
            if not piece.requires_grad:  # a loss linear in the weights, or one that hides its second derivative
                elsewhere = shaken(checkpoint, FAR).weights.requires_grad_()
                (other,) = torch.autograd.grad(
                    task.flat_loss.mean(elsewhere, checkpoint.fixed, batch) * (length / checkpoint.samples.n), elsewhere
                )
                if not torch.allclose(other, piece, rtol=1e-3, atol=1e-3 * float(piece.abs().max())):
                    raise InputError(_not_twice_differentiable("its gradient changes, yet has no derivative"))
                continue
            for start in range(0, len(vectors), COLUMNS):
                rows = slice(start, start + COLUMNS)
                products[rows] += _products(piece, weights, vectors[rows], batched=task.flat_loss.vmaps)
    if not (torch.isfinite(gradient).all() and torch.isfinite(products).all()):
        raise InputError(
            "the gradient or the Hessian of the loss holds NaN or inf; expected finite derivatives for every sample"
        )
    return gradient, products


def shaken(checkpoint: Checkpoint, share: float) -> Checkpoint:
    """The point with its weights moved in a fixed random direction.

    Args:
        checkpoint: w* and the samples.
        share: Size of the move: each weight moves by `share` times the root mean square weight times a normal number.

    Returns:
        The moved checkpoint.
    """
    weights = checkpoint.weights.detach()
    scale = float(weights.double().square().mean().sqrt()) or 1.0
    noise = torch.randn(weights.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64, device="cpu")
    return checkpoint.at(weights + share * scale * noise.to(weights))


def has_kink(task: Task, checkpoint: Checkpoint, gradient: Tensor) -> bool:
    """Whether ∇L jumps at w*, as the gradient of an absolute value does at 0.

    A gradient that jumps changes as much near w* as farther away.

    Args:
        task: Model and loss.
        checkpoint: w* and the samples.
        gradient: ∇L(w*).

    Returns:
        Whether it jumps; False if the gradient is not finite near w*, since nothing can be said then.
    """
    none = torch.zeros(0, task.dim, device="cpu")
    try:
        near, far = (
            float((gradient_and_products(task, shaken(checkpoint, share), none)[0] - gradient).double().norm())
            for share in (NEAR, FAR)
        )
    except InputError:
        return False
    return near > JUMP * far


def _products(gradient: Tensor, weights: Tensor, vectors: Tensor, *, batched: bool) -> Tensor:
    """Products of the Hessian with vectors, all at once or one by one."""
    try:
        if batched:
            return torch.autograd.grad(gradient, weights, vectors, retain_graph=True, is_grads_batched=True)[0]
        return torch.stack([torch.autograd.grad(gradient, weights, v, retain_graph=True)[0] for v in vectors])
    except RuntimeError as error:
        raise InputError(_not_twice_differentiable(str(error).strip().splitlines()[0])) from error


def _not_twice_differentiable(reason: str) -> str:
    return f"the loss cannot be differentiated twice ({reason}); expected a loss_fn with a Hessian"
