"""Estimates of some weights only, and on other data than the net was trained on, where the answer is known."""

import math

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.toys import LinearNet, deep_linear_llc, deepest_point, matrix_loss
from tests.cases import squared_error

N_BETA, GAMMA = 1000.0, 1.0
QUICK = {"n_beta": N_BETA, "localization": GAMMA, "num_chains": 32, "num_draws": 200, "progress": False}


def quadratic_llc(curvatures):
    """½ Σ th/(th + γ), the exact value where the loss is quadratic."""
    stiffness = N_BETA * curvatures
    return float(0.5 * (stiffness / (stiffness + GAMMA)).sum())


@pytest.mark.slow
@pytest.mark.parametrize("layer", [0, 1])
def test_one_layer_of_a_linear_net_is_a_regression_on_the_other(layer):
    # K = ‖δ W₁‖² or ‖W₂ δ‖²: rank 2 of the other layer, times the outputs or inputs; together λ would be 8
    first, second = weights = deepest_point((4, 5, 6), 2)
    model = LinearNet(weights)
    data = (torch.zeros(1000, 1),)
    found = lk.estimate_llc(model, data, matrix_loss, params=[f"layers.{layer}"], **QUICK)
    other, free = (second, 4) if layer == 0 else (first, 6)
    curvatures = 2 * torch.linalg.svdvals(other.double())[:2].square().repeat(free)
    assert found.llc == pytest.approx(quadratic_llc(curvatures), abs=4 * found.mcse)
    assert found.mcse < 0.02 * free
    assert deep_linear_llc((4, 5, 6), 2)[0] > free  # λ of both layers is no sum of theirs


@pytest.mark.slow
def test_one_column_of_a_layer_by_a_mask():
    weights = deepest_point((4, 5, 6), 2)
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:, 1] = True
    found = lk.estimate_llc(
        LinearNet(weights), (torch.zeros(1000, 1),), matrix_loss, params={"layers.0": mask}, **QUICK
    )
    curvatures = 2 * torch.linalg.svdvals(weights[1].double())[:2].square()
    assert found.llc == pytest.approx(quadratic_llc(curvatures), abs=4 * found.mcse)


@pytest.mark.slow
def test_data_that_show_less_leave_more_directions_flat():
    # The same weights on inputs of a subspace: λ = outputs × its dimension / 2, in place of all inputs'
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(6, 3, bias=False)
    everything = torch.randn(500, 6, generator=generator)
    part = torch.randn(500, 2, generator=generator) @ torch.randn(2, 6, generator=generator)
    for inputs in (everything, part):
        with torch.no_grad():
            data = inputs, model(inputs)
        found = lk.estimate_llc(model, data, squared_error, **QUICK)
        curvatures = torch.linalg.eigvalsh(2 * inputs.double().T @ inputs.double() / len(inputs)).clamp_min(0)
        exact = quadratic_llc(curvatures.repeat(3))
        assert exact == pytest.approx(1.5 * int(torch.linalg.matrix_rank(inputs)), rel=0.01)
        assert found.llc == pytest.approx(exact, abs=4 * found.mcse)


@pytest.mark.slow
def test_a_linear_net_on_a_subspace_has_the_coefficient_of_a_narrower_net():
    # ‖(W₂W₁ − T)P‖² sees as many inputs as P has dimensions; the other columns of W₁ are flat
    weights = deepest_point((6, 4, 5), 2)
    basis = torch.linalg.qr(torch.randn(6, 3, generator=torch.Generator().manual_seed(1)))[0]
    inputs = math.sqrt(3) * basis.T  # three samples whose mean of x xᵀ is the projection P
    model = nn.Sequential(nn.Linear(6, 4, bias=False), nn.Linear(4, 5, bias=False))
    with torch.no_grad():
        for layer, weight in zip(model, weights, strict=True):
            layer.weight.copy_(weight)
        data = inputs, model(inputs)
    settings = QUICK | {"n_beta": 1e5, "num_draws": 400}
    found = lk.estimate_llc(model, data, squared_error, n=10**6, **settings)
    narrower, multiplicity = deep_linear_llc((3, 4, 5), 2)
    whole = deep_linear_llc((6, 4, 5), 2)[0]
    assert multiplicity == 1
    assert found.llc == pytest.approx(narrower, abs=0.04 * narrower + 3 * found.mcse)
    assert abs(found.llc - whole) > 0.1 * whole
