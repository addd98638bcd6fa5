"""Small training runs that show transitions: full-batch, seeded, recorded as they go."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from llckit.errors import InputError
from llckit.posterior import Task
from llckit.store import Recorder


class TrainingRun(NamedTuple):
    """A run to be trained: what a training script would hold.

    Attributes:
        task: The model at its initial weights, the training data and the loss.
        optimizer: Makes the optimizer for a model's parameters.
        last_step: Number of steps.
        evaluate: Metadata of a checkpoint beside the training loss, such as test accuracy.
    """

    task: Task
    optimizer: Callable[[Any], torch.optim.Optimizer]
    last_step: int
    evaluate: Callable[[nn.Module], dict[str, float]]


def train(run: TrainingRun, recorder: Recorder, *, progress: bool = False) -> None:
    """Train on all samples at every step, showing each step to the recorder.

    Args:
        run: What to train.
        recorder: Decides which steps are saved.
        progress: Whether a bar is shown (on a terminal).
    """
    model = run.task.model
    optimizer = run.optimizer(model.parameters())
    batch = run.task.samples.first(run.task.samples.n)
    for step in trange(run.last_step + 1, desc="training", disable=None if progress else True):
        loss = run.task.loss_fn(model, batch).mean()
        if recorder.schedule is None or step in recorder.schedule:
            with torch.no_grad():
                recorder(step, model, loss=loss.item(), **run.evaluate(model))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class ModularAdditionNet(nn.Module):
    """(a, b) ↦ logits of a + b mod p: one shared embedding, one hidden ReLU layer, no output bias."""

    def __init__(self, modulus: int = 43, embedding: int = 24, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(modulus, embedding)
        self.hidden = nn.Linear(2 * embedding, hidden)
        self.readout = nn.Linear(hidden, modulus, bias=False)

    def forward(self, pairs: Tensor) -> Tensor:
        """Logits (batch, p) of integer pairs (batch, 2)."""
        return self.readout(torch.relu(self.hidden(self.embedding(pairs).flatten(-2))))


def cross_entropy(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Cross-entropy of each sample, in nats."""
    inputs, labels = batch
    return functional.cross_entropy(model(inputs), labels, reduction="none")


def modular_addition(modulus: int = 43, seed: int = 0) -> TrainingRun:
    """Grokking (Power et al., arXiv 2201.02177): addition mod p from half of the pairs, AdamW with weight decay 1.

    Args:
        modulus: p.
        seed: Of weights and split.

    Returns:
        The run: 4000 steps, test accuracy recorded as `test_accuracy`.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = torch.arange(modulus)
    pairs = torch.cartesian_prod(grid, grid)[torch.randperm(modulus**2, generator=generator)]
    labels = pairs.sum(1) % modulus
    half = modulus**2 // 2
    model = ModularAdditionNet(modulus)
    _initialise(model, generator)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"test_accuracy": float((model(pairs[half:]).argmax(1) == labels[half:]).float().mean())}

    return TrainingRun(
        task=Task(model, (pairs[:half], labels[:half]), cross_entropy),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2, betas=(0.9, 0.98), weight_decay=1.0),
        last_step=4000,
        evaluate=evaluate,
    )


def digits(seed: int = 0) -> TrainingRun:
    """Handwritten digits, 8 x 8 (the set that scikit-learn ships), a hidden layer of 32 ReLU units, Adam.

    Args:
        seed: Of weights and split.

    Returns:
        The run: 2000 steps on 1000 images, test accuracy on the other 797.

    Raises:
        InputError: Scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise InputError("the digits come with scikit-learn: pip install llckit[demo]") from error
    generator = torch.Generator().manual_seed(seed)
    images, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
    order = torch.randperm(len(labels), generator=generator)
    images, labels = images[order].float() / 16, labels[order]
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    _initialise(model, generator)

    def evaluate(model: nn.Module) -> dict[str, float]:
        return {"test_accuracy": float((model(images[1000:]).argmax(1) == labels[1000:]).float().mean())}

    return TrainingRun(
        task=Task(model, (images[:1000], labels[:1000]), cross_entropy),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=3e-3, weight_decay=0.1),
        last_step=2000,
        evaluate=evaluate,
    )


STAIRCASE_MODES = (4.0, 2.0, 1.0, 0.5)
STAIRCASE_START = 1e-6  # so small that each mode stands on its plateau before the next one rises
STAIRCASE_WIDTHS = (5, 5, 7)


def staircase(seed: int = 0) -> TrainingRun:
    """A linear net that learns its modes one after another (Saxe, McClelland & Ganguli, arXiv 1312.6120).

    From the aligned start u_k(0) = u₀ gradient descent on ‖BA − T‖² with learning rate η follows
    u_k(t) = s e^{4sηt} / (e^{4sηt} − 1 + s/u₀): mode k rises at t_k = ln(s_k/u₀)/(4 s_k η) steps. Between rises the net
    stands at saddles of rank 0, 1, 2 …

    Args:
        seed: Of the singular vectors.

    Returns:
        The run: learning rate 2e-3, 8000 steps; the modes' strengths are recorded as `mode_0` … .
    """
    n, h, m = STAIRCASE_WIDTHS
    generator = torch.Generator().manual_seed(seed)
    left, middle, right = (
        torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0] for d in (m, h, n)
    )
    k = len(STAIRCASE_MODES)
    strengths = torch.tensor(STAIRCASE_MODES, dtype=torch.float64)
    target = left[:, :k] * strengths @ right[:, :k].T
    start = math.sqrt(STAIRCASE_START)
    model = nn.Sequential(nn.Linear(n, h, bias=False), nn.Linear(h, m, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(start * middle[:, :k] @ right[:, :k].T)  # pyright: ignore[reportArgumentType, reportCallIssue]
        model[1].weight.copy_(start * left[:, :k] @ middle[:, :k].T)  # pyright: ignore[reportArgumentType, reportCallIssue]
    inputs = torch.linalg.qr(torch.randn(1000, n, generator=generator, dtype=torch.float64))[0] * math.sqrt(1000)
    outputs = inputs @ target.T

    def evaluate(model: nn.Module) -> dict[str, float]:
        product = (model[1].weight @ model[0].weight).double()  # pyright: ignore[reportIndexIssue]
        return {f"mode_{i}": float(left[:, i] @ product @ right[:, i]) for i in range(k)}

    return TrainingRun(
        task=Task(model, (inputs.float(), outputs.float()), squared_error),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=2e-3),
        last_step=8000,
        evaluate=evaluate,
    )


def squared_error(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Squared error of each sample, summed over outputs."""
    inputs, targets = batch
    return (model(inputs) - targets).square().sum(1)


def staircase_rise(mode: int, learning_rate: float = 2e-3) -> float:
    """The step t_k = ln(s_k/u₀)/(4 s_k η) at which a mode of the staircase stands half-way.

    Args:
        mode: Which, 0 first.
        learning_rate: η.

    Returns:
        The time in steps.
    """
    strength = STAIRCASE_MODES[mode]
    return math.log(strength / STAIRCASE_START) / (4 * strength * learning_rate)


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's usual scales from our own generator, so that a run depends on its seed alone."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            if module.bias is not None:
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
