"""From lazy to rich: how much the hidden layers of a net of width n learn, set by one exponent r."""

from __future__ import annotations

import copy
import itertools
import math
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llckit.errors import InputError
from llckit.posterior import Task
from llckit.toys.training import TrainingRun, squared_error

INPUTS, SAMPLES = 4, 16
LEARNING_RATE = 0.1  # below what the rich net, whose kernel grows as it learns, becomes unstable at
LAST_STEP = 100
TARGET = 1.5  # singular values: above those of the first outputs
LAZIEST, RICHEST = 0.0, 0.5


class Rescaled(NamedTuple):
    """A model at the initial scales of a richness r, and the learning rates that go with them.

    Attributes:
        model: The rescaled copy.
        learning_rates: Of every parameter, by name, relative to that of the whole run.
    """

    model: nn.Sequential
    learning_rates: dict[str, float]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """What `torch.optim.SGD` takes in place of `model.parameters()`: one group a parameter, each with its rate.

        Args:
            learning_rate: Of the whole run; the same for all widths.

        Returns:
            The groups, in the order of `model.parameters()`.
        """
        parameters = self.model.named_parameters()
        return [{"params": [p], "lr": learning_rate * self.learning_rates[name]} for name, p in parameters]


def rescale(model: nn.Module, richness: float) -> Rescaled:
    """Bring an MLP of the usual initial scales to the richness r: its hidden updates go as ‖Δh‖ ~ n^r with its width.

    Karkada (arXiv 2404.19719) multiplies the layers of W by g₁ ~ n^r, g₂ ~ n^{r−½}, g₃ ~ n^{−½} and draws W of scale
    n^{−r}. As plain parameters W' = gW, trained at rates g²: initial scales n⁰, n^{−½}, n^{−½−r} of the first, the
    hidden and the last layer, learning rates n^{2r}, n^{2r−1}, n^{−1}. At r = 0 the net is lazy, a kernel method as
    n → ∞; at r = ½ it is rich (μP: Yang & Hu, arXiv 2011.14522). The first two scales are those that weights of
    variance ~ 1/fan-in, PyTorch's own among them, have; so only the last layer changes, by n^{−r}. Rates of weights are
    n^{2r}/fan-in up to the last layer, 1/fan-in there; of biases n^{2r} and 1. They are meant for gradient descent
    without adaptation to the size of gradients (not for Adam).

    Args:
        model: `nn.Sequential` of `nn.Linear` layers, two at least, with modules without parameters in between, at its
            initial weights; it stays as it is.
        richness: r in 0 … ½.

    Returns:
        The rescaled copy and its learning rates. n is the width of the last hidden layer.

    Raises:
        InputError: Another kind of model, or r out of its range.
    """
    if isinstance(richness, bool) or not isinstance(richness, int | float) or not LAZIEST <= richness <= RICHEST:
        raise InputError(f"richness is {richness!r}; expected a number in 0 (lazy) … 0.5 (rich)")
    layers = _linear_layers(model)
    assert isinstance(model, nn.Sequential)
    model = copy.deepcopy(model)
    *hidden, (last, readout) = layers
    n = readout.in_features
    rates = {}
    for index, layer in hidden:
        rates[f"{index}.weight"] = n ** (2 * richness) / layer.in_features
        rates[f"{index}.bias"] = n ** (2 * richness)
    rates |= {f"{last}.weight": 1 / n, f"{last}.bias": 1.0}
    with torch.no_grad():
        for parameter in model[last].parameters():
            parameter.mul_(n**-richness)
    return Rescaled(model, {name: rates[name] for name, _ in model.named_parameters()})


def hidden_updates(before: nn.Module, after: nn.Module, inputs: Tensor) -> list[float]:
    """How far training has moved the hidden layers: ‖Δh‖, root mean square over samples, of each but the last layer.

    Args:
        before: MLP as for `rescale`.
        after: The same after training.
        inputs: Shape (samples, features).

    Returns:
        ‖Δh‖ of each hidden layer, before its activation function, the first layer first.
    """
    first, second = (_preactivations(model, inputs) for model in (before, after))
    return [float((b - a).double().square().sum(1).mean().sqrt()) for a, b in zip(first, second, strict=True)]


def richness_run(width: int, richness: float, *, outputs: int = 1, seed: int = 0) -> TrainingRun:
    """A three-layer linear net W₃W₂W₁ of width n at richness r, which learns a linear map from four inputs.

    Inputs are white, of ‖x‖² = 4 on average, so that at r = 0 and n → ∞ the kernel is the same in all directions.
    Inputs and target depend on `outputs` alone: the task is the same at all widths, r and seeds. A solution at which
    W₂W₁ has rank 4, as it has after training, is regular up to symmetry, since W₃ alone then moves the map in all
    directions: λ is half the number of the map's entries, 2 · `outputs`, whatever r.

    Args:
        width: n >= 4.
        richness: r in 0 … ½.
        outputs: At least 1.
        seed: Of the initial weights.

    Returns:
        The run: 100 steps of gradient descent on the mean squared error of 16 samples, to its minimum.

    Raises:
        InputError: A width or number of outputs that is too small, one of these or the seed no integer, or r out of its
            range.
    """
    whole = all(isinstance(count, Integral) and not isinstance(count, bool) for count in (width, outputs, seed))
    if not whole or width < INPUTS or outputs < 1:
        raise InputError(
            f"width {width!r}, outputs {outputs!r}, seed {seed!r}; expected integers, width >= {INPUTS}, outputs >= 1"
        )
    fixed = torch.Generator().manual_seed(0)
    inputs = math.sqrt(SAMPLES) * torch.linalg.qr(torch.randn(SAMPLES, INPUTS, generator=fixed, dtype=torch.float64))[0]
    target = torch.linalg.qr(torch.randn(max(outputs, INPUTS), INPUTS, generator=fixed, dtype=torch.float64))[0]
    targets = TARGET * inputs @ target[:outputs].T
    generator = torch.Generator().manual_seed(seed)
    widths = (INPUTS, width, width, outputs)
    model = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(widths)))
    for layer in model:
        assert isinstance(layer, nn.Linear)
        nn.init.normal_(layer.weight, std=1 / math.sqrt(layer.in_features), generator=generator)
    model, rates = rescale(model, richness)
    initial = copy.deepcopy(model)

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        groups = zip(parameters, rates.values(), strict=True)
        return torch.optim.SGD([{"params": [p], "lr": LEARNING_RATE * rate} for p, rate in groups], lr=LEARNING_RATE)

    return TrainingRun(
        task=Task(model, (inputs.float(), targets.float()), squared_error),
        optimizer=optimizer,
        last_step=LAST_STEP,
        evaluate=lambda model: {"hidden_update": hidden_updates(initial, model, inputs.float())[-1]},
    )


def _linear_layers(model: nn.Module) -> list[tuple[int, nn.Linear]]:
    children = list(model) if isinstance(model, nn.Sequential) else []
    layers = [(i, child) for i, child in enumerate(children) if isinstance(child, nn.Linear)]
    others = [child for child in children if not isinstance(child, nn.Linear) and any(True for _ in child.parameters())]
    if len(layers) < 2 or others:
        found = type(others[0] if others else model).__name__
        raise InputError(
            f"the model is or holds a {found}; expected an nn.Sequential of two or more nn.Linear layers and "
            "activations without parameters"
        )
    return layers


def _preactivations(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Outputs of all linear layers but the last."""
    layers = _linear_layers(model)
    assert isinstance(model, nn.Sequential)
    found = []
    with torch.no_grad():
        for module in model:
            inputs = module(inputs)
            if isinstance(module, nn.Linear):
                found.append(inputs)
    return found[: len(layers) - 1]
