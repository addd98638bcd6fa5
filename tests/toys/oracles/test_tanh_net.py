"""Tanh nets: known values, and λ as the least over weighted scalings."""

import math

import pytest

import llckit as lk
from llckit.toys import TanhNet, tanh_llc


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


def test_impossible_nets():
    with pytest.raises(lk.InputError, match="hidden is 0"):
        TanhNet(0)
    with pytest.raises(lk.InputError, match="outputs is 0"):
        TanhNet(1, 0)
    with pytest.raises(lk.InputError, match="one or two"):
        TanhNet(3).energy(100.0, 1.0)
