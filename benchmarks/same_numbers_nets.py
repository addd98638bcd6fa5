"""Small models for `same_numbers.py`, each with data and a loss, and the training run that its curves are of."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import llckit as lk

Made = tuple[nn.Module, Any, Any]  # model, data, loss
FEW: dict[str, Any] = {"num_chains": 3, "num_draws": 40, "max_grad_evals": 600, "progress": False}


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Squared error of each sample, summed over outputs."""
    return (model(batch[0]) - batch[1]).square().sum(1)


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of each sample."""
    return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


def decayed(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """A loss that calls the model twice, so that it has no behavioral counterpart."""
    return squared_error(model, batch).mean() + 0.01 * model(-batch[0]).square().mean()


def drawn(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with weights drawn at a usual scale."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(values / math.sqrt(parameter.shape[-1]))
    return model


def teacher(n: int, noise: float = 0.0, dtype: torch.dtype = torch.float32) -> Made:
    """A small net that made its own labels: model, data and loss."""
    model = drawn(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).to(dtype))
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64).to(dtype)
    errors = torch.randn(n, 2, generator=generator, dtype=torch.float64).to(dtype)
    return model, (x, model(x).detach() + noise * errors), squared_error


class Branching(nn.Module):
    """A net that looks at its numbers, so that its rows cannot run in one batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs, turned round where the weights are large."""
        y = self.layer(x)
        return y if float(self.layer.weight.sum()) < 100 else -y


class Attention(nn.Module):
    """One head of attention over the tokens of a sequence, with tied embedding and readout."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.mixing = nn.MultiheadAttention(4, 1, batch_first=True)
        self.readout = nn.Linear(4, 5, bias=False)
        self.readout.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the last token's successor."""
        x = self.embedding(tokens)
        return self.readout((x + self.mixing(x, x, x, need_weights=False)[0])[:, -1])


def images() -> Made:
    """A convolution with a batch norm, and noise to classify."""
    layers = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3)
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(40, 1, 5, 5, generator=generator)
    return drawn(nn.Sequential(*layers)), (images, torch.randint(3, (40,), generator=generator)), cross_entropy


def tokens() -> Made:
    """Attention over random tokens."""
    drawn_tokens = torch.randint(5, (50, 7), generator=torch.Generator().manual_seed(3))
    return drawn(Attention()), (drawn_tokens[:, :-1], drawn_tokens[:, -1]), cross_entropy


def branching() -> Made:
    """A net that runs row by row."""
    model = drawn(Branching())
    x = torch.randn(30, 3, generator=torch.Generator().manual_seed(4))
    return model, (x, model(x).detach()), squared_error


def loader() -> Made:
    """The data of a net in a DataLoader."""
    model, data, loss_fn = teacher(70)
    return model, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=32), loss_fn


def norm(model: nn.Module) -> Tensor:
    """Something to observe: the squared norm of the weights."""
    return sum((p.square().sum() for p in model.parameters()), torch.zeros(()))


def wide() -> Made:
    """A net of more than 3000 weights, so that its Hessian is not formed."""
    model = drawn(nn.Sequential(nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 20)))
    x = torch.randn(4, 40, generator=torch.Generator().manual_seed(8))
    return model, (x, model(x).detach()), squared_error


def relu(bias: bool) -> Made:
    """A ReLU net with symmetries."""
    model = drawn(
        nn.Sequential(nn.Linear(4, 6, bias=bias), nn.ReLU(), nn.Linear(6, 6, bias=bias), nn.ReLU(), nn.Linear(6, 1))
    )
    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(9))
    return model, (x, model(x).detach()), squared_error


def million() -> Made:
    """A linear layer so large that chains run one after the other."""
    model = drawn(nn.Linear(1024, 1024))
    x = torch.randn(2, 1024, generator=torch.Generator().manual_seed(10))
    return model, (x, model(x).detach() + 0.1), squared_error


def regression() -> lk.Task:
    """The task of the recorded run."""
    return lk.Task(*teacher(150, 0.1))


TASK = f"{Path(__file__).resolve()}:regression"


@functools.cache
def trained() -> dict[int, tuple[dict[str, Tensor], dict[str, float]]]:
    """Weights and metadata of ten steps of training."""
    model, (x, y), loss_fn = teacher(150, 0.1)
    drawn(model, 11)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    schedule = lk.log_schedule(300, 10)
    found = {}
    for step in range(301):
        loss = loss_fn(model, (x, y)).mean()
        if step in schedule:
            saved = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            metadata = {"loss": loss.item(), "first": float(saved["0.bias"][0])}
            found[step] = saved, metadata
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found
