import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.geometry import Layer, find_layers, orbit_basis, orbit_dim, tangents


def orbit(model: nn.Module) -> int:
    return orbit_dim(dict(model.named_parameters()), *find_layers(model))


def net(*modules: nn.Module, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    model = nn.Sequential(*modules)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
@pytest.mark.parametrize("bias", [False, True])
def test_homogeneous_one_scale_for_each_hidden_unit(activation, bias):
    model = net(nn.Linear(3, 5, bias=bias), activation(), nn.Linear(5, 4, bias=bias), activation(), nn.Linear(4, 2))
    assert orbit(model) == 5 + 4


def test_a_dead_unit_does_not_move():
    model = net(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 0
    assert orbit(model) == 5  # its outgoing weights still scale
    with torch.no_grad():
        model[2].weight[:, 1] = 0
    assert orbit(model) == 4


def test_very_unequal_units_all_count():
    model = net(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        model[0].weight[2] *= 1e3
        model[0].bias[2] *= 1e3
        model[2].weight[:, 2] *= 1e-3
    assert orbit(model) == 5


@pytest.mark.parametrize("between", [[], [nn.Identity()], [nn.Dropout(0.5)]])
def test_linear_general_linear_group_and_shifts(between):
    assert orbit(net(nn.Linear(6, 4, bias=False), *between, nn.Linear(4, 5, bias=False))) == 16
    assert orbit(net(nn.Linear(6, 4), *between, nn.Linear(4, 5, bias=False))) == 16
    assert orbit(net(nn.Linear(6, 4), *between, nn.Linear(4, 5))) == 16 + 4  # all affine maps


def test_linear_orbit_shrinks_with_the_ranks():
    model = net(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(5, 2) @ torch.randn(2, 6))
        model[1].weight.copy_(torch.randn(4, 1) @ torch.randn(1, 5))
    assert orbit(model) == 25 - (5 - 2) * (5 - 1)


def test_wide_hidden_layer_has_no_more_directions_than_weights():
    model = net(nn.Linear(1, 60, bias=False), nn.Linear(60, 1, bias=False))
    assert orbit(model) == 119  # the level set of the product


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.ReLU6, nn.Sigmoid])
def test_discrete_symmetries_span_nothing(activation):
    assert orbit(net(nn.Linear(3, 5), activation(), nn.Linear(5, 2))) == 0


def test_find_layers_in_nested_and_shared_modules():
    act = nn.ReLU()
    model = net(
        nn.Linear(2, 3), act, nn.Sequential(nn.Linear(3, 3), nn.Identity(), act), nn.Linear(3, 3), nn.Linear(3, 1)
    )
    layers, kinds = find_layers(model)
    assert layers[1] == Layer("2.0.weight", "2.0.bias")
    assert kinds == ["homogeneous", "homogeneous", "linear"]


def test_find_layers_does_not_join_what_is_not_sequential():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.net = net(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))

    assert find_layers(Two()).kinds == [None, None, "homogeneous"]
    assert orbit(nn.LSTM(3, 3)) == 0


def test_parameter_lists_are_chains_only_if_they_multiply():
    def chain(*shapes):
        return nn.ParameterList([nn.Parameter(torch.randn(*shape)) for shape in shapes])

    assert find_layers(chain((4, 3), (2, 4))).kinds == ["linear"]
    assert find_layers(chain((4, 3), (4, 2))).layers == []
    assert find_layers(chain((4, 3), (4,))).layers == []


def test_tied_and_frozen_layers_contribute_nothing():
    layer = nn.Linear(3, 3)
    assert orbit(nn.Sequential(layer, nn.ReLU(), layer)) == 0
    model = net(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2), nn.ReLU(), nn.Linear(2, 2))
    moving = {name: p for name, p in model.named_parameters() if not name.startswith("0.")}
    assert orbit_dim(moving, *find_layers(model)) == 2


@pytest.mark.parametrize("between", [nn.ReLU(), nn.LeakyReLU(0.3), nn.Identity()])
def test_output_is_stationary_along_every_tangent(between):
    model = net(nn.Linear(5, 4), between, nn.Linear(4, 2)).double()
    weights = dict(model.named_parameters())
    x = torch.randn(20, 5, dtype=torch.float64)

    def output(*values):
        return torch.func.functional_call(model, dict(zip(weights, values, strict=True)), (x,)).reshape(-1)

    jacobian = torch.autograd.functional.jacobian(output, tuple(weights.values()))
    matrix = torch.cat([block.reshape(40, -1) for block in jacobian], 1)
    (rows,) = tangents(weights, *find_layers(model))
    assert len(rows) == (20 if isinstance(between, nn.Identity) else 4)
    assert (matrix @ rows.T).abs().max() < 1e-12 * matrix.norm() * rows.norm()
    basis = orbit_basis(weights, *find_layers(model))
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(rows), dtype=torch.float64))


def test_zero_weights_do_not_move():
    model = net(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    assert orbit(model) == 0


def test_wrong_chains_are_refused():
    weights = {"a": torch.randn(4, 3), "b": torch.randn(2, 5)}
    layers = [Layer("a", None), Layer("b", None)]
    with pytest.raises(InputError, match="2 layers with kinds"):
        orbit_dim(weights, layers, [])
    with pytest.raises(InputError, match="expected one of"):
        orbit_dim(weights, layers, ["tanh"])
    with pytest.raises(InputError, match=r"a \(4, 3\) is followed by b \(2, 5\)"):
        orbit_dim(weights, layers, ["linear"])
    assert orbit_dim(weights, layers, [None]) == 0
    assert orbit_dim({}, [], []) == 0
