"""Models, losses and posteriors that several benchmarks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import llckit as lk
from llckit.posterior import LocalPosterior


class Case(NamedTuple):
    """A model with one batch.

    Attributes:
        model: At w*.
        data: Inputs and targets.
        loss_fn: Mean loss of a batch.
        chains_together: Whether its chains run in one call, so that `compile=True` has something to compile.
    """

    model: nn.Module
    data: tuple[Tensor, Tensor]
    loss_fn: Callable[[Any, Any], Tensor]
    chains_together: bool = False


def local_posterior(task: lk.Task, *, n_beta: float, localization: float, rows: int) -> LocalPosterior:
    """The posterior around a task's own weights, of so many chains."""
    return LocalPosterior(task.checkpoint(), n_beta=n_beta, localization=localization, rows=rows)


def posterior_of(case: Case, rows: int, **options: Any) -> LocalPosterior:
    """The posterior of a case at nβ = 100 and γ = 1, for timing; `options` are those of its task."""
    task = lk.Task(case.model, case.data, case.loss_fn, **options)
    return local_posterior(task, n_beta=100.0, localization=1.0, rows=rows)


def mean_squared_error(model: nn.Module, batch: Any) -> Tensor:
    """Squared error, mean over samples and outputs."""
    return F.mse_loss(model(batch[0]), batch[1])


def squared_error(model: nn.Module, batch: Any) -> Tensor:
    """Squared error of each sample, summed over outputs."""
    return (model(batch[0]) - batch[1]).square().sum(1)


def product_loss(model: nn.Module, batch: object) -> Tensor:
    """‖W_L ⋯ W_1 − T‖_F² of a `LinearNet`, its population loss; the batch is not looked at."""
    return (model() - model.target).square().sum()


def own_loss(model: nn.Module, batch: object) -> Tensor:
    """The model is its own loss; the batch is not looked at."""
    return model()


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """Cross-entropy, mean over tokens."""
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def mlp(widths: Sequence[int], samples: int = 1000, *, chains_together: bool = False) -> Case:
    """ReLU layers, random inputs and random targets."""
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())][:-1]
    data = torch.randn(samples, widths[0]), torch.randn(samples, widths[-1])
    return Case(nn.Sequential(*layers), data, mean_squared_error, chains_together)


class Block(nn.Module):
    """Causal attention and an MLP, each with a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, tokens, width) to the same."""
        q, k, v = self.qkv(self.norms[0](x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class Transformer(nn.Module):
    """Blocks between an embedding and a head.

    Args:
        vocabulary: How many tokens there are.
        width: Width of the residual stream.
        heads: Heads of each block.
        blocks: Number of blocks.
        places: Longest sequence.
    """

    def __init__(self, vocabulary: int, width: int, heads: int, blocks: int, places: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, width), nn.Parameter(0.02 * torch.randn(places, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (batch, tokens, vocabulary)."""
        return self.head(self.blocks(self.embed(tokens) + self.place[: tokens.shape[1]]))


def transformer() -> Case:
    """Two blocks of width 128 on 32 sequences of 64 tokens of a vocabulary of 256."""
    tokens = torch.randint(256, (32, 65))
    return Case(Transformer(256, 128, 4, 2, 64), (tokens[:, :-1], tokens[:, 1:]), cross_entropy)


def four_sizes() -> dict[str, Callable[[], Case]]:
    """MLPs of 30, 12 thousand and 118 thousand parameters, and a transformer of half a million."""
    return {
        "MLP 4-4-2": lambda: mlp((4, 4, 2), chains_together=True),
        "MLP 64-96-64": lambda: mlp((64, 96, 64)),
        "MLP 784-128-128-10": lambda: mlp((784, 128, 128, 10)),
        "transformer": transformer,
    }


def linear_net(weights: Sequence[Tensor]) -> nn.Sequential:
    """Linear layers without biases, with these weights."""
    layers = [nn.Linear(weight.shape[1], weight.shape[0], bias=False) for weight in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.data = weight
    return nn.Sequential(*layers)


def condensed(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """As many samples as x and y have columns, of the same mean square error for every linear map from x to y.

    Args:
        x: Inputs, shape (n, inputs).
        y: Targets, shape (n, outputs).

    Returns:
        Inputs and targets of inputs + outputs samples: the error depends on second moments alone.
    """
    r = torch.linalg.qr(torch.cat([x, y], 1).double(), mode="r").R
    few = (r * math.sqrt(len(r) / len(x))).float()
    return few[:, : x.shape[1]], few[:, x.shape[1] :]
