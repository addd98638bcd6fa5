"""Symmetries of weight space: which of them an estimate does not see, and what it sees of the others.

The learning coefficient is invariant under all of them, the localiser γ/2 ‖w − w*‖² only under those that keep lengths.
"""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

import llckit as lk
from llckit.toys import LinearNet, Monomial, Quadratic, deepest_point, matrix_loss, potential_loss
from tests.cases import mean_squared_error

N_BETA = 1000.0
INPUTS = torch.randn(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
POPULATION = (torch.zeros(1000, 1),)


def mlp(activation):
    net = nn.Sequential(nn.Linear(2, 3), activation(), nn.Linear(3, 1)).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return net


def data_of(activation):
    return INPUTS, mlp(activation)(INPUTS).detach()


def estimate(model, data, loss_fn, **settings):
    defaults = {"n_beta": N_BETA, "localization": 30.0, "num_chains": 32, "num_burnin": 60, "num_draws": 100}
    return lk.estimate_llc(model, data, loss_fn, progress=False, **(defaults | settings))


def z_score(a, b):
    assert max(a.mcse / a.llc, b.mcse / b.llc) < 0.03, "else nothing is tested"
    return (a.llc - b.llc) / math.hypot(a.mcse, b.mcse)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_a_permutation_of_hidden_units_changes_nothing(activation):
    net, moved = mlp(activation), mlp(activation)
    order = [2, 0, 1]
    with torch.no_grad():
        for name in ("0.weight", "0.bias"):
            moved.get_parameter(name).copy_(net.get_parameter(name)[order])
        moved.get_parameter("2.weight").copy_(net.get_parameter("2.weight")[:, order])
    data = data_of(activation)
    torch.testing.assert_close(moved(INPUTS), data[1])
    a = estimate(net, data, mean_squared_error)
    b = estimate(moved, data, mean_squared_error, seed=1)
    assert abs(z_score(a, b)) <= 3
    assert a.llc > 3


@functools.cache
def linear(change, localization=1.0, seed=0):
    """A linear net of rank 1 at its deepest point, with `change` as the basis of its hidden layer."""
    first, second = (w.double() for w in deepest_point((3, 3, 2), 1))
    matrix = CHANGES[change]
    net = LinearNet([matrix @ first, second @ torch.linalg.inv(matrix)], target=second @ first)
    return estimate(net, POPULATION, matrix_loss, localization=localization, num_draws=200, seed=seed)


ROTATION = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64))[0]
CHANGES = {
    "none": torch.eye(3, dtype=torch.float64),
    "permutation": torch.eye(3, dtype=torch.float64)[[1, 2, 0]],
    "rotation": ROTATION,
    "stretch": ROTATION.T @ torch.diag(torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64)) @ ROTATION,
}


@pytest.mark.slow
@pytest.mark.parametrize("change", ["permutation", "rotation"])
def test_orthogonal_changes_of_a_hidden_basis_change_nothing(change):
    assert abs(z_score(linear("none"), linear(change, seed=1))) <= 3


@pytest.mark.slow
def test_other_changes_of_basis_are_seen_by_the_localiser():
    plain, stretched = (linear(change, 30.0, seed) for seed, change in enumerate(("none", "stretch")))
    assert z_score(plain, stretched) > 3
    assert stretched.llc > 0.85 * plain.llc


# Incoming weights and biases times c, outgoing ones divided by it. Curvatures of the former go as 1/c², so the
# localiser freezes those 9 weights at large c, which leaves 4 free ones; at small c it only takes the three symmetry
# orbits of 13.
MOST, LEAST = 5.0, 2.0


def rescaled(factor):
    net = mlp(nn.ReLU)
    with torch.no_grad():
        for name in ("0.weight", "0.bias"):
            net.get_parameter(name).mul_(factor)
        net.get_parameter("2.weight").div_(factor)
    return net


def equipartition(net, localization, n_beta=N_BETA):
    """½ Σ nβh/(nβh + γ) over the Hessian's eigenvalues, which are those of Gauss and Newton as nothing is left over."""
    weights = {name: p.detach() for name, p in net.named_parameters()}
    jacobian = jacrev(lambda w: functional_call(net, w, (INPUTS,)))(weights)
    flat = torch.cat([j.reshape(len(INPUTS), -1) for j in jacobian.values()], 1)
    k = n_beta * torch.linalg.eigvalsh(2 * flat.T @ flat / len(INPUTS)).clamp(min=0)
    return float((0.5 * k / (k + localization)).sum())


def test_rescaled_units_compute_the_same():
    for factor in (1e-2, 0.1, 10.0, 1e2):
        torch.testing.assert_close(rescaled(factor)(INPUTS), mlp(nn.ReLU)(INPUTS))


@functools.cache
def at_scale(factor, n_beta=N_BETA):
    settings = {"num_burnin": 100, "num_draws": 220, "seed": round(100 * factor), "n_beta": n_beta}
    return estimate(rescaled(factor), data_of(nn.ReLU), mean_squared_error, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1e-2, 1.0, 1e2])
def test_rescaled_units_deviate_as_the_localiser_freezes_weights(factor):
    # The laws are those of small scales. At factor 0.01 weights have room for a second valley, whose loss is above
    # L(w*): at nβ = 1000 some chains still live there, at 10 000 none does.
    n_beta = 10 * N_BETA if factor < 1 else N_BETA
    found = at_scale(factor, n_beta)
    expected = equipartition(rescaled(factor), 30.0, n_beta)
    assert found.llc == pytest.approx(expected, abs=0.06 * expected + 3 * found.mcse)
    assert LEAST * 0.9 - 3 * found.mcse < found.llc < MOST + 3 * found.mcse
    assert found.mcse < 0.1 * found.llc


@pytest.mark.slow
def test_the_larger_the_incoming_weights_the_less_is_seen():
    values = [at_scale(factor) for factor in (1e-2, 1.0, 1e2)]
    for wide, narrow in itertools.pairwise(values):
        assert wide.llc - narrow.llc > 3 * math.hypot(wide.mcse, narrow.mcse)
    assert values[1].sensitivity_localization < -0.3, "the estimate says that it leans on γ"


class Balanced(nn.Module):
    """The same net in the coordinates a/|a|, b|a| of each unit, in which lengths do not know of rescaling."""

    def __init__(self, net):
        super().__init__()
        (self.first, self.bias, self.second, self.shift) = (nn.Parameter(p.detach().clone()) for p in net.parameters())
        size = torch.cat([self.first, self.bias[:, None]], 1).norm(dim=1).detach()
        self.register_buffer("size", size)
        with torch.no_grad():
            self.first.div_(size[:, None])
            self.bias.div_(size)
            self.second.mul_(size)

    def forward(self, x):
        hidden = torch.relu(x @ (self.first * self.size[:, None]).T + self.bias * self.size)
        return hidden @ (self.second / self.size).T + self.shift


@pytest.mark.slow
def test_under_an_invariant_localiser_rescaling_changes_nothing():
    data = data_of(nn.ReLU)
    plain, large = Balanced(mlp(nn.ReLU)), Balanced(rescaled(100.0))
    torch.testing.assert_close(large(INPUTS), data[1])
    a = estimate(plain, data, mean_squared_error)
    b = estimate(large, data, mean_squared_error, seed=1)
    assert abs(z_score(a, b)) <= 3
    assert abs(at_scale(1e2).llc / b.llc - 1) > 0.3, "where the isotropic one sees another number"


STEP = 0.4  # in ln nβ and ln γ
TOYS = {
    "quadratic with a flat direction": (Quadratic(torch.tensor([1.0, 0.3, 0.1, 0.0])), 100.0, 20.0),
    "product of squares": (Monomial((1, 1)), 300.0, 10.0),
}


@functools.cache
def moved(name, setting, step, seed):
    model, *settings = TOYS[name]
    scale = dict(zip(("n_beta", "localization"), settings, strict=True))
    scale[setting] *= math.exp(step)
    quick = {"num_chains": 256, "num_burnin": 40, "num_draws": 200, "sampler": lk.hmc(max_leapfrogs=12)}
    return estimate(model, POPULATION, potential_loss, seed=seed, **scale, **quick)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("setting", ["n_beta", "localization"])
def test_sensitivities_are_what_reruns_at_other_settings_show(name, setting):
    low, found, high = (moved(name, setting, step, seed) for seed, step in enumerate((-STEP, 0.0, STEP)))
    difference = (high.llc - low.llc) / (2 * STEP)
    assert found.trace is not None
    excess, distance2 = found.trace.excess, found.trace.distance2
    if setting == "n_beta":
        said, terms = found.sensitivity_n_beta, excess - (excess - excess.mean()) ** 2
        assert said > 0
    else:
        gamma = found.localization
        said = found.sensitivity_localization
        terms = -gamma / 2 * (excess - excess.mean()) * (distance2 - distance2.mean())
        assert said < 0
    assert said == pytest.approx(terms.mean(), rel=0.01)
    chains = terms.mean(axis=0)  # which are independent
    error = math.hypot(np.std(chains, ddof=1) / math.sqrt(len(chains)), math.hypot(low.mcse, high.mcse) / (2 * STEP))
    assert abs(said - difference) <= 4 * error
    assert abs(said) > 4 * error, "else it could not be told from none"
