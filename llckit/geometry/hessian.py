"""Second derivatives of the loss at w*: its gradient, products with its Hessian, and the Hessian itself."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from llckit.errors import InputError
from llckit.posterior import Point, Task, saved_bytes

COLUMNS = 32  # of the Hessian formed at a time
MEMORY = 2**28  # bytes that one chunk of samples may keep for them


def gradient_and_products(task: Task, point: Point, vectors: Tensor | None) -> tuple[Tensor, Tensor]:
    """∇L(w*) and ∇²L(w*) v over all samples, by double backward: one graph of ∇L serves all v.

    Args:
        task: model and loss.
        point: w* and the samples.
        vectors: one v a row, shape (k, dim); None takes all unit vectors, k = dim.

    Returns:
        The gradient, shape (dim,), and the products, shape (k, dim), in the precision of the weights.

    Raises:
        InputError: the loss cannot be differentiated twice, or what it gives is not finite.
    """
    weights = point.weights.detach().requires_grad_()
    vectors = torch.eye(task.dim).to(weights) if vectors is None else vectors.to(weights)
    gradient, products = torch.zeros_like(point.weights), torch.zeros_like(vectors)
    held = max(1, min(COLUMNS, len(vectors))) if task.vmaps else 1  # graphs of second derivatives alive at a time
    size = max(1, MEMORY // (held * max(1, saved_bytes(task, point))))
    for batch, length in point.samples.chunks(size):
        # Only the plain kernel of attention can be differentiated twice.
        with sdpa_kernel(SDPBackend.MATH), torch.enable_grad():
            loss = task.loss(weights, point.fixed, batch) * (length / point.samples.n)
            (piece,) = torch.autograd.grad(loss, weights, create_graph=True)
            gradient += piece.detach()
            if not piece.requires_grad:  # a loss linear in the weights
                continue
            for start in range(0, len(vectors), COLUMNS):
                rows = slice(start, start + COLUMNS)
                products[rows] += _products(piece, weights, vectors[rows], batched=task.vmaps)
    if not (torch.isfinite(gradient).all() and torch.isfinite(products).all()):
        raise InputError(
            "the gradient or the Hessian of the loss over all samples holds NaN or inf; expected finite numbers for "
            "every sample"
        )
    return gradient, products


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
