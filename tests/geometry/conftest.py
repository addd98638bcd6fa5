"""Architectures with the dimension that their symmetry orbit has at generic weights, data and a loss."""

import functools
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.geometry.nets import VOCABULARY, gpt2


class Case(NamedTuple):
    model: nn.Module
    inputs: torch.Tensor
    cross_entropy: bool
    orbit_dim: int

    def loss(self, model=None):
        """Mean cross-entropy, or squared error."""
        model = self.model if model is None else model
        dtype = next(model.parameters()).dtype
        out = model(self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs)
        out = getattr(out, "logits", out)
        out = out.reshape(-1, out.shape[-1])
        targets = torch.arange(len(out)) % out.shape[-1]
        return cross_entropy(out, targets) if self.cross_entropy else (out - targets[:, None]).square().mean()


def mlp(activation, bias=True):
    layers = [nn.Linear(a, b, bias=bias) for a, b in ((6, 5), (5, 4), (4, 3))]
    return nn.Sequential(layers[0], activation(), layers[1], activation(), layers[2])


def encoder():
    layer = nn.TransformerEncoderLayer(6, 2, 5, dropout=0.0, batch_first=True)
    return nn.Sequential(nn.Linear(6, 6), layer, nn.Linear(6, 3))


def convolutions():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 4, 3),
    )


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 5, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=1, head_dim=2, **sizes))


def pythia():
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sizes = {"hidden_size": 6, "intermediate_size": 5, "num_attention_heads": 2, "num_hidden_layers": 1}
    return GPTNeoXForCausalLM(GPTNeoXConfig(vocab_size=VOCABULARY, **sizes))


VECTORS, IMAGES, TOKENS = (10, 6), (6, 1, 8, 8), (4, 5)
HEADS = 2 * (9 + 3 + 9 + 3)  # two heads of size 3: GL_3 and the key's bias, GL_3 and the value's shift
# By name: the model, the shape of its inputs, whether the loss is cross-entropy, and the orbit's dimension. It has h²
# for each hidden linear layer (and h for its shift), one for each scaled unit, one for each input (and bias) of logits.
ARCHITECTURES = {
    "linear": (functools.partial(mlp, nn.Identity), VECTORS, False, 25 + 16 + 5 + 4),
    "linear without biases": (functools.partial(mlp, nn.Identity, bias=False), VECTORS, True, 25 + 16 + 4),
    "relu": (functools.partial(mlp, nn.ReLU), VECTORS, True, 5 + 4 + 4 + 1),
    "leaky relu": (functools.partial(mlp, nn.LeakyReLU), VECTORS, False, 5 + 4),
    "tanh": (functools.partial(mlp, nn.Tanh), VECTORS, True, 4 + 1),
    "gelu": (functools.partial(mlp, nn.GELU, bias=False), VECTORS, True, 4),
    "convolutions": (convolutions, IMAGES, True, 3 + 4 + 16 + 1),
    "encoder": (encoder, (4, 5, 6), True, HEADS + 5 + 6 + 1),
    "gpt2": (
        functools.partial(gpt2, activation_function="relu", tie_word_embeddings=False),
        TOKENS,
        True,
        HEADS + 5 + 6,
    ),
    "llama": (llama, TOKENS, True, 2 * 4 + 5 + 8),
    "pythia": (pythia, TOKENS, True, 2 * (9 + 3) + 6),
}


@pytest.fixture(params=ARCHITECTURES)
def case(request):
    """An architecture at random weights of a size at which nothing saturates."""
    make, shape, is_cross_entropy, orbit_dim = ARCHITECTURES[request.param]
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.6 * torch.randn(parameter.shape))
    inputs = torch.randint(VOCABULARY, shape) if shape == TOKENS else torch.randn(shape)
    return Case(model, inputs, is_cross_entropy, orbit_dim)
