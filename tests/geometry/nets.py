"""Models, data and losses that several tests of this room use."""

import itertools
import random

import torch
from torch import nn

NO_DATA = (torch.zeros(10, 1),)  # for losses that are functions of the weights alone
VOCABULARY = 7


class Vector(nn.Module):
    """A vector of weights."""

    def __init__(self, values):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(values))


def squared_error(model, batch):
    """Mean over samples and outputs of (y − f(x))²."""
    x, y = batch
    return (model(x) - y).square().mean()


def normal(model, std=1.0):
    """The model with independent normal weights."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=std)
    return model


def two_layers(widths=(3, 4, 2), activation=nn.ReLU, bias=True):
    """Linear, activation, linear."""
    first, second = (nn.Linear(a, b, bias=bias) for a, b in itertools.pairwise(widths))
    return nn.Sequential(first, activation(), second)


def regression(n=7, dtype=torch.float64):
    """A two-layer tanh net and n samples for it, with independent normal targets."""
    torch.manual_seed(0)
    model = two_layers((3, 5, 1), nn.Tanh).to(dtype)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return model, (x.to(dtype), torch.randn(n, 1, generator=generator, dtype=torch.float64).to(dtype))


def own_teacher(model, inputs):
    """Model, data and loss for which the model's weights are a minimum: its own outputs are the targets."""
    return model, (inputs, model(inputs).detach()), squared_error


def named(model):
    """Parameters by name."""
    return dict(model.named_parameters())


def named_gradient(loss, model):
    """∂L/∂w by name."""
    weights = named(model)
    return dict(zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True))


def matrices(weights):
    """A sequence of linear layers, by their matrices."""
    return nn.ParameterList([nn.Parameter(w) for w in weights])


def without_unit(model, unit):
    """The two-layer model with a dead hidden unit: nothing goes in."""
    with torch.no_grad():
        model[0].weight[unit], model[0].bias[unit] = 0, 0
    return model


def gpt2(**settings):
    """A small GPT-2 with one layer unless told otherwise."""
    from transformers import GPT2Config, GPT2LMHeadModel

    sizes = {"vocab_size": VOCABULARY, "n_positions": 8, "n_embd": 6, "n_layer": 1, "n_head": 2, "n_inner": 5}
    return GPT2LMHeadModel(GPT2Config(**{**sizes, "bos_token_id": 0, "eos_token_id": 0} | settings))


def random_matrices(seed):
    """Matrices of random widths that can be multiplied, some of low rank, some with products of still lower rank."""
    chosen, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    widths = [chosen.randint(1, 5) for _ in range(chosen.randint(3, 6))]
    layers = []
    for n, m in itertools.pairwise(widths):
        matrix = torch.randn(m, n, generator=generator)
        for _ in range(chosen.randint(0, 2)):  # hidden units without input or output
            matrix[chosen.randrange(m)] = 0
            matrix[:, chosen.randrange(n)] = 0
        layers.append(matrix)
    return layers
