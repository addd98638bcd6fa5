"""Inner products of per-sample gradients, which have the spectra of the Fisher matrix and of the tangent kernel."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from llckit.errors import InputError
from llckit.geometry.effective_rank import effective_rank
from llckit.posterior import LossFunction, Task
from llckit.posterior.trees import tree_map

__all__ = ["fisher_rank", "gradient_gram"]

ROWS_BYTES = 2**30  # largest size of the per-sample gradients together


def gradient_gram(model: nn.Module, data: Any, function: LossFunction) -> Tensor:
    """The Gram matrix ∇f_i·∇f_j of one number f_i for each sample, over all parameters that train.

    * If f is the loss, the matrix divided by n has the non-zero spectrum of the empirical Fisher matrix.
    * If f is a scalar output, the matrix is the neural tangent kernel (Jacot et al., arXiv 1806.07572). Times 2/n it
      has the non-zero spectrum of the Gauss-Newton matrix of the mean squared error.

    Args:
        model: The model at w*.
        data: Data as for `Task`, n samples that can be taken one by one.
        function: `function(model, batch)` giving f for any batch, as one number per sample or as their mean.

    Returns:
        The Gram matrix, float64, shape (n, n).

    Raises:
        InputError: The gradients of all samples take more than 1 GiB together, or `Task` refuses something.
    """
    task = Task(model, data, function)
    with closing(task.samples):
        checkpoint = task.checkpoint()
        size = checkpoint.samples.n * task.dim * checkpoint.weights.element_size()
        if size > ROWS_BYTES:
            raise InputError(
                f"data is {checkpoint.samples.n} samples, whose gradients by {task.dim} parameters take "
                f"{size / 2**30:.1f} GiB; expected at most {ROWS_BYTES / 2**30:.0f} GiB; "
                f"give {ROWS_BYTES * checkpoint.samples.n // size} samples"
            )
        # Each sample is a batch of its own, so that a mean over the batch is its own value.
        batch = tree_map(lambda x: x.unsqueeze(1), checkpoint.samples.gather(torch.arange(checkpoint.samples.n)))
        gradient = grad(task.flat_loss.mean)
        with torch.enable_grad():
            if task.flat_loss.vmaps:
                rows = vmap(gradient, in_dims=(None, None, 0))(checkpoint.weights, checkpoint.fixed, batch)
            else:
                singles = (tree_map(lambda x, i=i: x[i], batch) for i in range(checkpoint.samples.n))
                rows = torch.stack([gradient(checkpoint.weights, checkpoint.fixed, single) for single in singles])
    rows = rows.detach().double()
    return rows @ rows.T


def fisher_rank(
    model: nn.Module, data: Any, loss_fn: LossFunction, rank: Callable[[Tensor], float] = effective_rank
) -> float:
    """The rank of the empirical Fisher matrix F = (1/n) Σ_i g_i g_iᵀ, where g_i is the gradient of sample i's loss.

    F has the non-zero eigenvalues of the Gram matrix g_i·g_j/n, so n × n numbers are enough (`gradient_gram`). If all
    samples are fitted exactly, the gradients vanish and so does F. The outputs' derivatives do not vanish;
    `gradient_gram` forms their Gram matrix as well.

    Args:
        model: The model at w*.
        data: Data as for `Task`, n samples.
        loss_fn: Loss as for `Task`.
        rank: `effective_rank`, `stable_rank` or another function of a matrix.

    Returns:
        The rank.
    """
    return rank(gradient_gram(model, data, loss_fn))
