"""The toys whose answer is known, one by one, with their source."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from llckit.toys.linear_nets import (
    LinearNet,
    deep_linear_llc,
    deepest_point,
    matrix_loss,
    random_widths,
    two_layer_llc,
    two_layer_point,
)
from llckit.toys.matrix_products import matrix_product_energy
from llckit.toys.planar import Planar
from llckit.toys.potentials import DisjointSum, Monomial, NormProduct, Quadratic, potential_loss
from llckit.toys.quadratic_net import QuadraticNet, fourier_addition, generic_weights, quadratic_net_llc
from llckit.toys.superposition import POLYGONS, Superposition
from llckit.toys.tanh_net import TanhNet

SAMPLES = 10_000  # n; the losses are population losses, so the data only say how many samples there would be
WATANABE = "Watanabe, Algebraic Geometry and Statistical Learning Theory, 2009"
AOYAGI_WATANABE = "Aoyagi & Watanabe, Neural Networks 18 (2005)"
COUNTED = "weights less symmetries, equal to half the Hessian's rank"


class Toy(NamedTuple):
    """A model at a point whose LLC is known; `estimate_llc(toy.model, toy.data, toy.loss_fn)` estimates it.

    Attributes:
        name: Unique.
        family: What it is an example of.
        model: At w*.
        data: One dummy column of n rows.
        loss_fn: The population loss.
        llc: The local learning coefficient λ at this point.
        multiplicity: m.
        exact: E[nβ (L − L*)] as a function of (n_beta, localization); None where no closed form is known.
        source: Where the answer comes from.
    """

    name: str
    family: str
    model: nn.Module
    data: tuple[Tensor, ...]
    loss_fn: Callable[[Any, Any], Tensor]
    llc: float
    multiplicity: int
    exact: Callable[[float, float], float] | None
    source: str


def catalog() -> list[Toy]:
    """All toys whose local learning coefficient is known.

    Returns:
        Quadratics; even powers of a norm, quasi-homogeneous and other isolated zeros; monomials at the origin and away
        from it; disjoint products and sums; linear nets (matrix products at zero, deep ones at their deepest point,
        two-layer ones at any solution); tanh nets; polygons of superposition; quadratic nets.
    """
    return [
        *_quadratics(),
        *_monomials(),
        *_norm_powers(),
        *_isolated_zeros(),
        *_monomials_away_from_the_origin(),
        *_disjoint(),
        *_matrix_products(),
        *_deep_linear_nets(),
        *_two_layer_nets(),
        *_tanh_nets(),
        *_polygons(),
        *_quadratic_nets(),
    ]


def _toy(
    name: str,
    family: str,
    model: nn.Module,
    answer: tuple[float, int],
    source: str,
    *,
    loss_fn: Callable[[Any, Any], Tensor] = potential_loss,
    exact: Callable[[float, float], float] | None = None,
) -> Toy:
    return Toy(name, family, model, (torch.zeros(SAMPLES, 1),), loss_fn, *answer, exact, source)


def _quadratics() -> list[Toy]:
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
        _toy(name, "quadratic", model, model.answer, "equipartition", exact=model.energy)
        for name, model in models.items()
    ]


def _monomial_name(powers: tuple[int, ...]) -> str:
    return " ".join(f"w{j}^{2 * k}" for j, k in enumerate(powers, 1))


def _monomials() -> list[Toy]:
    toys = []
    for powers in ((2,), (3,), (1, 1), (1, 2), (2, 2), (1, 1, 1), (1, 2, 3)):
        model = Monomial(powers)
        toys.append(_toy(_monomial_name(powers), "monomial", model, model.answer, WATANABE, exact=model.energy))
    return toys


def _norm_powers() -> list[Toy]:
    toys = []
    for dim, power in ((3, 2), (20, 2), (2, 3), (10, 4)):
        model = NormProduct([dim], [power])
        name = f"|w|^{2 * power}, {dim} weights"
        toys.append(_toy(name, "power of a norm", model, model.answer, "scaling", exact=model.energy))
    return toys


def _isolated_zeros() -> list[Toy]:
    models = {
        "w1^2 + w2^4": DisjointSum(Monomial([1]), Monomial([2])),
        "w1^4 + w2^6": DisjointSum(Monomial([2]), Monomial([3])),
        "w1^2 + w2^4 + w3^6 + w4^8": DisjointSum(*(Monomial([k]) for k in (1, 2, 3, 4))),
        "w1^2 + w1 w2^2 + w2^4": Planar(lambda x, y: x**2 + x * y**2 + y**4, (3 / 4, 1)),
        "(w1 - w2^2)^2 + w2^6": Planar(lambda x, y: (x - y**2) ** 2 + y**6, (2 / 3, 1)),
        "w1^4 + w1^2 w2^2 + w2^4": Planar(lambda x, y: x**4 + x**2 * y**2 + y**4, (1 / 2, 1)),
        # Newton's polygon has a vertex on the diagonal.
        "w1^6 + w1^2 w2^2 + w2^6": Planar(lambda x, y: x**6 + x**2 * y**2 + y**6, (1 / 2, 2)),
    }
    return [
        _toy(name, "isolated zero", model, model.answer, WATANABE, exact=model.energy) for name, model in models.items()
    ]


def _monomials_away_from_the_origin() -> list[Toy]:
    """Where λ is larger than at zeros near by, chains that wander there see less."""
    toys = []
    for powers, point in (((1, 1), (0, 1)), ((2, 1), (0, 1)), ((1, 2), (0, 1)), ((1, 1, 2), (0, 0, 3))):
        model = Monomial(powers, point)
        name = f"{_monomial_name(powers)} at ({', '.join(map(str, point))})"
        toys.append(_toy(name, "monomial away from the origin", model, model.answer, WATANABE, exact=model.energy))
    leak = Planar(lambda x, y: ((x - 1) * (x**2 + y**2) ** 2) ** 2, (1 / 2, 1), (1.0, 0.0))
    name = "(w1 - 1)^2 |w|^8 at (1, 0)"
    toys.append(_toy(name, "monomial away from the origin", leak, leak.answer, WATANABE, exact=leak.energy))
    return toys


def _disjoint() -> list[Toy]:
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
        _toy(name, "disjoint product or sum", model, model.answer, WATANABE, exact=model.energy)
        for name, model in models.items()
    ]


def _matrix_products() -> list[Toy]:
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


def _deep_linear_nets() -> list[Toy]:
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


def _two_layer_nets() -> list[Toy]:
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
    exact: Callable[[float, float], float] | None = None,
) -> Toy:
    return _toy(name, family, LinearNet(layers), answer, source, loss_fn=matrix_loss, exact=exact)


def _tanh_nets() -> list[Toy]:
    toys = []
    for hidden, outputs in ((1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (2, 2), (2, 3), (3, 2)):
        model = TanhNet(hidden, outputs)
        name = f"tanh 1-{hidden}-{outputs} at zero"
        exact = model.energy if hidden <= 2 else None
        toys.append(_toy(name, "tanh net", model, model.answer, "Aoyagi, Entropy 21 (2019)", exact=exact))
    return toys


def _polygons() -> list[Toy]:
    toys = []
    for features in POLYGONS:
        model = Superposition(features)
        toys.append(_toy(f"superposition {features}-gon", "superposition", model, model.answer, "arXiv 2310.06301"))
    return toys


def _quadratic_nets() -> list[Toy]:
    toys = []
    for p, units, pairs in ((3, 2, False), (5, 3, False), (7, 5, False), (3, 2, True), (5, 4, True), (7, 5, True)):
        model = QuadraticNet(*generic_weights(p, units, pairs=pairs), pairs=pairs)
        inputs = "pairs" if pairs else "normal inputs"
        name = f"quadratic net, {units} units, {p} classes, {inputs}"
        toys.append(_toy(name, "quadratic net", model, quadratic_net_llc(p, units, pairs=pairs), COUNTED))
    first, second = fourier_addition(3)
    model = QuadraticNet(first, second, pairs=True)
    answer = quadratic_net_llc(3, len(first), pairs=True)
    toys.append(_toy("quadratic net, addition mod 3", "quadratic net", model, answer, COUNTED))
    return toys
