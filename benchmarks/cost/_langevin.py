"""SGLD and RMSProp-SGLD on deep linear nets, all step sizes and chains as rows of one computation.

w ← w − ε/2 G (nβ ∇L_B + γ (w − w*)) + √(εG) η. For SGLD G = 1; for RMSProp-SGLD G = 1/(√v̂ + 0.1), v̂ = v/(1 − bᵗ),
v ← b v + (1 − b) ∇L_B² from v = 1, b = 0.99. A draw has the excess nβ (L_B(w) − L(w*)), with L(w*) on all samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from llckit.toys import deepest_point

BATCH, BURNIN = 512, 0.2  # samples of a minibatch, and the share of draws that is warm-up
STEP_SIZES = {"SGLD": [1e-6 * 2**k for k in range(6)], "RMSProp-SGLD": [2.5e-7 * 2**k for k in range(6)]}
DECAY, EPS = 0.99, 0.1  # of RMSProp, as published


class Net(NamedTuple):
    """A deep linear net W_L ⋯ W_1 = T at w*, with its samples.

    Attributes:
        weights: The layers, the first one first.
        target: T.
        x: Inputs, shape (n, inputs).
        residual: e = y − Tx, shape (n, outputs); no columns if it is zero.
    """

    weights: list[Tensor]
    target: Tensor
    x: Tensor
    residual: Tensor


def make_net(seed: int, widths: Sequence[int], rank: int, n: int, *, noise: bool) -> Net:
    """Make weights and samples.

    Args:
        seed: Of both.
        widths: Inputs, hidden layers, outputs.
        rank: Rank of each layer and of the product.
        n: Number of samples.
        noise: Whether labels have noise of variance 1. Its fit by least squares is taken off, so that w* is the
            empirical minimum.

    Returns:
        The net.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, widths[0], generator=generator, dtype=torch.float64)
    residual = torch.randn(n, widths[-1] if noise else 0, generator=generator, dtype=torch.float64)
    residual -= x @ torch.linalg.lstsq(x, residual).solution
    weights = deepest_point(widths, rank, seed)
    return Net(weights, torch.linalg.multi_dot(weights[::-1]), x.float(), residual.float())


def gradients(weights: list[Tensor], target: Tensor, moments: Tensor, cross: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Mean of ‖(M − T) x − e‖² − ‖e‖², M = W_L ⋯ W_1, and its gradients, row by row.

    Args:
        weights: Layers, shape (rows, outputs, inputs) each.
        target: T.
        moments: Means of x xᵀ, shape (rows, inputs, inputs).
        cross: Means of e xᵀ, shape (rows, outputs, inputs); no rows if e = 0.

    Returns:
        Losses, shape (rows,), and a gradient for each layer.
    """
    inputs = [weights[0]]
    for weight in weights[1:]:
        inputs.append(weight @ inputs[-1])
    away = inputs.pop() - target
    half = away @ moments
    losses = (away * half).sum((1, 2))
    if len(cross):
        losses -= 2 * (away * cross).sum((1, 2))
        half -= cross
    back, grads = 2 * half, []
    for weight, before in zip(weights[:0:-1], inputs[::-1], strict=True):
        grads.append(back @ before.mT)
        back = weight.mT @ back
    return losses, [back, *grads[::-1]]


def run_langevin(
    net: Net, seed: int, steps: Sequence[int], chains: int, scale: Mapping[str, float]
) -> dict[str, list[list[float]]]:
    """λ̂ by sampler, step size and number of steps.

    Only second moments of a minibatch matter. The two samplers share minibatches and noise; chains and sizes do not.

    Args:
        net: At w*.
        seed: Of minibatches and noise.
        steps: Ascending numbers of steps, the first fifth of each being warm-up.
        chains: Chains of each step size.
        scale: nβ and γ.

    Returns:
        For each sampler a list over step sizes of lists over `steps`.
    """
    rows = chains * len(STEP_SIZES["SGLD"])
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([*STEP_SIZES["SGLD"], *STEP_SIZES["RMSProp-SGLD"]]).repeat_interleave(chains)[:, None, None]
    weights = [weight.repeat(2 * rows, 1, 1) for weight in net.weights]
    squares = [torch.ones(rows, *weight.shape) for weight in net.weights]
    columns, width, norms = torch.cat([net.x, net.residual], 1), net.x.shape[1], net.residual.square().sum(1)
    norms -= norms.mean()  # which is L(w*)
    excess = torch.empty(steps[-1], 2 * rows, dtype=torch.float64)
    for step in range(steps[-1]):
        indices = torch.randint(len(columns), (rows, BATCH), generator=generator)
        batch = columns.index_select(0, indices.flatten()).view(rows, BATCH, -1)
        moments = (batch.mT @ batch[..., :width] / BATCH).repeat(2, 1, 1)
        cross = moments[:, width:] if net.residual.shape[1] else moments[:0]
        losses, grads = gradients(weights, net.target, moments[:, :width], cross)
        excess[step] = scale["n_beta"] * (losses + norms[indices].mean(1).repeat(2))
        for weight, grad, square, center in zip(weights, grads, squares, net.weights, strict=True):
            square.mul_(DECAY).addcmul_(grad[rows:], grad[rows:], value=1 - DECAY)
            scaled = sizes.repeat(1, *center.shape)
            scaled[rows:] /= (square / (1 - DECAY ** (step + 1))).sqrt_() + EPS
            force = (weight - center).mul_(scale["localization"]).add_(grad, alpha=scale["n_beta"])
            weight.addcmul_(scaled, force, value=-0.5)
            weight.addcmul_(scaled.sqrt_(), torch.empty_like(square).normal_(generator=generator).repeat(2, 1, 1))
    by_size = excess.view(steps[-1], 2, -1, chains).mean(3)
    means = torch.stack([by_size[int(BURNIN * budget) : budget].mean(0) for budget in steps], 2).tolist()
    return dict[str, Any](zip(STEP_SIZES, means, strict=True))
