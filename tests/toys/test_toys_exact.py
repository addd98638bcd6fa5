"""Exact energies against the models themselves: grids over two weights, draws from the localiser for more."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch.func import functional_call, vmap

import llckit as lk
from llckit.toys import (
    DisjointSum,
    Monomial,
    NormProduct,
    QuadraticNet,
    Superposition,
    TanhNet,
    catalog,
    fourier_addition,
    matrix_product_energy,
    quadratic_net_llc,
    tanh_llc,
)

EXACT = [toy for toy in catalog() if toy.exact is not None]


class Loss(torch.nn.Module):
    def __init__(self, toy):
        super().__init__()
        self.model, self.loss_fn = copy.deepcopy(toy.model).double(), toy.loss_fn

    def forward(self):
        return self.loss_fn(self.model, None)


def losses(toy, rows):
    """The toy's own loss at w* + each row."""
    module = Loss(toy)
    parameters = dict(module.named_parameters())
    sizes = [p.numel() for p in parameters.values()]

    def one(away):
        pieces = zip(parameters.items(), away.split(sizes), strict=True)
        return functional_call(module, {name: p.detach() + piece.view_as(p) for (name, p), piece in pieces}, ())

    return torch.cat([vmap(one)(part) for part in rows.split(100_000)])


def dim(toy):
    return sum(p.numel() for p in toy.model.parameters())


@pytest.mark.parametrize("toy", [t for t in EXACT if dim(t) == 2], ids=lambda toy: toy.name)
def test_two_weights_against_a_grid(toy):
    t, gamma, points = 1086.0, 20.0, 800
    x = (torch.arange(points, dtype=torch.float64) + 0.5) * (2 * 5 / math.sqrt(gamma) / points) - 5 / math.sqrt(gamma)
    energy = t * losses(toy, torch.cartesian_prod(x, x))
    weight = torch.exp(-energy - gamma / 2 * torch.cartesian_prod(x, x).square().sum(1))
    assert toy.exact(t, gamma) == pytest.approx(float((weight * energy).sum() / weight.sum()), rel=1e-3)


@pytest.mark.parametrize("toy", EXACT, ids=lambda toy: toy.name)
def test_against_draws_from_the_localiser(toy):
    gamma, count = 1.0, 40_000
    generator = torch.Generator().manual_seed(1)
    drawn = losses(toy, torch.randn(count, dim(toy), generator=generator, dtype=torch.float64) / math.sqrt(gamma))
    t, weight = 2000.0, torch.zeros(1, dtype=torch.float64)
    while weight.sum() < 1e-100 or weight.sum() ** 2 < 1000 * weight.square().sum():  # too few draws count
        t /= 2
        weight = torch.exp(-t * drawn)
    energy = t * drawn
    mean = (weight * energy).sum() / weight.sum()
    error = (weight * (energy - mean)).norm() / weight.sum()
    assert error < 0.06 * mean
    assert toy.exact(t, gamma) == pytest.approx(float(mean), abs=4.5 * float(error))


@pytest.mark.parametrize(("size", "power"), [(1, 1), (3, 2), (2, 3), (10, 4)])
def test_norm_powers_against_the_radial_integral(size, power):
    t, gamma = 300.0, 2.0

    def density(r):
        return r ** (size - 1) * math.exp(-t * r ** (2 * power) - gamma / 2 * r * r)

    zero = integrate.quad(density, 0, 6, points=[0.1, 0.5, 1], limit=200)[0]
    one = integrate.quad(lambda r: t * r ** (2 * power) * density(r), 0, 6, points=[0.1, 0.5, 1], limit=200)[0]
    assert NormProduct([size], [power]).energy(t, gamma) == pytest.approx(one / zero, rel=1e-6)


def test_sums_add_and_products_take_the_least():
    single, pair = Monomial([2]), Monomial([1, 1])
    both = DisjointSum(single, pair)
    assert both.energy(500.0, 3.0) == single.energy(500.0, 3.0) + pair.energy(500.0, 3.0)
    assert both.answer == (3 / 4, 2)
    assert NormProduct([3, 4, 6], [1, 2, 2]).answer == (1, 1)
    assert NormProduct([3, 6, 9], [1, 2, 2]).answer == (3 / 2, 2)
    assert Monomial([1, 3], [0, 2.0]).answer == (1 / 2, 1)  # the factor that is not zero does not count


def test_a_strong_localiser_shows_the_local_lambda_and_a_weak_one_the_smaller_one_near_by():
    point = Monomial([1, 2], [0, 1.0])
    assert point.energy(1e12, 300.0) == pytest.approx(1 / 2, rel=1e-4)
    assert point.energy(1e12, 1e-3) == pytest.approx(1 / 4, rel=1e-3)


@pytest.mark.parametrize("shape", [(2, 1, 5), (1, 4, 3), (4, 1, 1)])
@pytest.mark.parametrize(("t", "gamma"), [(10.0, 3.0), (1086.0, 1.0), (1e7, 0.1)])
def test_matrix_products_of_one_singular_value_are_norm_products(shape, t, gamma):
    n, h, m = shape
    if h == 1:
        assert matrix_product_energy(shape, t, gamma) == pytest.approx(NormProduct([n, m], [1, 1]).energy(t, gamma))
    else:  # an h-vector a, and m rows b: Z = E_a (1 + 2t|a|²/γ)^{−m/2}
        x = np.exp(np.linspace(-60, 7, 20_001))
        weight = x ** (h / 2) * np.exp(-x / 2) * (1 + 2 * t / gamma**2 * x) ** (-m / 2)
        value = m / 2 * (1 - 1 / (1 + 2 * t / gamma**2 * x))
        assert matrix_product_energy(shape, t, gamma) == pytest.approx((weight * value).sum() / weight.sum(), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 3, 4), (3, 2, 4)])
@pytest.mark.parametrize(("t", "gamma"), [(10.0, 3.0), (1086.0, 1.0)])
def test_matrix_products_of_two_singular_values_against_the_joint_density(shape, t, gamma):
    n, h, m = shape
    u = np.linspace(-45, 5, 2001)
    x, y = np.exp(u)[:, None], np.exp(u)[None, :]
    c = 2 * t / gamma**2
    weight = (x * y) ** ((abs(h - n) + 1) / 2) * np.exp(-(x + y) / 2) * np.abs(x - y)
    weight = weight * ((1 + c * x) * (1 + c * y)) ** (-m / 2)
    value = m / 2 * (2 - 1 / (1 + c * x) - 1 / (1 + c * y))
    assert matrix_product_energy(shape, t, gamma) == pytest.approx((weight * value).sum() / weight.sum(), rel=2e-4)


def test_matrix_products_beyond_float64_are_refused():
    assert matrix_product_energy((8, 5, 10), 1e3, 1.0) == pytest.approx(18.644283, rel=1e-6)
    for shape, t in (((8, 5, 10), 1e9), ((10, 10, 10), 1e4)):
        with pytest.raises(lk.InputError, match="beyond float64"):
            matrix_product_energy(shape, t, 1.0)


@pytest.mark.parametrize(
    ("hidden", "outputs", "expected"),
    [
        (1, 1, (1 / 2, 2)),
        (2, 1, (2 / 3, 1)),
        (3, 1, (5 / 6, 1)),
        (4, 1, (1, 2)),
        (5, 1, (11 / 10, 1)),
        (1, 2, (1 / 2, 1)),  # |b|²a²: min(2/2, 1/2)
        (1, 3, (1 / 2, 1)),
    ],
)
def test_tanh_nets_known_values(hidden, outputs, expected):
    assert tanh_llc(hidden, outputs) == pytest.approx(expected)


def test_tanh_nets_are_the_least_over_weighted_scalings():
    # a ~ s, and the first k of the sums Σ_h b_h a_h^{2i−1} take the place of b's: λ <= (H + M k (k + 1))/(4k + 2).
    for hidden in range(1, 30):
        for outputs in range(1, 6):
            bounds = [(hidden + outputs * k * (k + 1)) / (4 * k + 2) for k in range(hidden + 1)]
            llc, multiplicity = tanh_llc(hidden, outputs)
            assert llc == min(bounds)
            assert multiplicity == sum(math.isclose(bound, llc) for bound in bounds)


def test_impossible_toys():
    with pytest.raises(lk.InputError, match="hidden"):
        TanhNet(0)
    with pytest.raises(lk.InputError, match="one or two"):
        TanhNet(3).energy(100.0, 1.0)
    with pytest.raises(lk.InputError, match="4 features"):
        Superposition(4)
    with pytest.raises(lk.InputError, match="shapes"):
        QuadraticNet(torch.zeros(2, 5), torch.zeros(2, 3), pairs=True)
    with pytest.raises(lk.InputError, match="odd"):
        fourier_addition(4)
    with pytest.raises(lk.InputError, match="distances"):
        Monomial([1, 1], [1.0, 2.0])
    with pytest.raises(lk.InputError, match="for each block"):
        NormProduct([2, 3], [1])


@pytest.mark.parametrize("features", [5, 8])
def test_superposition_integrates_the_magnitude_exactly(features):
    model = Superposition(features).double()
    magnitudes = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, features, generator=generator))
            model.bias.copy_(0.5 * torch.randn(features, generator=generator))
        x = magnitudes[:, None, None] * torch.eye(features, dtype=torch.float64)  # magnitude, feature, entry
        y = torch.relu(x @ (model.weight.T @ model.weight) + model.bias)
        assert model().item() == pytest.approx((x - y).square().sum(2).mean().item(), rel=1e-6)


def test_polygons_are_where_publication_says():
    for features, length in ((5, 1.17046), (6, 1.32053), (7, 1.44839), (8, 1.55045)):
        model = Superposition(features)
        assert torch.allclose(model.weight.norm(dim=0), torch.tensor(length), atol=1e-5)


def test_addition_is_exact():
    p = 5
    net = QuadraticNet(*fourier_addition(p), pairs=True)
    table = net.function().detach().view(p, p, p)
    for a in range(p):
        for b in range(p):
            expected = torch.eye(p)[(a + b) % p]
            assert torch.allclose(table[a, b], expected, atol=1e-6)


def test_the_loss_on_normal_inputs_against_draws():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(3, 6, generator=generator), torch.randn(3, 3, generator=generator)
    net = QuadraticNet(first, second, pairs=False)
    with torch.no_grad():
        net.first.add_(0.3 * torch.randn(3, 6, generator=generator))
    x = torch.randn(400_000, 6, generator=generator)
    errors = ((x @ net.first.T) ** 2 @ net.second - (x @ first.T) ** 2 @ second).square().sum(1).detach()
    spread = float(errors.std()) / math.sqrt(len(errors))
    assert net().item() == pytest.approx(float(errors.mean()), abs=4 * spread)
    assert spread < 0.02 * net().item()


def test_pairs_have_one_symmetry_more_than_other_inputs():
    assert quadratic_net_llc(5, 3, pairs=False) == (21, 1)
    assert quadratic_net_llc(5, 3, pairs=True) == (39 / 2, 1)
    assert quadratic_net_llc(3, 10, pairs=True) == (27 / 2, 1)
