"""Every toy against what its loss says by itself: zero, gradient, Hessian rank; and the limits of its exact energy."""

import copy
import math

import pytest
import torch

from llckit.toys import catalog, matrix_loss

TOYS = catalog()
NAMES = [toy.name for toy in TOYS]
REGULAR = {"quadratic", "superposition", "quadratic net"}
LARGE = 300  # weights; a Hessian of more takes long
STABLE = {
    "quadratic, rank 1 of 1",
    "quadratic, rank 1 of 10",
    "quadratic, rank 10 of 20",
    "quadratic, rank 100 of 120",
    "w1^4",
    "w1^6",
    "w1^2 w2^2",
    "w1^2 w2^4",
    "linear 2-2-2, rank 1, deepest point",
    "linear 5-3-5, rank 3, deepest point",
    "linear 10-8-12, rank 3, deepest point",
    "linear 10-10-10, rank 5, deepest point",
    "linear 4-6-5-4, rank 2, deepest point",
    "linear 10-10-10-10-10, rank 5, deepest point",
    "linear 10-10-10, product rank 5, layer ranks 5 and 5",
    "linear 10-10-10, product rank 5, layer ranks 10 and 5",
    "linear 10-10-10, product rank 5, layer ranks 7 and 8",
}


def hessian_rank(toy, flat):
    toy_loss = flat(toy)
    if toy.loss_fn is matrix_loss and len(toy_loss.point) > LARGE:
        return rank_of_squares(toy)
    values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(toy_loss.loss, toy_loss.point))
    assert values.min() > -1e-6 * max(values.max(), 1)
    return int((values > 1e-6 * values.max()).sum()) if values.max() > 0 else 0


def rank_of_squares(toy):
    """At a zero of ‖f − T‖² the Hessian is 2JᵀJ with J the derivatives of f: its rank without the Hessian itself."""
    model = copy.deepcopy(toy.model).double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    jacobian = torch.func.jacrev(lambda p: torch.func.functional_call(model, p, ()))(parameters)
    rows = torch.cat([part.flatten(2).flatten(0, 1) for part in jacobian.values()], dim=1)
    squares = torch.linalg.svdvals(rows).square()
    return int((squares > 1e-6 * squares.max()).sum())


def test_there_are_many_and_old_names_stay():
    assert len(set(NAMES)) == len(TOYS) >= 60
    assert len({toy.family for toy in TOYS}) >= 8
    assert set(NAMES) >= STABLE


@pytest.mark.parametrize("toy", TOYS, ids=NAMES)
def test_the_point_is_a_minimum(toy, flat):
    assert toy.source
    assert all(p.dtype == torch.float32 for p in toy.model.parameters())
    assert len(toy.data[0]) == 10_000
    value = toy.loss_fn(toy.model, toy.data)
    loss, point = flat(toy).loss, flat(toy).point
    assert value.item() == pytest.approx(float(loss(point)), abs=1e-7)
    if toy.family != "superposition":
        assert value.item() == pytest.approx(0, abs=1e-10)
    gradient = torch.func.grad(loss)(point)
    assert gradient.norm() < 1e-4
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 1e-1):
        step = size * torch.randn(point.shape, generator=generator, dtype=torch.float64) / math.sqrt(len(point))
        assert loss(point + step) > loss(point) - 1e-9


@pytest.mark.parametrize("toy", TOYS, ids=NAMES)
def test_half_the_hessian_rank_is_a_lower_bound_and_sharp_where_regular(toy, flat):
    dim, rank = len(flat(toy).point), hessian_rank(toy, flat)
    assert rank / 2 <= toy.llc <= dim / 2
    if toy.family in REGULAR:
        assert (toy.llc, toy.multiplicity) == (rank / 2, 1)
    if toy.family in {"deep linear", "two-layer linear", "matrix product"}:
        assert rank == hessian_rank_of_linear_net([p.detach() for p in toy.model.parameters()])


def hessian_rank_of_linear_net(layers):
    """M a + b N − a b for two layers of ranks a and b; r (H_0 + H_L − r) where all layers have rank r."""
    ranks = [int(torch.linalg.matrix_rank(layer, atol=1e-3)) for layer in layers]
    first, last = ranks[0], ranks[-1]
    assert len(layers) == 2 or len(set(ranks)) == 1
    return len(layers[-1]) * first + last * layers[0].shape[1] - first * last


def limit_settings(toy):
    """(t, γ) at which the energy is close to λ: far from the origin other zeros must be kept out, by a strong γ."""
    special = {
        "monomial away from the origin": (1e14, 300.0),
        "tanh net": (1e7, 1.0),
        "matrix product": (1e6, 1.0),
    }
    return special.get(toy.family, (1e10, 1e-3))


@pytest.mark.parametrize(
    "toy",
    [t for t in TOYS if t.exact is not None and t.multiplicity == 1 and t.name != "tanh 1-2-1 at zero"],
    ids=lambda t: t.name,
)
def test_exact_energies_tend_to_lambda(toy):
    assert toy.exact(*limit_settings(toy)) == pytest.approx(toy.llc, rel=0.02)


@pytest.mark.parametrize(
    "toy",
    [t for t in TOYS if t.exact is not None and t.multiplicity > 1 and t.family != "tanh net"],
    ids=lambda t: t.name,
)
def test_exact_energies_approach_lambda_as_the_multiplicity_says(toy):
    # E = λ − (m − 1)/(ln t + c) + …, so 1/(λ − E) rises by 1/(m − 1) per e-fold.
    low, high = 1e7, 1e11
    gamma = 10.0 if toy.family == "monomial away from the origin" else 1.0
    rise = 1 / (toy.llc - toy.exact(high, gamma)) - 1 / (toy.llc - toy.exact(low, gamma))
    assert rise / math.log(high / low) == pytest.approx(1 / (toy.multiplicity - 1), rel=0.1)


def test_tanh_nets_with_slow_corrections_extrapolate_to_lambda():
    toy = next(t for t in TOYS if t.name == "tanh 1-2-1 at zero")
    # E = λ − c t^{−1/6} …: successive factors of 64 halve the distance.
    first, second = toy.exact(1e3, 1.0), toy.exact(64e3, 1.0)
    assert first < second < toy.llc
    assert 2 * second - first == pytest.approx(toy.llc, rel=0.06)
    pair = next(t for t in TOYS if t.name == "tanh 1-1-1 at zero")
    rise = 1 / (pair.llc - pair.exact(1e10, 1.0)) - 1 / (pair.llc - pair.exact(1e6, 1.0))
    assert rise / math.log(1e4) == pytest.approx(1 / (pair.multiplicity - 1), rel=0.1)


def test_the_rank_of_squares_is_that_of_the_hessian(flat):
    small = [t for t in TOYS if t.family == "two-layer linear" and len(flat(t).point) < 100]
    assert len(small) >= 4
    for toy in small:
        assert rank_of_squares(toy) == hessian_rank(toy, flat)
