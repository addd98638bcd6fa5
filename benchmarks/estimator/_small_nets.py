"""Small nets of many architectures, each with 200 samples and trained for a moment, as users have them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks._models import Transformer, mean_squared_error

SAMPLES = 200
INPUTS = 12  # of a vector
TIMES, CHANNELS = 12, 3  # of a series
PIXELS, CLASSES = 8, 3  # of an image, on a side; kinds of stripes
WIDTH = 12  # of transformers and recurrent layers; also the number of tokens that there are
NOISE = 0.2  # of targets: standard deviation, or share that is drawn at random
LEARNING_RATE = 1e-2
PASSES = 21  # of which the median is timed

Batch = tuple[Tensor, Tensor]


class Net(NamedTuple):
    """An architecture with its data.

    Attributes:
        make: Gives the model with its initial weights.
        data: Gives inputs and targets.
        loss_fn: Mean loss of a batch.
        dtype: Type of weights and of what floats among the data, after training.
        compiled: Whether the model is trained, and handed over, as `torch.compile` gives it.
    """

    make: Callable[[], nn.Module]
    data: Callable[[], Batch]
    loss_fn: Callable[[nn.Module, Any], Tensor]
    dtype: torch.dtype = torch.float32
    compiled: bool = False


class Trained(NamedTuple):
    """What `estimate_llc` takes, and what it can be compared with.

    Attributes:
        model: At w*, in training mode as training leaves it.
        data: Inputs and targets.
        loss_fn: Mean loss of a batch.
        weights: Number of parameters.
        pass_seconds: Median time of one forward and backward pass of the bare model on all samples.
    """

    model: nn.Module
    data: Batch
    loss_fn: Callable[[nn.Module, Any], Tensor]
    weights: int
    pass_seconds: float


def trained(name: str, steps: int) -> Trained:
    """One net after some steps of Adam on all samples, the same at every call.

    Args:
        name: A key of `NETS`.
        steps: Number of steps.

    Returns:
        The net.
    """
    net = NETS[name]
    torch.manual_seed(0)
    data, bare = net.data(), net.make().train()
    model: Any = torch.compile(bare) if net.compiled else bare
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    for _ in range(steps):
        optimizer.zero_grad()
        net.loss_fn(model, data).backward()
        optimizer.step()
    optimizer.zero_grad()
    inputs, targets = (x.to(net.dtype) if x.is_floating_point() else x for x in data)
    model, data = model.to(net.dtype), (inputs, targets)
    seconds = _pass_seconds(model.eval(), data, net.loss_fn)
    weights = sum(weight.numel() for weight in model.parameters())
    return Trained(model.train(), data, net.loss_fn, weights, seconds)


def _pass_seconds(model: nn.Module, data: Batch, loss_fn: Callable[[nn.Module, Any], Tensor]) -> float:
    """Median of some passes; the first, which allocates, is there but does not matter."""
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        loss_fn(model, data).backward()
        seconds.append(time.perf_counter() - start)
        model.zero_grad()
    return statistics.median(seconds)


def classes_or_tokens(model: nn.Module, batch: Any) -> Tensor:
    """Cross-entropy, mean over samples and places; models of transformers give an object that holds the logits."""
    found = model(batch[0])
    logits = found if isinstance(found, Tensor) else found.logits
    return F.cross_entropy(logits.flatten(0, -2), batch[1].flatten())


def vectors_to_values() -> Batch:
    """Normal inputs, and two noisy functions of them."""
    x = torch.randn(SAMPLES, INPUTS)
    y = torch.stack([torch.sin(x[:, 0] + x[:, 1]), x[:, 2] * torch.tanh(x[:, 3])], 1)
    return x, y + NOISE * torch.randn_like(y)


def vectors_to_classes() -> Batch:
    """Normal inputs of two classes that a curve separates; some are of the wrong one."""
    x = torch.randn(SAMPLES, INPUTS)
    y = (x[:, 0] + x[:, 1].square() - 1 > 0).long()
    return x, torch.where(torch.rand(SAMPLES) < NOISE, torch.randint(2, y.shape), y)


def images() -> Batch:
    """Horizontal, vertical and diagonal stripes of any phase under noise; shape (samples, 1, pixels, pixels)."""
    kind, phase = torch.randint(CLASSES, (SAMPLES,)), 6.3 * torch.rand(SAMPLES, 1, 1)
    row, column = torch.meshgrid(torch.arange(PIXELS), torch.arange(PIXELS), indexing="ij")
    along = torch.stack([row, column, row + column])[kind]
    stripes = torch.sin(1.5 * along + phase) + torch.randn(SAMPLES, PIXELS, PIXELS)
    wrong = torch.rand(SAMPLES) < NOISE
    return stripes[:, None], torch.where(wrong, torch.randint(CLASSES, kind.shape), kind)


def series() -> Batch:
    """Random walks, and the highest value of the first less the last value of the second; shape (samples, times, 3)."""
    x = torch.randn(SAMPLES, TIMES, CHANNELS).cumsum(1) / 2
    y = x[:, :, 0].amax(1, keepdim=True) - x[:, -1:, 1]
    return x, y + NOISE * torch.randn_like(y)


def tokens() -> Batch:
    """Sequences in which most tokens follow from the two before, and the same moved by a place."""
    x = torch.randint(WIDTH, (SAMPLES, TIMES + 1))
    for i in range(2, TIMES + 1):
        follows = (x[:, i - 1] + 5 * x[:, i - 2] + 1) % WIDTH
        x[:, i] = torch.where(torch.rand(SAMPLES) < NOISE, x[:, i], follows)
    return x[:, :-1], x[:, 1:]


class Tied(nn.Module):
    """An embedding of a token and the one before it, a hidden layer, and the same embedding as the readout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WIDTH, WIDTH)
        self.hidden = nn.Sequential(nn.Linear(2 * WIDTH, 2 * WIDTH), nn.ReLU(), nn.Linear(2 * WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, WIDTH)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (batch, places, tokens)."""
        embedded = self.embed(x)
        return self.head(self.hidden(torch.cat([embedded, F.pad(embedded, (0, 0, 1, 0))[:, :-1]], 2)))


class Recurrent(nn.Module):
    """A linear function of a recurrent layer's last output.

    Args:
        layer: `nn.LSTM` or `nn.GRU`.
    """

    def __init__(self, layer: type[nn.LSTM] | type[nn.GRU]) -> None:
        super().__init__()
        self.layer, self.head = layer(CHANNELS, WIDTH, batch_first=True), nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 1)."""
        return self.head(self.layer(x)[0][:, -1])


class Placed(nn.Module):
    """Embedded places of a series, which a layer mixes, and a linear function of their mean.

    Args:
        mixes: The layer, from (batch, times, width) to the same.
    """

    def __init__(self, mixes: nn.Module) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(CHANNELS, WIDTH), nn.Parameter(0.1 * torch.randn(TIMES, WIDTH))
        self.mixes, self.head = mixes, nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, 1)."""
        return self.head(self.mixes(self.embed(x) + self.place).mean(1))


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence to itself, with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Shape (batch, times, width) to the same."""
        return x + self.attention(x, x, x)[0]


def mlp() -> nn.Module:
    """212 weights."""
    return nn.Sequential(nn.Linear(INPUTS, 14), nn.ReLU(), nn.Linear(14, 2))


def dropout() -> nn.Module:
    """Two hidden layers with dropout."""
    layers = (nn.Sequential(nn.Linear(width, 24), nn.ReLU(), nn.Dropout(0.2)) for width in (INPUTS, 24))
    return nn.Sequential(*layers, nn.Linear(24, 2))


def convolution() -> nn.Module:
    """Two convolutions with batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 10, 3, padding=1),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, CLASSES),
    )


def encoder() -> nn.Module:
    """Two layers of `nn.TransformerEncoder`, with dropout as torch has it."""
    layer = nn.TransformerEncoderLayer(WIDTH, 2, dim_feedforward=2 * WIDTH, batch_first=True)
    return Placed(nn.TransformerEncoder(layer, 2))


def vit() -> nn.Module:
    """ViT of transformers, two layers."""
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=PIXELS,
        patch_size=4,
        num_channels=1,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        id2label={kind: str(kind) for kind in range(CLASSES)},
    )
    return ViTForImageClassification(config)


def gpt2() -> nn.Module:
    """GPT-2 of transformers, two layers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=WIDTH,
        n_positions=TIMES,
        n_embd=WIDTH,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config)


NETS = {
    "MLP": Net(mlp, vectors_to_values, mean_squared_error),
    "MLP with dropout": Net(dropout, vectors_to_classes, classes_or_tokens),
    "convolution with BatchNorm": Net(convolution, images, classes_or_tokens),
    "tied embedding": Net(Tied, tokens, classes_or_tokens),
    "LSTM": Net(lambda: Recurrent(nn.LSTM), series, mean_squared_error),
    "GRU": Net(lambda: Recurrent(nn.GRU), series, mean_squared_error),
    "MultiheadAttention": Net(lambda: Placed(SelfAttention()), series, mean_squared_error),
    "TransformerEncoder": Net(encoder, series, mean_squared_error),
    "scaled_dot_product_attention": Net(lambda: Transformer(WIDTH, WIDTH, 2, 1, TIMES), tokens, classes_or_tokens),
    "ViT of transformers": Net(vit, images, classes_or_tokens),
    "GPT-2 of transformers": Net(gpt2, tokens, classes_or_tokens),
    "MLP in bfloat16": Net(mlp, vectors_to_values, mean_squared_error, dtype=torch.bfloat16),
    "MLP by torch.compile": Net(mlp, vectors_to_values, mean_squared_error, compiled=True),
}
