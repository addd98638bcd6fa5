import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.geometry import Layer, View, find_layers, find_symmetries, orbit_basis, orbit_dim, tangents
from tests.geometry.nets import named, normal, without_unit


def orbit(model):
    return orbit_dim(named(model), *find_layers(model))


def net(*modules):
    torch.manual_seed(0)
    return normal(nn.Sequential(*modules))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
@pytest.mark.parametrize("bias", [False, True])
def test_homogeneous_one_scale_for_each_hidden_unit(activation, bias):
    model = net(nn.Linear(3, 5, bias=bias), activation(), nn.Linear(5, 4, bias=bias), activation(), nn.Linear(4, 2))
    assert orbit(model) == 5 + 4


def test_a_dead_unit_does_not_move():
    model = without_unit(net(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), 1)
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


def test_parameter_lists_are_layers_only_if_they_multiply():
    def listed(*shapes):
        return nn.ParameterList([nn.Parameter(torch.randn(*shape)) for shape in shapes])

    assert find_layers(listed((4, 3), (2, 4))).kinds == ["linear"]
    assert find_layers(listed((4, 3), (4, 2))).layers == []
    assert find_layers(listed((4, 3), (4,))).layers == []


def test_tied_and_frozen_layers_contribute_nothing():
    layer = nn.Linear(3, 3)
    assert orbit(nn.Sequential(layer, nn.ReLU(), layer)) == 0
    model = net(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2), nn.ReLU(), nn.Linear(2, 2))
    moving = {name: p for name, p in model.named_parameters() if not name.startswith("0.")}
    assert orbit_dim(moving, *find_layers(model)) == 2


@pytest.mark.parametrize("between", [nn.ReLU(), nn.LeakyReLU(0.3), nn.Identity()])
def test_output_is_stationary_along_every_tangent(between):
    model = net(nn.Linear(5, 4), between, nn.Linear(4, 2)).double()
    weights = named(model)
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


def test_layers_that_do_not_fit_are_refused():
    weights = {"a": torch.randn(4, 3), "b": torch.randn(2, 5)}
    layers = [Layer("a", None), Layer("b", None)]
    with pytest.raises(InputError, match=r"kinds is \[\] for 2 layers"):
        orbit_dim(weights, layers, [])
    with pytest.raises(InputError, match="expected one of"):
        orbit_dim(weights, layers, ["tanh"])
    with pytest.raises(InputError, match=r"a \(4, 3\) is followed by b \(2, 5\)"):
        orbit_dim(weights, layers, ["linear"])
    assert orbit_dim(weights, layers, [None]) == 0
    assert orbit_dim({}, [], []) == 0


@pytest.mark.parametrize(
    ("between", "kind"),
    [
        ([], "linear"),
        ([nn.ReLU(), nn.Dropout(), nn.LeakyReLU()], "homogeneous"),
        ([nn.Tanh(), nn.Identity()], "odd"),
        ([nn.Tanh(), nn.ReLU()], "pointwise"),
        ([nn.ReLU(), nn.GELU()], "pointwise"),
        ([nn.Softplus()], "pointwise"),
        ([nn.Softmax(-1)], None),
        ([nn.ReLU(), nn.BatchNorm1d(4)], None),
        ([nn.LayerNorm(4), nn.ReLU()], None),
        ([nn.Flatten()], None),
        ([nn.MaxPool1d(1)], None),
    ],
)
def test_what_lies_between_two_layers_decides_the_group(between, kind):
    model = net(nn.Linear(3, 4), *between, nn.Linear(4, 2))
    assert [symmetry.kind for symmetry in find_symmetries(model)] == ([] if kind is None else [kind])
    expected = kind if kind in {"linear", "homogeneous"} else None
    assert find_layers(model).kinds == [expected]


def test_convolutions_and_what_follows_them():
    def kinds(*modules):
        return [symmetry.kind for symmetry in find_symmetries(nn.Sequential(*modules))]

    first, last = nn.Conv2d(1, 3, 3), nn.Linear(3 * 4, 2)
    assert kinds(first, nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(), last) == ["homogeneous"]
    assert kinds(first, nn.AvgPool2d(2), nn.Conv2d(3, 2, 3)) == ["linear"]
    assert kinds(first, nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3)) == ["pointwise"]
    assert kinds(first, nn.Flatten(2), last) == []
    assert kinds(first, nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 2, 3)) == []
    assert kinds(first, nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3)) == []
    assert find_layers(nn.Sequential(nn.Linear(2, 2), first, nn.Flatten(), last)).kinds == [None]


def test_padding_does_not_shift_with_the_channels():
    model = nn.Sequential(nn.Conv1d(2, 3, 3), nn.Conv1d(3, 2, 3, padding=1))
    (symmetry,) = find_symmetries(model)
    assert symmetry.out_bias is None
    assert orbit(model) == 0
    assert orbit_dim(named(model), [symmetry]) == 9


def test_logits_shift_where_it_is_certain_which_layer_makes_them():
    def shifted(model):
        return [s.into for s in find_symmetries(model, cross_entropy=True) if s.kind == "softmax"]

    both = (View("1.0.weight"), View("1.0.bias"))
    assert shifted(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(3, 2), nn.LogSoftmax(-1)))) == [both]
    assert shifted(nn.Sequential(nn.Linear(3, 2, bias=False))) == [(View("0.weight"),)]
    assert shifted(nn.Sequential(nn.Linear(3, 2), nn.Tanh())) == []
    assert shifted(nn.Sequential(nn.LogSoftmax(-1))) == []
    assert shifted(nn.Bilinear(2, 2, 2)) == []
    assert find_symmetries(nn.Sequential(nn.Linear(3, 2))) == []


def test_tied_layers_have_no_symmetry_of_their_own():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))
    assert len(find_symmetries(model)) == 3
    model[4].weight = model[0].weight
    assert find_symmetries(model) == []  # each of the three moves that weight
