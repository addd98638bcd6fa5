"""Grokking: addition modulo p from half of the pairs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from llckit.posterior import Task
from llckit.toys.training.training_run import TrainingRun, cross_entropy, initialise

__all__ = ["ModularAdditionNet", "modular_addition"]


class ModularAdditionNet(nn.Module):
    """(a, b) ↦ logits of a + b mod p: one shared embedding, one hidden ReLU layer, no output bias.

    Args:
        modulus: Modulus p.
        embedding: Width of the embedding.
        hidden: Width of the hidden layer.
    """

    def __init__(self, modulus: int = 43, embedding: int = 24, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(modulus, embedding)
        self.hidden = nn.Linear(2 * embedding, hidden)
        self.readout = nn.Linear(hidden, modulus, bias=False)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (batch, p) of integer pairs (batch, 2)."""
        return self.readout(torch.relu(self.hidden(self.embedding(pairs).flatten(-2))))


def modular_addition(modulus: int = 43, seed: int = 0) -> TrainingRun:
    """Grokking (Power et al., arXiv 2201.02177): addition mod p from half of the pairs, AdamW with weight decay 1.

    Args:
        modulus: Modulus p.
        seed: Seed of weights and split.

    Returns:
        The run: 4000 steps, with the test accuracy recorded as `test_accuracy`.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = torch.arange(modulus)
    pairs = torch.cartesian_prod(grid, grid)[torch.randperm(modulus**2, generator=generator)]
    labels = pairs.sum(1) % modulus
    half = modulus**2 // 2
    model = ModularAdditionNet(modulus)
    initialise(model, generator)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"test_accuracy": float((model(pairs[half:]).argmax(1) == labels[half:]).float().mean())}

    return TrainingRun(
        task=Task(model, (pairs[:half], labels[:half]), cross_entropy),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.98), weight_decay=1.0),
        last_step=4000,
        evaluate=evaluate,
    )
