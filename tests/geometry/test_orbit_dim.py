import random
import sys

import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.geometry import (
    Heads,
    Layer,
    Symmetry,
    View,
    attention_symmetries,
    chain_symmetries,
    find_symmetries,
    orbit_basis,
    orbit_dim,
    tangents,
    transform,
)
from llckit.toys import ModularAdditionNet, deepest_point, two_layer_point
from tests.geometry.nets import matrices, named, named_gradient, random_matrices, two_layers, without_unit


def dims(model, symmetries=None, cross_entropy=False):
    """The orbit's dimension as it is counted, which has to be the rank of the tangent vectors."""
    weights = named(model)
    symmetries = find_symmetries(model, cross_entropy=cross_entropy) if symmetries is None else symmetries
    counted = orbit_dim(weights, symmetries)
    assert counted == len(orbit_basis(weights, symmetries))
    return counted


@pytest.mark.slow
def test_generic_dimension_is_that_of_the_table(case):
    assert dims(case.model, cross_entropy=case.cross_entropy) == case.orbit_dim


def test_the_loss_is_stationary_along_every_tangent(case):
    model = case.model.double()
    weights = named(model)
    gradient = torch.cat([g.reshape(-1) for g in named_gradient(case.loss(model), model).values()])
    symmetries = find_symmetries(model, cross_entropy=case.cross_entropy)
    for rows in tangents(weights, symmetries):
        assert ((rows @ gradient).abs() <= 1e-12 * rows.norm(dim=1) * gradient.norm()).all()
    random_direction = torch.randn(len(gradient), dtype=torch.float64)
    assert abs(random_direction @ gradient) > 1e-6 * random_direction.norm() * gradient.norm()


@pytest.mark.parametrize("seed", range(40))
def test_linear_layers_of_any_ranks(seed):
    weights = named(matrices(random_matrices(seed)))
    symmetries = find_symmetries(matrices(random_matrices(seed)))
    assert orbit_dim(weights, symmetries) == len(orbit_basis(weights, symmetries))


@pytest.mark.parametrize("seed", range(10))
def test_linear_layers_with_biases_have_their_shifts(seed):
    layers = random_matrices(seed)
    model = nn.Sequential(*[nn.Linear(w.shape[1], w.shape[0]) for w in layers])
    without = dims(matrices(layers))
    for layer, weight in zip(model, layers, strict=True):
        nn.init.normal_(layer.bias)
        layer.weight = nn.Parameter(weight)
    assert dims(model) == without + sum(len(w) for w in layers[:-1])


@pytest.mark.parametrize("seed", range(30))
def test_layers_made_of_intervals_have_the_dimension_of_their_endomorphisms(seed):
    """Sums of intervals [a, b], 1 on neighbours within and 0 elsewhere, in random bases and rounded to float32."""
    chosen, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    last = chosen.randint(2, 4)
    intervals = [(a, b) for a in range(last + 1) for b in range(a, last + 1) for _ in range(chosen.randint(0, 1))]
    intervals += [(0, 0), (last, last), *[(a, a) for a in range(1, last)]]
    inside = [[i for i, (a, b) in enumerate(intervals) if a <= s <= b] for s in range(last + 1)]
    frames = [torch.linalg.qr(torch.randn(len(i), len(i), generator=generator, dtype=torch.float64))[0] for i in inside]
    layers = []
    for s in range(last):
        shared = torch.tensor([[float(i == j) for j in inside[s]] for i in inside[s + 1]], dtype=torch.float64)
        layers.append((frames[s + 1] @ shared @ frames[s].T).float())
    fixed = sum(c <= a <= d <= b and a > 0 and d < last for a, b in intervals for c, d in intervals)
    assert dims(matrices(layers)) == sum(len(i) ** 2 for i in inside[1:-1]) - fixed


def test_known_dimensions_at_special_points():
    (n, h, m), (a, b, r) = (7, 5, 6), (3, 2, 1)
    assert dims(matrices(two_layer_point((n, h, m), (a, b, r)))) == h * h - (h - a) * (h - b)
    # W_s = Q_s diag(c) Q_{s-1}ᵀ with r = 1: one interval through all layers, and 4 alone at every layer
    assert dims(matrices(deepest_point((5, 5, 5, 5), 1))) == 2 * 25 - 2 * 16
    assert dims(matrices([torch.zeros(3, 4), torch.zeros(4, 3), torch.randn(2, 4)])) == 8


def test_dead_units_and_disconnected_ones():
    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))

    model = net()
    assert dims(model) == 8
    with torch.no_grad():  # unit 0 of both layers: connected with one another, and with nothing else
        model[0].weight[0], model[0].bias[0] = 0, 0
        model[2].weight[0, 1:], model[2].weight[1:, 0], model[2].bias[0] = 0, 0, 0
        model[4].weight[:, 0] = 0
    assert dims(model) == 7  # their joint scale moves nothing
    with torch.no_grad():
        model[2].weight[0, 0] = 0
    assert dims(model) == 6
    with torch.no_grad():
        model[2].bias[0] = 1
    assert dims(model) == 7


def test_logits_that_are_all_the_same_for_a_unit():
    model = two_layers()
    assert dims(model, cross_entropy=True) == 4 + 4 + 1
    without_unit(model, 0)
    with torch.no_grad():
        model[2].weight[:, 0] = 0.7  # what its scale moves is a shift of all logits
    assert dims(model, cross_entropy=True) == 3 + 4 + 1


def test_a_head_without_values_and_heads_of_low_rank():
    torch.manual_seed(0)
    model = nn.MultiheadAttention(6, 2)
    assert dims(model) == 2 * (9 + 3 + 9 + 3)
    with torch.no_grad():
        model.in_proj_weight[12:15], model.out_proj.weight[:, :3] = 0, 0
    assert dims(model) == 48 - 9  # its bias and the output's still shift
    with torch.no_grad():
        model.in_proj_weight[3:6] = torch.randn(3, 1) @ torch.randn(1, 6)  # keys of the second head: rank 1
        model.in_proj_weight[9:12] = torch.randn(3, 1) @ torch.randn(1, 6)
        model.in_proj_bias[3:6] = 0
    assert dims(model) == 48 - 9 - (3 - 1) * (3 - 1)


def test_mixed_components_are_counted_if_small_and_bounded_if_large(monkeypatch):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4, False), nn.ReLU(), nn.Linear(4, 4, False), nn.Linear(4, 5, False))
    exact = dims(model)
    assert exact == 4 + 16
    monkeypatch.setattr(sys.modules["llckit.geometry.orbit_dim"], "MAX_ENTRIES", 0)  # the package has the function
    assert orbit_dim(named(model), find_symmetries(model)) == 16


def test_wide_layers_are_counted_without_their_generators():
    layers = [torch.randn(300, 700), torch.randn(40, 300) @ torch.randn(300, 300)]
    assert orbit_dim(named(matrices(layers)), find_symmetries(matrices(layers))) == 300**2


def test_declared_symmetries_of_an_unknown_module():
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(5, 4))

    model = Bilinear()
    assert find_symmetries(model) == []
    assert dims(model, chain_symmetries([Layer("a", None), Layer("b", None)], ["linear"])) == 16
    assert dims(model, [Symmetry("linear", (View("a"),), (View("b", 1),))]) == 16
    assert dims(model, [Symmetry("homogeneous", (View("a", 0, 1, 3),), (View("b", 1, 2, 4),))]) == 2
    assert dims(model, [Symmetry("odd", (View("a"),), (View("b", 1),))]) == 0
    assert dims(model, [Symmetry("free", (View("a"),))]) == 24


def test_declared_symmetries_of_a_net_with_one_embedding_for_two_tokens():
    torch.manual_seed(0)
    model, pairs = ModularAdditionNet(7, 3, 5).double(), torch.cartesian_prod(torch.arange(7), torch.arange(7))
    symmetries = [
        Symmetry(
            "linear", (View("embedding.weight", 1),), (View("hidden.weight", 1, 0, 3), View("hidden.weight", 1, 3))
        ),
        *chain_symmetries([Layer("hidden.weight", "hidden.bias"), Layer("readout.weight", None)], ["homogeneous"]),
        Symmetry("softmax", (View("readout.weight"),)),
    ]
    moved = transform(model, symmetries=symmetries)
    torch.testing.assert_close(moved(pairs).log_softmax(1), model(pairs).log_softmax(1), rtol=1e-12, atol=1e-12)
    assert dims(model, symmetries) == 3 * 3 + 5 + 5


def test_grouped_queries_have_one_group_for_each_key():
    weights = {"q": torch.randn(8, 9), "k": torch.randn(4, 9), "v": torch.randn(4, 9), "o": torch.randn(7, 8)}
    query, key, value = (Heads(name, None, number, 2) for name, number in (("q", 4), ("k", 2), ("v", 2)))
    symmetries = attention_symmetries(query, key, value, Heads("o", None, 4, 2, dim=1))
    assert [s.kind for s in symmetries] == ["linear"] * 4 + ["heads"] * 3
    assert orbit_dim(weights, symmetries) == len(orbit_basis(weights, symmetries)) == 4 * 4
    with pytest.raises(InputError, match="expected as many of keys as of values"):
        attention_symmetries(query, query, value, Heads("o", None, 4, 2, dim=1))
    with pytest.raises(InputError, match="equal sizes within both pairs"):
        attention_symmetries(query, key, value, Heads("o", None, 4, 3, dim=1))


def test_what_is_declared_twice_counts_once():
    weights = {"a": torch.randn(4, 3), "b": torch.randn(2, 4)}
    for kind, dim in (("free", 12), ("softmax", 3), ("linear", 12 + 8 - 6), ("homogeneous", 4)):
        out = (View("b", 1),) if kind in {"linear", "homogeneous"} else ()
        assert orbit_dim(weights, 2 * [Symmetry(kind, (View("a"),), out)]) == dim


def test_a_model_is_no_mapping_of_weights():
    model = two_layers()
    for function in (tangents, orbit_basis, orbit_dim):
        with pytest.raises(InputError, match=r"weights is a Sequential; expected tensors by name"):
            function(model, find_symmetries(model))


def test_declarations_that_do_not_fit_are_refused():
    weights = {"a": torch.randn(4, 3), "b": torch.randn(2, 4), "c": torch.randn(3)}
    with pytest.raises(InputError, match="expected the same number of hidden units"):
        orbit_dim(weights, [Symmetry("linear", (View("a"),), (View("b"),))])
    with pytest.raises(InputError, match="does not fit c"):
        orbit_dim(weights, [Symmetry("linear", (View("a"),), (View("c", 1),))])
    shifting = Symmetry("linear", (View("a"),), (View("b", 1),), bias=View("d"), out_bias=View("c"))
    with pytest.raises(InputError, match="is c with 3 entries"):
        orbit_dim({**weights, "d": torch.randn(4)}, [shifting])
    with pytest.raises(InputError, match="out of linear: a is empty"):
        orbit_dim(weights, [Symmetry("linear", (View("a"),))])
    with pytest.raises(InputError, match="expected tuples of View"):
        orbit_dim(weights, [Symmetry("linear", View("a"), View("b", 1))])  # pyright: ignore
    with pytest.raises(InputError, match="layers holds 'a'"):
        chain_symmetries(["a", "b"], ["linear"])  # pyright: ignore
    with pytest.raises(InputError, match="symmetries holds 'a'"):
        tangents(weights, ["a"])  # pyright: ignore
    assert orbit_dim(weights, [Symmetry("linear", (View("a"),), (View("elsewhere"),))]) == 0
