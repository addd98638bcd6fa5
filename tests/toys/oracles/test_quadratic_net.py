"""Quadratic nets: addition, the loss on normal inputs against draws, and symmetries."""

import math

import pytest
import torch

import llckit as lk
from llckit.toys import QuadraticNet, fourier_addition, quadratic_net_llc


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


def test_impossible_nets():
    with pytest.raises(lk.InputError, match="shapes"):
        QuadraticNet(torch.zeros(2, 5), torch.zeros(2, 3), pairs=True)
    with pytest.raises(lk.InputError, match="odd"):
        fourier_addition(4)
