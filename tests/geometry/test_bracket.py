import random
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from llckit.errors import InputError
from llckit.geometry import bracket
from llckit.toys import (
    LinearNet,
    catalog,
    deep_linear_llc,
    deepest_point,
    matrix_loss,
    two_layer_llc,
    two_layer_point,
)
from tests.cases import OnceDifferentiable
from tests.geometry.nets import NO_DATA, Vector, normal, own_teacher, squared_error, two_layers, without_unit


def relu_teacher():
    """A generic ReLU net as its own teacher."""
    torch.manual_seed(0)
    model = normal(two_layers((3, 5, 2)))
    return own_teacher(model, torch.randn(200, 3))


def random_two_layer_cases(count):
    chosen = random.Random(0)
    cases = []
    while len(cases) < count:
        n, h, m = (chosen.randint(1, 8) for _ in range(3))
        a, b = chosen.randint(0, min(n, h)), chosen.randint(0, min(m, h))
        r = chosen.randint(0, min(a, b))
        if a + b - r <= h:
            cases.append(((n, h, m), (a, b, r)))
    return cases


@pytest.mark.parametrize(("shape", "ranks"), random_two_layer_cases(200))
def test_two_layer_nets_at_any_solution(shape, ranks):
    (n, h, m), (a, b, _) = shape, ranks
    box = bracket(LinearNet(two_layer_point(shape, ranks)), NO_DATA, matrix_loss)
    assert box.rank == m * a + b * n - a * b
    assert box.orbit_dim == h * (a + b) - a * b
    assert box.lower <= two_layer_llc(shape, ranks)[0] <= box.upper
    assert (box.lower, box.upper, box.dim) == (box.rank / 2, (h * (n + m) - box.orbit_dim) / 2, h * (n + m))


@pytest.mark.parametrize("shape", [(4, 3, 5), (3, 3, 3), (6, 1, 2), (2, 2, 7)])
def test_bounds_meet_at_full_rank(shape):
    ranks = (shape[1],) * 3
    box = bracket(LinearNet(two_layer_point(shape, ranks)), NO_DATA, matrix_loss)
    assert box.lower == two_layer_llc(shape, ranks)[0] == box.upper


@pytest.mark.slow
@pytest.mark.parametrize("toy", catalog(), ids=lambda toy: toy.name)
def test_the_answers_of_the_catalogue_lie_inside(toy):
    box = bracket(toy.model, toy.data, toy.loss_fn)
    assert box.lower <= toy.llc * (1 + 1e-12)
    assert toy.llc <= box.upper
    if toy.family in {"quadratic", "superposition", "quadratic net"}:  # Morse-Bott: quadratic across their minima
        assert box.lower == toy.llc
        assert box.rank_is_exact


@pytest.mark.parametrize(
    ("widths", "rank"), [((5, 5, 2, 2, 5, 8), 1), ((8, 8, 8, 5, 2, 2), 2), ((2, 8, 5, 5), 2), ((3, 3, 3, 3), 0)]
)
def test_deep_nets_at_their_deepest_point(widths, rank):
    box = bracket(LinearNet(deepest_point(widths, rank)), NO_DATA, matrix_loss)
    assert box.rank == rank * (widths[0] + widths[-1] - rank)
    assert box.lower <= deep_linear_llc(widths, rank)[0] <= box.upper


@pytest.mark.parametrize("rank", [0, 1, 7, 20])
def test_quadratics(rank):
    curvature = torch.cat([torch.linspace(0.1, 9, rank), torch.zeros(20 - rank)])
    n_beta, gamma = 100.0, 2.0
    box = bracket(
        Vector(torch.zeros(20)),
        NO_DATA,
        lambda model, batch: 0.5 * (curvature * model.w.square()).sum(),
        n_beta=n_beta,
        localization=gamma,
    )
    assert (box.lower, box.upper, box.rank, box.orbit_dim, box.grad_norm) == (rank / 2, 10, rank, 0, 0)
    torch.testing.assert_close(box.eigenvalues, curvature.double().sort().values)
    h = curvature.double()
    assert box.lower_finite == pytest.approx(float((n_beta * h / (n_beta * h + gamma)).sum()) / 2, rel=1e-12)


def test_finite_bound_without_localization_is_the_bound():
    box = bracket(Vector(torch.zeros(3)), NO_DATA, lambda m, b: m.w[:2].square().sum(), n_beta=50)
    assert box.lower_finite == box.lower == 1
    assert bracket(Vector(torch.zeros(3)), NO_DATA, lambda m, b: m.w.square().sum()).lower_finite is None


def test_singular_monomial_lies_inside():
    box = bracket(Vector([0.0, 0.0]), NO_DATA, lambda m, b: (m.w[0] * m.w[1]).square())
    assert box.lower == 0 < 0.5 < box.upper == 1


def test_regression_over_all_samples_in_float64(monkeypatch):
    monkeypatch.setattr(sys.modules["llckit.geometry.hessian"], "MEMORY", 1)  # one sample at a time
    torch.manual_seed(0)
    x = torch.randn(37, 6)
    model = nn.Linear(6, 1, bias=False)
    y = model(x).detach()
    expected = torch.linalg.eigvalsh(2 * x.double().T @ x.double() / 37)
    loader = DataLoader(TensorDataset(x, y), batch_size=5, shuffle=True)
    for data in ((x, y), loader):
        box = bracket(model, data, squared_error)
        torch.testing.assert_close(box.eigenvalues, expected, rtol=1e-10, atol=0)
        assert box.lower == box.upper == 3
    assert model.weight.dtype == torch.float32


def test_relu_net_as_its_own_teacher():
    box = bracket(*relu_teacher())
    assert box.orbit_dim == 5
    assert box.lower == box.upper == (box.dim - 5) / 2  # generic: nothing else is free


def test_dead_unit_widens_the_bracket():
    model, (x, _), _ = relu_teacher()
    without_unit(model, 0)[2].weight.data[:, 0] = 0
    box = bracket(*own_teacher(model, x))
    assert box.orbit_dim == 4
    assert box.lower == (box.dim - 4 - 6) / 2 < box.upper


def test_weight_decay_breaks_the_symmetry():
    model, data, _ = relu_teacher()

    def decayed(model, batch):
        return squared_error(model, batch) + 1e-5 * sum(p.square().sum() for p in model.parameters())

    assert bracket(model, data, decayed).orbit_dim == 0


def test_layers_that_are_used_otherwise_are_noticed():
    class Bent(LinearNet):
        def forward(self):
            return self.layers[1] @ self.layers[0].tanh()

    weights = two_layer_point((3, 3, 3), (2, 2, 2))
    box = bracket(Bent(weights, weights[1] @ weights[0].tanh()), NO_DATA, matrix_loss)
    assert box.orbit_dim == 0
    assert box.upper == 9


def test_frozen_parameters_are_not_counted():
    model, data, loss_fn = relu_teacher()
    model[0].requires_grad_(False)
    box = bracket(model, data, loss_fn)
    assert (box.dim, box.orbit_dim, box.lower, box.upper) == (12, 0, 6, 6)


def test_bounds_stay_in_order_before_the_minimum():
    net = LinearNet([torch.tensor([[0.9]]), torch.tensor([[1.0]])], torch.tensor([[1.0]]))
    box = bracket(net, NO_DATA, matrix_loss)
    assert box.grad_norm > 0.1
    assert (box.rank, box.lower, box.upper) == (1, 0.5, 0.5)  # the whole Hessian has rank 2 there


def test_negative_curvature_shows_and_is_not_counted():
    box = bracket(Vector([0.0, 0.0, 0.0]), NO_DATA, lambda m, b: (m.w.square() * torch.tensor([1, 0.05, -0.01])).sum())
    assert box.rank == 1
    assert float(box.eigenvalues[0]) == pytest.approx(-0.02)


def test_curvature_of_a_point_slightly_off_the_minimum_is_not_counted():
    box = bracket(Vector([0.0, 1e-4]), NO_DATA, lambda m, b: m.w[0] ** 2 + m.w[1] ** 4)
    assert float(box.eigenvalues[0]) == pytest.approx(1.2e-7)
    assert box.rank == 1


def test_linear_loss_has_no_curvature():
    box = bracket(Vector([1.0, 2.0]), NO_DATA, lambda m, b: m.w.sum())
    assert (box.rank, box.grad_norm) == (0, pytest.approx(2**0.5))


def test_attention_can_be_differentiated_twice():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(3, 9)

        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(*self.qkv(x).chunk(3, -1))

    torch.manual_seed(0)
    model, x = Attention(), torch.randn(20, 1, 4, 3)  # four dimensions: the fused kernel
    box = bracket(*own_teacher(model, x))
    # Keys and queries (W_K, W_Q, b_Q of 3 each): GL_3 and the key bias are free.
    assert box.rank == box.dim - 9 - 3


def test_once_differentiable_loss_is_refused():
    with pytest.raises(InputError, match="cannot be differentiated twice"):
        bracket(Vector([1.0, 2.0]), NO_DATA, lambda m, b: OnceDifferentiable.apply(m.w).square().sum())


@pytest.mark.parametrize("n_beta", [0, -1, float("nan"), float("inf")])
def test_impossible_n_beta(n_beta):
    with pytest.raises(InputError, match="n_beta is"):
        bracket(Vector([0.0]), NO_DATA, lambda m, b: m.w.square().sum(), n_beta=n_beta)


@pytest.mark.parametrize("localization", [-1.0, float("nan"), float("inf")])
def test_impossible_localization(localization):
    with pytest.raises(InputError, match="localization is"):
        bracket(Vector([0.0]), NO_DATA, lambda m, b: m.w.square().sum(), localization=localization)


def test_samples_without_finite_loss_are_refused():
    x = torch.ones(100, 1)
    x[90] = float("nan")
    with pytest.raises(InputError, match="NaN or inf"):
        bracket(Vector([1.0]), (x,), lambda m, b: (b[0] * m.w).square().mean())


def test_no_model_and_no_data():
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        bracket("model", NO_DATA, matrix_loss)
    with pytest.raises(InputError, match="empty"):
        bracket(Vector([1.0]), (torch.zeros(0, 1),), lambda m, b: m.w.sum())


def test_at_a_kink_the_upper_end_is_the_whole_codimension():
    inputs = torch.randn(200, 4, dtype=torch.float64)
    model = nn.Linear(4, 1, bias=False).double()
    data = inputs, model(inputs).detach()
    kinked = bracket(model, data, lambda model, batch: (model(batch[0]) - batch[1]).abs().mean())
    assert (kinked.lower, kinked.upper) == (0, 4)  # λ = 4: the loss grows as the distance
    assert kinked.has_kink
    assert "jumps" in kinked.note
    smooth = bracket(model, data, squared_error)
    assert (smooth.lower, smooth.upper) == (2, 2)
    assert not smooth.has_kink
    assert "jumps" not in smooth.note


def test_a_loss_that_hides_its_second_derivative_is_refused():
    data = torch.randn(20, 3), torch.randn(20, 1)
    with pytest.raises(InputError, match="has no derivative"):
        bracket(nn.Linear(3, 1), data, lambda model, batch: OnceDifferentiable.apply(model(batch[0]) - batch[1]).mean())


def test_a_saddle_is_noticed():
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.zero_()

    def saddle(model, batch):
        return (
            model.weight.flatten() ** 2 * torch.tensor([1.0, -0.5], dtype=model.weight.dtype)
        ).sum() + 0 * batch.sum()

    box = bracket(model, torch.zeros(4, 1), saddle)
    assert not box.rank_is_exact
    assert box.hessian.is_saddle
    assert "no minimum" in box.note
