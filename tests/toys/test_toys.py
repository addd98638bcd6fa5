"""The closed forms against independent ones, and the training runs against what is known of them."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

import llckit as lk
from llckit.toys import (
    LinearNet,
    deep_linear_llc,
    deepest_point,
    monomial_energy,
    monomial_llc,
    staircase_rise,
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
    with pytest.raises(lk.InputError, match="no A"):
        two_layer_point((3, 3, 3), (3, 3, 1))


@pytest.mark.parametrize(("localization", "expected"), [(1.0, 0.4252916), (100.0, 0.2779219)])
def test_product_of_squares_closed_form(localization, expected):
    t = 72380.0
    z = localization**2 / (8 * t)
    closed = 0.5 + z * (1 - special.kve(1, z) / special.kve(0, z))
    assert closed == pytest.approx(expected, abs=1e-6)
    assert monomial_energy((1, 1), t, localization) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_single_monomials_against_plain_quadrature(power):
    t, gamma = 300.0, 2.0

    def density(w):
        return math.exp(-t * w ** (2 * power) - gamma / 2 * w * w)

    zero = integrate.quad(density, 0, 5, points=[0.1, 0.5], limit=200)[0]
    one = integrate.quad(lambda w: t * w ** (2 * power) * density(w), 0, 5, points=[0.1, 0.5], limit=200)[0]
    assert monomial_energy((power,), t, gamma) == pytest.approx(one / zero, rel=1e-6)
    assert monomial_energy((power,), 1e12, 1.0) == pytest.approx(1 / (2 * power), rel=1e-3)


def test_monomials():
    assert monomial_llc((2,)) == (0.25, 1)
    assert monomial_llc((1, 1)) == (0.5, 2)
    assert monomial_llc((1, 2)) == (0.25, 1)
    with pytest.raises(lk.InputError, match="powers"):
        lk.toys.Monomial((0,))


def record(run, tmp_path, steps):
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    lk.toys.train(run, lk.Recorder(store, steps))
    return store


def test_the_staircase_rises_when_it_should(tmp_path):
    run = lk.toys.staircase()
    steps = list(range(0, run.last_step + 1, 10))
    store = record(run, tmp_path, steps)
    for mode, strength in enumerate(lk.toys.training.STAIRCASE_MODES):
        u = np.array([store.metadata(step)[f"mode_{mode}"] for step in store.steps])
        half = np.interp(strength / 2, u, steps)
        # The closed form is gradient flow's; a step of size η errs by about a share 2ηs.
        assert half == pytest.approx(staircase_rise(mode), rel=4 * 2e-3 * strength + 0.01)
    assert store.metadata(run.last_step)["loss"] < 1e-6


def test_modular_addition_groks(tmp_path):
    run = lk.toys.modular_addition()
    assert run.task.dim == 6920
    assert run.task.n == 924
    store = record(run._replace(last_step=1500), tmp_path, [0, 200, 1500])
    assert store.metadata(200)["loss"] < 0.2
    assert store.metadata(200)["test_accuracy"] < 0.2
    assert store.metadata(1500)["test_accuracy"] > 0.95


def test_digits_are_learned_and_a_run_depends_on_its_seed_alone(tmp_path):
    run = lk.toys.digits(seed=1)._replace(last_step=200)
    torch.manual_seed(5)
    first = record(run, tmp_path / "a", [0, 200])
    torch.manual_seed(6)
    second = record(lk.toys.digits(seed=1)._replace(last_step=200), tmp_path / "b", [0, 200])
    assert first.metadata(200)["test_accuracy"] > 0.9
    assert first.manifest(0).weights_hash == second.manifest(0).weights_hash
    assert first.manifest(0).weights_hash != first.manifest(200).weights_hash
