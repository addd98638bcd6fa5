"""Exact energies against the models themselves: grids over two weights, draws from the localization for more."""

import math

import pytest
import torch

from llckit.toys import catalog

EXACT = [toy for toy in catalog() if toy.exact is not None]


def dim(toy):
    return sum(p.numel() for p in toy.model.parameters())


@pytest.mark.parametrize("toy", [t for t in EXACT if dim(t) == 2], ids=lambda toy: toy.name)
def test_two_weights_against_a_grid(toy, flat):
    t, gamma, points = 1086.0, 20.0, 800
    x = (torch.arange(points, dtype=torch.float64) + 0.5) * (2 * 5 / math.sqrt(gamma) / points) - 5 / math.sqrt(gamma)
    energy = t * flat(toy).losses(torch.cartesian_prod(x, x))
    weight = torch.exp(-energy - gamma / 2 * torch.cartesian_prod(x, x).square().sum(1))
    assert toy.exact(t, gamma) == pytest.approx(float((weight * energy).sum() / weight.sum()), rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("toy", EXACT, ids=lambda toy: toy.name)
def test_against_draws_from_the_localization(toy, flat):
    gamma, count = 1.0, 40_000
    generator = torch.Generator().manual_seed(1)
    drawn = flat(toy).losses(torch.randn(count, dim(toy), generator=generator, dtype=torch.float64) / math.sqrt(gamma))
    t, weight = 2000.0, torch.zeros(1, dtype=torch.float64)
    while weight.sum() < 1e-100 or weight.sum() ** 2 < 1000 * weight.square().sum():  # too few draws count
        t /= 2
        weight = torch.exp(-t * drawn)
    energy = t * drawn
    mean = (weight * energy).sum() / weight.sum()
    error = (weight * (energy - mean)).norm() / weight.sum()
    assert error < 0.06 * mean
    assert toy.exact(t, gamma) == pytest.approx(float(mean), abs=4.5 * float(error))
