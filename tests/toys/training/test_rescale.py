"""What `rescale` does to a model."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.toys import hidden_updates, rescale

MLP = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))


@pytest.mark.parametrize("bias", [True, False])
def test_rescaling_keeps_all_but_the_last_layer(bias):
    sizes = (3, 10, 20, 2)
    layers = [nn.Linear(a, b, bias=bias, dtype=torch.float64) for a, b in itertools.pairwise(sizes)]
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.ReLU(), layers[2])
    inputs = torch.randn(7, 3, dtype=torch.float64)
    new, rates = rescale(model, 0.25)
    torch.testing.assert_close(new(inputs), model(inputs) * 20**-0.25)
    for name, parameter in new.named_parameters():
        factor = 20**-0.25 if name.startswith("4") else 1
        torch.testing.assert_close(parameter, dict(model.named_parameters())[name] * factor)
    weights = {"0.weight": 20**0.5 / 3, "2.weight": 20**0.5 / 10, "4.weight": 1 / 20}
    biases = {"0.bias": 20**0.5, "2.bias": 20**0.5, "4.bias": 1.0} if bias else {}
    assert rates == pytest.approx(weights | biases)


def test_lazy_is_the_model_as_it_is():
    model = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 1))
    new = rescale(model, 0)
    assert new.model is not model
    for own, theirs in zip(new.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert list(new.learning_rates) == [name for name, _ in model.named_parameters()]


def test_parameter_groups_are_what_sgd_takes():
    new = rescale(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)), 0.5)
    optimizer = torch.optim.SGD(new.parameter_groups(0.1), lr=0.1)
    before = {name: p.detach().clone() for name, p in new.model.named_parameters()}
    new.model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    for name, parameter in new.model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * new.learning_rates[name] * parameter.grad)


@pytest.mark.slow
def test_the_first_layer_of_a_wide_net_moves_by_the_same_share_at_any_depth():
    """Four layers with tanh: also there ‖Δh‖ ~ n^r in every hidden layer, after one step."""
    inputs = torch.randn(5, 4)

    def updates(width, richness):
        found = []
        for seed in range(8):
            torch.manual_seed(seed)
            sizes = (4, width, width, width, 1)
            layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())][:-1]
            new = rescale(nn.Sequential(*layers), richness)
            before = copy.deepcopy(new.model)
            optimizer = torch.optim.SGD(new.parameter_groups(0.1), lr=0.1)
            (new.model(inputs) - 1).square().mean().backward()
            optimizer.step()
            found.append(hidden_updates(before, new.model, inputs))
        return np.log(found).mean(0)

    for richness in (0, 0.5):
        slopes = (updates(1024, richness) - updates(128, richness)) / np.log(8)
        assert len(slopes) == 3
        assert np.abs(slopes - richness).max() < 0.1


@pytest.mark.parametrize(
    "call",
    [
        lambda: rescale(MLP, 0.6),
        lambda: rescale(MLP, -0.1),
        lambda: rescale(MLP, True),
        lambda: rescale(nn.Linear(3, 5), 0.5),
        lambda: rescale(nn.Sequential(nn.Linear(3, 5), nn.Tanh()), 0.5),
        lambda: rescale(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 1)), 0.5),
        lambda: hidden_updates(nn.ReLU(), nn.ReLU(), torch.zeros(2, 3)),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
