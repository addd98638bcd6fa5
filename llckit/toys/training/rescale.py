"""From lazy to rich: how much the hidden layers of a net of width n learn, set by one exponent r."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from llckit.checks import is_finite_number, shown
from llckit.errors import InputError

__all__ = ["Rescaled", "hidden_updates", "rescale"]

LAZIEST, RICHEST = 0.0, 0.5


class Rescaled(NamedTuple):
    """A model at the initial scales of a richness r, and the learning rates that go with them.

    Attributes:
        model: Rescaled copy of the model.
        learning_rates: Learning rate of every parameter, by name, relative to that of the whole run.
    """

    model: nn.Sequential
    learning_rates: dict[str, float]

    def parameter_groups(self, learning_rate: float) -> list[dict[str, object]]:
        """Groups that `torch.optim.SGD` takes in place of `model.parameters()`, one for each parameter.

        Args:
            learning_rate: Learning rate of the whole run, the same for all widths.

        Returns:
            The groups with their learning rates, in the order of `model.parameters()`.
        """
        parameters = self.model.named_parameters()
        return [{"params": [p], "lr": learning_rate * self.learning_rates[name]} for name, p in parameters]


def rescale(model: nn.Module, richness: float) -> Rescaled:
    """Bring an MLP of the usual initial scales to the richness r: its hidden updates go as ‖Δh‖ ~ n^r with its width.

    Karkada (arXiv 2404.19719) multiplies the layers of W by g₁ ~ n^r, g₂ ~ n^{r−½}, g₃ ~ n^{−½} and draws W of scale
    n^{−r}. As plain parameters W' = gW, trained at rates g², the first, hidden and last layers have the initial scales
    n⁰, n^{−½}, n^{−½−r} and the learning rates n^{2r}, n^{2r−1}, n^{−1}. At r = 0 the net is lazy, a kernel method as
    n → ∞; at r = ½ it is rich (μP: Yang & Hu, arXiv 2011.14522).

    Weights of variance ~ 1/fan-in, such as PyTorch's own, have the first two scales already, so only the last layer
    changes, by n^{−r}. Weights have the rates n^{2r}/fan-in, in the last layer 1/fan-in; biases have n^{2r} and 1. The
    rates are meant for gradient descent that does not adapt to the size of gradients (not for Adam).

    Args:
        model: `nn.Sequential` of two or more `nn.Linear` layers, with modules without parameters in between, at its
            initial weights; it stays as it is.
        richness: Exponent r in 0 … ½.

    Returns:
        The rescaled copy and its learning rates. n is the width of the last hidden layer.

    Raises:
        InputError: The model is of another kind, or r is out of its range.
    """
    if not is_finite_number(richness) or not LAZIEST <= richness <= RICHEST:
        raise InputError(f"richness is {shown(richness)}; expected a number in 0 (lazy) … 0.5 (rich)")
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
    """How far training has moved the hidden layers: ‖Δh‖, root mean square over samples.

    Args:
        before: MLP of the kind that `rescale` takes.
        after: The same MLP after training.
        inputs: Inputs, shape (samples, features).

    Returns:
        ‖Δh‖ of each hidden layer before its activation function, the first layer first.
    """
    first, second = (_preactivations(model, inputs) for model in (before, after))
    return [float((b - a).double().square().sum(1).mean().sqrt()) for a, b in zip(first, second, strict=True)]


def _linear_layers(model: nn.Module) -> list[tuple[int, nn.Linear]]:
    children = list(model) if isinstance(model, nn.Sequential) else []
    layers = [(i, child) for i, child in enumerate(children) if isinstance(child, nn.Linear)]
    others = [child for child in children if not isinstance(child, nn.Linear) and any(True for _ in child.parameters())]
    if len(layers) < 2 or others:
        found = type(others[0] if others else model).__name__
        raise InputError(
            f"model is or holds a {found}; expected an nn.Sequential of two or more nn.Linear layers and activations "
            "without parameters"
        )
    return layers


def _preactivations(model: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Outputs of all linear layers but the last, each of shape (samples, width)."""
    layers = _linear_layers(model)
    assert isinstance(model, nn.Sequential)
    found = []
    with torch.no_grad():
        for module in model:
            inputs = module(inputs)
            if isinstance(module, nn.Linear):
                found.append(inputs)
    return found[: len(layers) - 1]
