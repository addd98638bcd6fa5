"""Piecewise-linear fits: the loss against a sum over x, λ against a quadrature, the bracket and sampling."""

import copy

import numpy as np
import pytest
import torch

import llckit as lk
from llckit.errors import InputError
from llckit.toys import ReLUPieces, potential_loss, relu_pieces_llc

DATA = (torch.zeros(10_000, 1),)
# Kinks, changes of slope, λ: apart; together; together, with slopes of opposite signs; one always active; one never.
CASES = {
    "one": ((0.1,), (1.0,), 3 / 2),
    "apart": ((-0.3, 0.4), (1.0, -1.5), 5 / 2),
    "together": ((0.1, 0.1), (1.0, 0.7), 11 / 6),
    "together, against each other": ((0.1, 0.1), (1.5, -0.7), 11 / 6),
    "one always active": ((0.0, -1.8), (1.0, 1.0), 2),
    "one never active": ((0.0, 1.9), (1.0, 1.0), 3 / 2),
    "one without weight": ((0.0, 0.3), (1.0, 0.0), 2),
}
MANY = (0.1, 0.1, 0.1, -0.5, -1.5, -2, 2), (1, 2, -0.5, 0, 1, 1, 1)


def moved(model, seed, size=0.3):
    model = copy.deepcopy(model).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_the_mean_square_over_x(seed):
    model = moved(ReLUPieces(*MANY), seed, 0.5)
    nodes = (np.arange(200_000) + 0.5) / 100_000 - 1
    with torch.no_grad():
        x = torch.from_numpy(nodes)[:, None]
        away = model.level + torch.relu(x - model.kinks) @ model.heights - torch.relu(x - model.truth) @ model.changes
        # the midpoint rule is off by a quarter of the squared spacing where slopes are of order 1
        assert float(model()) == pytest.approx(float(away.square().mean()), abs=1e-7)


def test_the_gradient_is_that_of_differences():
    model = moved(ReLUPieces(*MANY), 0)
    (gradient,) = torch.autograd.grad(model(), model.kinks)
    for i in range(len(gradient)):
        ends = []
        for shift in (1e-6, -1e-6):
            other = copy.deepcopy(model)
            with torch.no_grad():
                other.kinks[i] += shift
                ends.append(float(other()))
        assert float(gradient[i]) == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_exact_energy_tends_to_lambda(name):
    kinks, heights, llc = CASES[name]
    model = ReLUPieces(kinks, heights)
    assert model.answer == (pytest.approx(llc), 1)
    ladder = [model.energy(t, 300.0) for t in (1e4, 1e6, 1e8)]
    errors = np.abs(np.array(ladder) - llc)
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 2e-3


def test_a_kink_that_lines_up_adds_a_third():
    apart = relu_pieces_llc([-0.2, 0.1, 0.4], [1.0, 2.0, -0.5])
    assert apart == pytest.approx(7 / 2)
    assert relu_pieces_llc([0.1, 0.1, 0.4], [1.0, 2.0, -0.5]) == pytest.approx(apart - 2 / 3)
    assert relu_pieces_llc([0.1, 0.1, 0.1], [1.0, 2.0, -0.5]) == pytest.approx(apart - 4 / 3)
    assert relu_pieces_llc(*MANY) == pytest.approx(1 / 2 + 1 / 2 + (1 + 2 / 3) + 1 / 2)


def test_three_kinks_that_part_cost_the_cube_of_their_distance():
    """The step of the proof: at the same slopes and the same line on the right, K is homogeneous of degree 3 in δ."""
    heights = np.array([1.0, 2.0, -0.5])
    for direction in ([1.0, -0.2], [-0.3, 1.0], [1.0, 1.0], [0.5, -1.0]):
        away = np.array([*direction, 0.0])
        away -= heights @ away / heights.sum()
        losses = []
        for size in (0.1, 0.05, 0.025):
            model = ReLUPieces([0.1] * 3, heights.tolist()).double()
            with torch.no_grad():
                model.truth[:] = 0.1
                model.kinks[:] = torch.from_numpy(0.1 + size * away)
            losses.append(model().item())
        assert losses[0] > 1e-6
        np.testing.assert_allclose(losses[:2], 8 * np.array(losses[1:]), rtol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_lambda_is_in_the_bracket(name):
    kinks, heights, llc = CASES[name]
    box = lk.bracket(ReLUPieces(kinks, heights), DATA, potential_loss)
    regular = name in {"one", "apart", "one always active", "one never active", "one without weight"}
    assert box.lower <= llc + 1e-12
    assert (box.lower == llc) == regular
    assert llc <= box.upper == len(kinks) + 1 / 2


@pytest.mark.slow
def test_sampling_agrees_with_the_quadrature():
    for name in ("apart", "together"):
        model = ReLUPieces(*CASES[name][:2])
        settings = {"n_beta": 1e5, "localization": 300.0, "num_chains": 32, "num_draws": 60, "progress": False}
        estimate = lk.estimate_llc(model, DATA, potential_loss, **settings)
        assert abs(estimate.llc - model.energy(1e5, 300.0)) < 4 * estimate.mcse
        assert estimate.mcse < 0.1


@pytest.mark.parametrize(
    "call",
    [
        lambda: relu_pieces_llc([], []),
        lambda: relu_pieces_llc([0.1], [1.0, 2.0]),
        lambda: relu_pieces_llc([1.0], [1.0]),
        lambda: relu_pieces_llc([float("nan")], [1.0]),
        lambda: relu_pieces_llc("ab", [1.0, 2.0]),
        lambda: relu_pieces_llc(0.1, 1.0),
        lambda: relu_pieces_llc([[0.1], [0.2]], [[1.0], [2.0]]),
        lambda: relu_pieces_llc([0.1, [0.2]], [1.0, 2.0]),
        lambda: relu_pieces_llc([0.1, 0.1], [1.0, -1.0]),
        lambda: relu_pieces_llc([0.1, 0.1], [1.0, 0.0]),
        lambda: ReLUPieces([0.1, 0.1], [1.0, -1.0]),
        lambda: ReLUPieces([0.1, 0.2, 0.3], [1.0, 1.0, 1.0]).energy(1e4, 1.0),
        lambda: ReLUPieces([0.1], [1.0]).energy("1e4", 1.0),
        lambda: ReLUPieces([0.1], [1.0]).energy(1e4, 0.0),
        lambda: ReLUPieces([0.1], [1.0]).energy(float("nan"), 1.0),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
