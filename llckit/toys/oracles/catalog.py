"""The catalogue of all toys whose local learning coefficient is known, one by one, with their source.

To add a toy with a known λ, write one function that returns it and add one line to `FAMILIES`:

    def cusps() -> list[Toy]:
        # A docstring of one line. Here λ = 1/2 + 1/6 and the multiplicity is 1.
        model = DisjointSum(Monomial([1]), Monomial([3]))
        return [population_toy("w1^2 + w2^6", "cusp", model, (2 / 3, 1), WATANABE, exact=model.energy)]

The model is an `nn.Module` at the point w*, in float32. By default it is its own loss, `model()`; otherwise pass
`loss_fn(model, batch)`. Names are unique, and they stay as they are, since stored results refer to them. `exact` may be
left out. `tests/toys/oracles` then checks the toy: w* is a minimum, λ lies between half the Hessian's rank and half the
number of weights, and the exact energy agrees with draws and tends to λ.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from llckit.toys.oracles.linear_nets import (
    LinearNet,
    deep_linear_llc,
    deepest_point,
    matrix_loss,
    random_widths,
    two_layer_llc,
    two_layer_point,
)
from llckit.toys.oracles.matrix_product_energy import matrix_product_energy
from llckit.toys.oracles.planar import Planar
from llckit.toys.oracles.potentials import DisjointSum, Monomial, NormProduct, Quadratic
from llckit.toys.oracles.quadratic_net import QuadraticNet, fourier_addition, generic_weights, quadratic_net_llc
from llckit.toys.oracles.superposition import POLYGONS, Superposition
from llckit.toys.oracles.tanh_net import TanhNet
from llckit.toys.oracles.toy import Energy, Toy, population_toy

__all__ = ["FAMILIES", "catalog"]

WATANABE = "Watanabe, Algebraic Geometry and Statistical Learning Theory, 2009"
AOYAGI_WATANABE = "Aoyagi & Watanabe, Neural Networks 18 (2005)"
COUNTED = "weights less symmetries, equal to half the Hessian's rank"


def catalog() -> list[Toy]:
    """All toys whose local learning coefficient is known, in the order of `FAMILIES`.

    Returns:
        Quadratics; even powers of a norm, quasi-homogeneous and other isolated zeros; monomials at the origin and away
        from it; disjoint products and sums; linear nets (matrix products at zero, deep ones at their deepest point,
        two-layer ones at any solution); tanh nets; polygons of superposition; quadratic nets.
    """
    return list(itertools.chain.from_iterable(family() for family in FAMILIES))


def quadratics() -> list[Toy]:
    """Quadratics of different rank, spread of curvatures, place and axes."""
    models = {}
    for rank, dim in ((1, 1), (1, 10), (10, 20), (100, 120)):
        curvatures = torch.zeros(dim)
        curvatures[:rank] = torch.logspace(-1, 1, rank) if rank > 1 else 1.0
        models[f"quadratic, rank {rank} of {dim}"] = Quadratic(curvatures)
    models["quadratic, curvatures 1e-2 to 1e3"] = Quadratic(torch.logspace(-2, 3, 20))
    away = torch.cat([torch.logspace(-1, 1, 5), torch.zeros(5)])
    models["quadratic, rank 5 of 10, far from the origin"] = Quadratic(away, torch.full((10,), 5.0))
    generator = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(30, 30, generator=generator, dtype=torch.float64))[0].float()
    rotated = torch.cat([torch.logspace(-2, 2, 15), torch.zeros(15)])
    models["quadratic, rank 15 of 30, rotated"] = Quadratic(rotated, axes=axes)
    return [
        population_toy(name, "quadratic", model, model.answer, "equipartition", exact=model.energy)
        for name, model in models.items()
    ]


def _monomial_name(powers: tuple[int, ...]) -> str:
    return " ".join(f"w{j}^{2 * k}" for j, k in enumerate(powers, 1))


def monomials() -> list[Toy]:
    """Monomials ∏ w_j^{2k_j} at the origin."""
    toys = []
    for powers in ((2,), (3,), (1, 1), (1, 2), (2, 2), (1, 1, 1), (1, 2, 3)):
        model = Monomial(powers)
        toys.append(
            population_toy(_monomial_name(powers), "monomial", model, model.answer, WATANABE, exact=model.energy)
        )
    return toys


def norm_powers() -> list[Toy]:
    """Even powers of a norm."""
    toys = []
    for dim, power in ((3, 2), (20, 2), (2, 3), (10, 4)):
        model = NormProduct([dim], [power])
        name = f"|w|^{2 * power}, {dim} weights"
        toys.append(population_toy(name, "power of a norm", model, model.answer, "scaling", exact=model.energy))
    return toys


def isolated_zeros() -> list[Toy]:
    """Quasi-homogeneous and other potentials whose only zero is the origin."""
    models = {
        "w1^2 + w2^4": DisjointSum(Monomial([1]), Monomial([2])),
        "w1^4 + w2^6": DisjointSum(Monomial([2]), Monomial([3])),
        "w1^2 + w2^4 + w3^6 + w4^8": DisjointSum(*(Monomial([k]) for k in (1, 2, 3, 4))),
        "w1^2 + w1 w2^2 + w2^4": Planar(lambda x, y: x**2 + x * y**2 + y**4, (3 / 4, 1)),
        "(w1 - w2^2)^2 + w2^6": Planar(lambda x, y: (x - y**2) ** 2 + y**6, (2 / 3, 1)),
        "w1^4 + w1^2 w2^2 + w2^4": Planar(lambda x, y: x**4 + x**2 * y**2 + y**4, (1 / 2, 1)),
        # Newton's polygon has a vertex on the diagonal, hence m = 2.
        "w1^6 + w1^2 w2^2 + w2^6": Planar(lambda x, y: x**6 + x**2 * y**2 + y**6, (1 / 2, 2)),
    }
    return [
        population_toy(name, "isolated zero", model, model.answer, WATANABE, exact=model.energy)
        for name, model in models.items()
    ]


def monomials_away_from_the_origin() -> list[Toy]:
    """Monomials at a zero where λ is larger than at zeros nearby; chains that wander there give less."""
    toys = []
    for powers, point in (((1, 1), (0, 1)), ((2, 1), (0, 1)), ((1, 2), (0, 1)), ((1, 1, 2), (0, 0, 3))):
        model = Monomial(powers, point)
        name = f"{_monomial_name(powers)} at ({', '.join(map(str, point))})"
        toys.append(
            population_toy(name, "monomial away from the origin", model, model.answer, WATANABE, exact=model.energy)
        )
    leak = Planar(lambda x, y: ((x - 1) * (x**2 + y**2) ** 2) ** 2, (1 / 2, 1), (1.0, 0.0))
    name = "(w1 - 1)^2 |w|^8 at (1, 0)"
    toys.append(population_toy(name, "monomial away from the origin", leak, leak.answer, WATANABE, exact=leak.energy))
    return toys


def disjoint() -> list[Toy]:
    """Products and sums of potentials that share no weights."""
    models = {
        "|u|^2 |v|^2, 3 and 3 weights": NormProduct([3, 3], [1, 1]),
        "|u|^2 |v|^2, 2 and 5 weights": NormProduct([2, 5], [1, 1]),
        "|u|^2 |v|^4, 3 and 4 weights": NormProduct([3, 4], [1, 2]),
        "|u|^2 |v|^2 |w|^2, 4 weights each": NormProduct([4, 4, 4], [1, 1, 1]),
        "w1^2 w2^2 + w3^2": DisjointSum(Monomial([1, 1]), Monomial([1])),
        "w1^2 w2^2 + w3^2 w4^2": DisjointSum(Monomial([1, 1]), Monomial([1, 1])),
        "w1^2 w2^4 + |v|^4, 6 weights": DisjointSum(Monomial([1, 2]), NormProduct([6], [2])),
    }
    return [
        population_toy(name, "disjoint product or sum", model, model.answer, WATANABE, exact=model.energy)
        for name, model in models.items()
    ]


def matrix_products() -> list[Toy]:
    """Linear nets of two layers, both zero."""
    toys = []
    for shape in ((2, 2, 2), (2, 1, 2), (3, 3, 3), (2, 3, 4), (4, 4, 2), (5, 3, 5), (8, 4, 10)):
        name = f"linear {'-'.join(map(str, shape))} at zero"
        exact = partial(matrix_product_energy, shape)
        toys.append(
            _linear_net(
                name, "matrix product", deepest_point(shape, 0), deep_linear_llc(shape, 0), AOYAGI_WATANABE, exact
            )
        )
    return toys


def deep_linear_nets() -> list[Toy]:
    """Linear nets at their deepest point."""
    toys = []
    for widths, rank in (
        ((2, 2, 2), 1),
        ((5, 3, 5), 3),
        ((10, 8, 12), 3),
        ((10, 10, 10), 5),
        ((4, 6, 5, 4), 2),
        ((10, 10, 10, 10, 10), 5),
        ((2, 2, 2, 2), 0),
        ((3, 3, 3, 3), 0),
        ((20, 5, 16, 8, 13), 1),
        *(random_widths(seed) for seed in range(6)),
    ):
        name = f"linear {'-'.join(map(str, widths))}, rank {rank}, deepest point"
        layers, answer = deepest_point(widths, rank), deep_linear_llc(widths, rank)
        toys.append(_linear_net(name, "deep linear", layers, answer, "Aoyagi, Entropy 26 (2024)"))
    return toys


def two_layer_nets() -> list[Toy]:
    """Linear nets of two layers at a solution of given ranks."""
    toys = []
    for shape, ranks in (
        ((10, 10, 10), (5, 5, 5)),
        ((10, 10, 10), (10, 5, 5)),
        ((10, 10, 10), (7, 8, 5)),
        ((2, 2, 2), (1, 0, 0)),
        ((2, 2, 2), (1, 1, 0)),
        ((2, 2, 2), (2, 0, 0)),
        ((6, 7, 5), (4, 3, 2)),
        ((8, 5, 10), (2, 3, 1)),
        ((4, 12, 6), (4, 6, 3)),
    ):
        a, b, r = ranks
        name = f"linear {'-'.join(map(str, shape))}, product rank {r}, layer ranks {a} and {b}"
        layers, answer = two_layer_point(shape, ranks), two_layer_llc(shape, ranks)
        source = f"{AOYAGI_WATANABE}, applied to the local normal form"
        toys.append(_linear_net(name, "two-layer linear", layers, answer, source))
    return toys


def _linear_net(
    name: str,
    family: str,
    layers: list[Tensor],
    answer: tuple[float, int],
    source: str,
    exact: Energy | None = None,
) -> Toy:
    return population_toy(name, family, LinearNet(layers), answer, source, loss_fn=matrix_loss, exact=exact)


def tanh_nets() -> list[Toy]:
    """Tanh nets at the origin."""
    toys = []
    for hidden, outputs in ((1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 2), (2, 3), (3, 2)):
        model = TanhNet(hidden, outputs)
        name = f"tanh 1-{hidden}-{outputs} at zero"
        exact = model.energy if hidden <= 2 else None
        toys.append(population_toy(name, "tanh net", model, model.answer, "Aoyagi, Entropy 21 (2019)", exact=exact))
    return toys


def polygons() -> list[Toy]:
    """Superposition at its regular polygons."""
    toys = []
    for features in POLYGONS:
        model = Superposition(features)
        toys.append(
            population_toy(f"superposition {features}-gon", "superposition", model, model.answer, "arXiv 2310.06301")
        )
    return toys


def quadratic_nets() -> list[Toy]:
    """Quadratic nets at generic solutions, and one that adds."""
    toys = []
    for p, units, pairs in ((3, 2, False), (5, 3, False), (7, 5, False), (3, 2, True), (5, 4, True), (7, 5, True)):
        model = QuadraticNet(*generic_weights(p, units, pairs=pairs), pairs=pairs)
        inputs = "pairs" if pairs else "normal inputs"
        name = f"quadratic net, {units} units, {p} classes, {inputs}"
        toys.append(population_toy(name, "quadratic net", model, quadratic_net_llc(p, units, pairs=pairs), COUNTED))
    first, second = fourier_addition(3)
    model = QuadraticNet(first, second, pairs=True)
    answer = quadratic_net_llc(3, len(first), pairs=True)
    toys.append(population_toy("quadratic net, addition mod 3", "quadratic net", model, answer, COUNTED))
    return toys


FAMILIES: tuple[Callable[[], list[Toy]], ...] = (
    quadratics,
    monomials,
    norm_powers,
    isolated_zeros,
    monomials_away_from_the_origin,
    disjoint,
    matrix_products,
    deep_linear_nets,
    two_layer_nets,
    tanh_nets,
    polygons,
    quadratic_nets,
)
