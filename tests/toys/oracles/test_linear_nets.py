"""Linear nets: closed forms against published values and independent formulas, and the points that are built."""

import itertools
import math

import pytest
import torch

import llckit as lk
from llckit.toys import (
    LinearNet,
    catalog,
    deep_linear_llc,
    deepest_point,
    random_widths,
    two_layer_llc,
    two_layer_point,
)

TABLE = [
    ((2, 2, 2), 0, 3 / 2, 1),
    ((2, 2, 2), 1, 2, 2),
    ((2, 1, 2), 0, 1, 2),
    ((3, 3, 3), 0, 7 / 2, 2),
    ((2, 2, 2, 2), 0, 3 / 2, 3),
    ((3, 3, 3, 3), 0, 3, 1),
    ((2, 3, 4), 0, 3, 2),
    ((4, 4, 2), 0, 7 / 2, 1),
    ((5, 3, 5), 0, 13 / 2, 2),
    ((5, 3, 5), 3, 21 / 2, 1),
    ((10, 8, 12), 3, 45, 2),
    ((10, 10, 10), 5, 47, 2),
    ((10,) * 5, 5, 91 / 2, 4),
]


@pytest.mark.parametrize(("widths", "rank", "llc", "multiplicity"), TABLE)
def test_deep_linear_nets_published_values(widths, rank, llc, multiplicity):
    assert deep_linear_llc(widths, rank) == (llc, multiplicity)


def by_partition(widths, rank):
    """λ as a minimum over non-increasing integers t_1 >= … >= t_L = 0, which shares nothing with the active set."""
    d = [h - rank for h in widths]
    best = math.inf
    ranges = [range(min(d[0], d[1]) + 1), *(range(x + 1) for x in d[2:-1])]
    for inner in itertools.product(*ranges):
        t = (*inner, 0)
        if all(a >= b for a, b in itertools.pairwise(t)):
            value = (d[0] - t[0]) * (d[1] - t[0])
            value += sum((t[j - 1] - t[j]) * (d[j + 1] - t[j]) for j in range(1, len(t)))
            best = min(best, value)
    return (rank * (widths[0] + widths[-1]) - rank**2) / 2 + best / 2


def test_deep_linear_nets_agree_with_an_independent_formula():
    cases = 0
    for layers in (3, 4):
        for widths in itertools.product(range(1, 5), repeat=layers):
            for rank in range(min(widths) + 1):
                assert deep_linear_llc(widths, rank)[0] == pytest.approx(by_partition(widths, rank))
                cases += 1
    assert cases > 500


@pytest.mark.parametrize(
    ("shape", "ranks", "expected"),
    [
        ((10, 10, 10), (5, 5, 5), (47, 2)),
        ((10, 10, 10), (10, 5, 5), (50, 1)),
        ((10, 10, 10), (7, 8, 5), (47, 1)),
        ((2, 2, 2), (0, 0, 0), (3 / 2, 1)),
        ((2, 2, 2), (1, 1, 0), (3 / 2, 1)),
        ((2, 2, 2), (0, 2, 0), (2, 1)),
        ((2, 2, 2), (2, 0, 0), (2, 1)),
    ],
)
def test_two_layer_nets_published_values(shape, ranks, expected):
    assert two_layer_llc(shape, ranks) == expected
    if ranks[0] == ranks[1] == ranks[2]:
        assert deep_linear_llc(shape, ranks[2]) == expected


def test_points_have_the_ranks_they_promise():
    for matrix in deepest_point((6, 5, 7, 4), 2):
        assert torch.linalg.matrix_rank(matrix, rtol=1e-5) == 2
    a, b = two_layer_point((6, 7, 5), (4, 3, 2), seed=3)
    ranks = [int(torch.linalg.matrix_rank(m, atol=1e-4)) for m in (a, b, b @ a)]
    assert ranks == [4, 3, 2]
    net = LinearNet(deepest_point((6, 5, 7, 4), 2))
    assert float((net() - net.target).abs().max().detach()) < 1e-6


@pytest.mark.parametrize(("widths", "rank"), [((3,), 1), ((3, 2), 3), ((3, 0), 0)])
def test_impossible_nets(widths, rank):
    with pytest.raises(lk.InputError, match="widths"):
        deepest_point(widths, rank)
    with pytest.raises(lk.InputError, match="widths"):
        deep_linear_llc(widths, rank)


def test_impossible_two_layer_solutions():
    with pytest.raises(lk.InputError, match="ranks is"):
        two_layer_point((3, 3, 3), (3, 3, 1))


def test_deep_nets_agree_with_the_minimum_over_partitions():
    nets = [t for t in catalog() if t.family in {"deep linear", "matrix product"}]
    for toy in nets:
        layers = [p.detach() for p in toy.model.parameters()]
        rank = int(torch.linalg.matrix_rank(toy.model.target, atol=1e-3))
        excess = [layers[0].shape[1] - rank, *(layer.shape[0] - rank for layer in layers)]
        regular = rank * (layers[0].shape[1] + layers[-1].shape[0] - rank) / 2
        assert toy.llc == regular + cheapest_partition(excess) / 2, toy.name
    assert len(nets) >= 20


def cheapest_partition(d):
    """min over t_1 >= … >= t_L = 0 of (d_0 − t_1)(d_1 − t_1) + Σ_{j>=2} (t_{j−1} − t_j)(d_j − t_j), layer by layer."""
    costs = {t: (d[0] - t) * (d[1] - t) for t in range(min(d[0], d[1]) + 1)}
    for j in range(2, len(d)):
        ends = [0] if j == len(d) - 1 else range(d[j] + 1)
        costs = {
            t: min(cost + (before - t) * (d[j] - t) for before, cost in costs.items() if before >= t)
            for t in ends
            if any(before >= t for before in costs)
        }
    return costs[0] if len(d) > 2 else d[0] * d[1]


def test_two_layer_nets_are_a_regular_part_and_a_smaller_net_at_zero():
    cases = 0
    for n, h, m in itertools.product(range(1, 6), repeat=3):
        for a, b in itertools.product(range(min(n, h)), range(min(m, h))):
            for r in range(max(0, a + b - h), min(a, b) + 1):
                rest = (n - a, h - a - b + r, m - b)
                if min(rest) < 1:
                    continue
                llc, multiplicity = deep_linear_llc(rest, 0)
                assert two_layer_llc((n, h, m), (a, b, r)) == ((m * a + b * n - a * b) / 2 + llc, multiplicity)
                cases += 1
    assert cases > 300


def test_random_widths_depend_on_the_seed_alone():
    drawn = [random_widths(seed, most_layers=6, widest=60) for seed in range(200)]
    assert drawn == [random_widths(seed, most_layers=6, widest=60) for seed in range(200)]
    assert {len(widths) for widths, _ in drawn} == {3, 4, 5, 6, 7}
    assert min(min(widths) for widths, _ in drawn) == 4
    assert max(max(widths) for widths, _ in drawn) == 60
    assert all(1 <= rank < min(widths) for widths, rank in drawn)
