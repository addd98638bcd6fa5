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
    two_layer_llc,
    two_layer_point,
)
from llckit.toys.potentials import (
    Monomial,
    Quadratic,
    monomial_energy,
    monomial_llc,
    potential_loss,
    quadratic_energy,
)

SAMPLES = 10_000  # n; the losses are population losses, so the data only say how many samples there would be


class Toy(NamedTuple):
    """A model at a point whose LLC is known; `estimate_llc(toy.model, toy.data, toy.loss_fn)` estimates it.

    Attributes:
        name: unique.
        family: what it is an example of.
        model: at w*.
        data: one dummy column of n rows.
        loss_fn: the population loss.
        llc: the local learning coefficient λ at this point.
        multiplicity: m.
        exact: E[nβ (L − L*)] as a function of (n_beta, localization); None where no closed form is known.
        source: where the answer comes from.
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
    """All toys with a closed form.

    Returns:
        Quadratics, monomials, deep linear nets at their deepest point, two-layer linear nets at any solution.
    """
    return [*_quadratics(), *_monomials(), *_deep_linear_nets(), *_two_layer_nets()]


def _data() -> tuple[Tensor]:
    return (torch.zeros(SAMPLES, 1),)


def _quadratics() -> list[Toy]:
    toys = []
    for rank, dim in ((1, 1), (1, 10), (10, 20), (100, 120)):
        curvatures = torch.zeros(dim)
        curvatures[:rank] = torch.logspace(-1, 1, rank) if rank > 1 else 1.0
        toys.append(
            Toy(
                name=f"quadratic, rank {rank} of {dim}",
                family="quadratic",
                model=Quadratic(curvatures),
                data=_data(),
                loss_fn=potential_loss,
                llc=rank / 2,
                multiplicity=1,
                exact=partial(quadratic_energy, curvatures),
                source="equipartition",
            )
        )
    return toys


def _monomials() -> list[Toy]:
    toys = []
    for powers in ((2,), (3,), (1, 1), (1, 2)):
        llc, multiplicity = monomial_llc(powers)
        toys.append(
            Toy(
                name=" ".join(f"w{j}^{2 * k}" for j, k in enumerate(powers, 1)),
                family="monomial",
                model=Monomial(powers),
                data=_data(),
                loss_fn=potential_loss,
                llc=llc,
                multiplicity=multiplicity,
                exact=partial(monomial_energy, powers),
                source="Watanabe, Algebraic Geometry and Statistical Learning Theory, 2009",
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
    ):
        name = f"linear {'-'.join(map(str, widths))}, rank {rank}, deepest point"
        layers, answer = deepest_point(widths, rank), deep_linear_llc(widths, rank)
        toys.append(_linear_net(name, "deep linear", layers, answer, "Aoyagi, Entropy 26 (2024)"))
    return toys


def _two_layer_nets() -> list[Toy]:
    toys = []
    shape = (10, 10, 10)
    source = "Aoyagi & Watanabe, Neural Networks 18 (2005), applied to the local normal form"
    for a, b, r in ((5, 5, 5), (10, 5, 5), (7, 8, 5)):
        name = f"linear 10-10-10, product rank {r}, layer ranks {a} and {b}"
        layers, answer = two_layer_point(shape, (a, b, r)), two_layer_llc(shape, (a, b, r))
        toys.append(_linear_net(name, "two-layer linear", layers, answer, source))
    return toys


def _linear_net(name: str, family: str, layers: list[Tensor], answer: tuple[float, int], source: str) -> Toy:
    return Toy(
        name=name,
        family=family,
        model=LinearNet(layers),
        data=_data(),
        loss_fn=matrix_loss,
        llc=answer[0],
        multiplicity=answer[1],
        exact=None,
        source=source,
    )
