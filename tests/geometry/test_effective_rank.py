"""Effective and stable ranks against closed forms, Gram matrices against Jacobians, and ranks along a run."""

import copy
import dataclasses
import math
import sys

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.geometry import (
    activation_ranks,
    effective_rank,
    fisher_rank,
    gradient_gram,
    relative_complexity,
    stable_rank,
    weight_ranks,
)
from llckit.toys import staircase, staircase_rise, train
from llckit.toys.training import STAIRCASE_MODES, squared_error


def with_values(values, shape=(6, 4)):
    """A random matrix of given singular values."""
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in shape)
    k = len(values)
    return left[:, :k] * torch.tensor(values, dtype=torch.float64) @ right[:, :k].T


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def samples(n=7):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(n, 1, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("values", "entropy", "stable"),
    [
        ([3.0, 3.0, 3.0], math.log(3), 3),
        ([2.0, 1.0, 1.0], 1.5 * math.log(2), 6 / 4),
        ([5.0], 0, 1),
        ([1.0, 0.5, 0.25, 0.25], 1.75 * math.log(2), 1 + 1 / 4 + 2 / 16),
    ],
)
def test_ranks_of_known_singular_values(values, entropy, stable):
    matrix = with_values(values)
    for other in (matrix, 1e-3 * matrix, matrix.T, torch.cat([matrix, torch.zeros(2, 4)])):
        assert effective_rank(other) == pytest.approx(math.exp(entropy), rel=1e-10)
        assert stable_rank(other) == pytest.approx(stable, rel=1e-10)


def test_nothing_has_rank_zero():
    for shape in ((3, 4), (0, 4)):
        assert effective_rank(torch.zeros(shape)) == stable_rank(torch.zeros(shape)) == 0


def test_weights_are_matrices_and_biases_are_left_out():
    model = nn.Sequential(nn.Conv1d(2, 3, 5), nn.Flatten(), nn.Linear(6, 4))
    ranks = weight_ranks(model, stable_rank)
    assert list(ranks) == ["0.weight", "2.weight"]
    assert ranks["0.weight"] == pytest.approx(stable_rank(model[0].weight.reshape(3, 10)))
    assert weight_ranks(model)["2.weight"] == pytest.approx(effective_rank(model[2].weight))


def test_activations_of_a_narrow_net():
    model = nn.Sequential(nn.Linear(6, 2, bias=False), nn.Linear(2, 5, bias=False), nn.Dropout(0.5)).double().train()
    inputs = torch.randn(20, 6, dtype=torch.float64)
    ranks = activation_ranks(model, inputs)
    first = inputs @ model[0].weight.T
    assert list(ranks) == ["0", "1", "2"]
    assert ranks["0"] == pytest.approx(effective_rank(first))
    assert ranks["1"] == ranks["2"] == pytest.approx(effective_rank(first @ model[1].weight.T))
    assert max(ranks.values()) <= 2
    assert model.training
    assert model[2].training
    assert not any(module._forward_hooks for module in model.modules())


def test_activations_are_left_out_where_they_are_no_matrix():
    class Odd(nn.Module):
        def forward(self, x):
            return x.sum(), x

    model = nn.Sequential(nn.Linear(3, 2), Odd())
    assert list(activation_ranks(model, torch.randn(4, 3))) == ["0"]


def jacobian(model, data, function):
    """∂f_i/∂w by one backward a sample."""
    rows = []
    for i in range(len(data[0])):
        value = function(model, tuple(x[i : i + 1] for x in data)).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))]))
    return torch.stack(rows)


def looks_at_values(model, batch):
    """A loss that cannot be batched over rows."""
    losses = squared_error(model, batch)
    return losses * (1.0 if float(losses.detach().sum()) > 1 else 2.0)


@pytest.mark.parametrize(
    "function",
    [
        squared_error,
        lambda model, batch: squared_error(model, batch).mean(),
        lambda model, batch: model(batch[0])[:, 0],
    ],
    ids=["losses", "mean loss", "outputs"],
)
def test_the_gram_matrix_is_that_of_the_jacobian(function):
    model, data = mlp(), samples()
    rows = jacobian(model, data, function)
    torch.testing.assert_close(gradient_gram(model, data, function), rows @ rows.T, rtol=1e-10, atol=1e-12)


def test_losses_that_cannot_be_batched_are_taken_one_by_one():
    model, data = mlp(), samples()
    assert not lk.Task(model, data, looks_at_values).flat_loss.vmaps
    rows = jacobian(model, data, looks_at_values)
    torch.testing.assert_close(gradient_gram(model, data, looks_at_values), rows @ rows.T, rtol=1e-10, atol=1e-12)


def test_the_fisher_matrix_has_the_rank_of_its_gram_matrix():
    model, data = mlp(), samples()
    rows = jacobian(model, data, squared_error)
    fisher = rows.T @ rows / len(rows)
    for rank in (effective_rank, stable_rank):
        assert fisher_rank(model, data, squared_error, rank) == pytest.approx(rank(fisher), rel=1e-8)
    with torch.no_grad():
        fitted = data[0], model(data[0])
    assert fisher_rank(model, fitted, squared_error) == 0


def test_the_kernel_has_the_spectrum_of_the_hessian_at_a_perfect_fit():
    model, (x, _) = mlp(), samples()
    fitted = x, model(x).detach()
    kernel = gradient_gram(model, fitted, lambda model, batch: model(batch[0])[:, 0])
    box = lk.bracket(model, fitted, squared_error)
    assert box.rank == len(x)
    values = torch.linalg.eigvalsh(2 / len(x) * kernel)
    torch.testing.assert_close(values, box.eigenvalues[-len(x) :], rtol=1e-8, atol=1e-10)


def test_ranks_are_observed_at_draws():
    model, data = mlp().float(), tuple(x.float() for x in samples(20))
    observe = {
        "weights": lambda model: weight_ranks(model)["0.weight"],
        "activations": lambda model: activation_ranks(model, data[0])["1"],
        "fisher": lambda model: fisher_rank(model, data, squared_error),
    }
    settings = {"num_chains": 2, "num_draws": 5, "num_burnin": 5, "n_beta": 100.0, "localization": 1.0}
    estimate = lk.estimate_llc(model, data, squared_error, observe=observe, behavioral=True, progress=False, **settings)
    for name, most in (("weights", 3), ("activations", 5), ("fisher", 16)):
        assert 1 <= estimate.observed[name][0] <= most


def test_the_rank_moves_where_the_staircase_rises(tmp_path):
    """Modes rise one after another: the rank recorded with the checkpoints moves along with each rise of λ̂."""
    run = staircase()

    def product_rank(model):
        return effective_rank(model[1].weight @ model[0].weight)

    run = run._replace(evaluate=lambda model: {"rank": product_rank(model)}, last_step=5500)
    steps = np.unique(np.geomspace(250, run.last_step, 70).astype(int)).tolist()
    store = lk.CheckpointStore(tmp_path / "run.ckpts")
    train(run, lk.Recorder(store, steps))
    inputs, model, llc, recorded = run.task.samples.first(40)[0], copy.deepcopy(run.task.model), [], []
    for step in store.steps:
        model.load_state_dict(store.load(step))
        data = inputs, model(inputs).detach()
        # the part of the behavioral LLC that its quadratic directions supply
        llc.append(lk.bracket(model, data, squared_error, n_beta=1e4, localization=10.0).lower_finite)
        recorded.append(store.metadata(step)["rank"])
        assert recorded[-1] == product_rank(model)  # as well after the fact as during the run
    loss = [store.metadata(step)["loss"] for step in steps]
    found = lk.detect_transitions(step=steps, loss=loss, llc=llc, observables={"rank": recorded})
    moves = [move for stage in found for move in stage.moves if move.name == "rank" and move.delta > 0.3]
    assert len(moves) == 2  # mode 3 raises it too, at step 3281, but the LLC hardly, so there is no stage to move with
    for move, mode in zip(moves, (1, 2), strict=True):
        assert move.start < staircase_rise(mode) < move.end
        assert move.location == pytest.approx(staircase_rise(mode), rel=0.1)
    for modes, at in ((1, 600), (2, 1200), (3, 2350), (4, 5500)):
        plateau = recorded[int(np.argmin(np.abs(np.array(steps) - at)))]
        assert plateau == pytest.approx(effective_rank(torch.diag(torch.tensor(STAIRCASE_MODES[:modes]))), abs=0.06)


def test_relative_complexity_is_a_ratio_of_bounds():
    model, data = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False)), samples(30)
    box = lk.bracket(model, data, squared_error)
    assert (box.dim, box.orbit_dim) == (16, 4)
    found = relative_complexity(3.0, box, 0.3)
    assert found == pytest.approx((3 / 6, 3 / 8, 0.3 / 6, 0.3 / 8))
    assert math.isnan(relative_complexity(3.0, box).of_bound_se)
    flat = dataclasses.replace(box, upper=0.0)
    for arguments in ((math.nan, box), ("3", box), (3.0, 6.0), (3.0, flat)):
        with pytest.raises(InputError, match="expected"):
            relative_complexity(*arguments)


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.full((2, 2), math.nan), [[1.0]], torch.zeros(2, 2, 2)])
def test_what_is_no_matrix_is_refused(matrix):
    for rank in (effective_rank, stable_rank):
        with pytest.raises(InputError, match="expected a tensor"):
            rank(matrix)


def test_gradients_that_do_not_fit_are_refused(monkeypatch):
    module = sys.modules["llckit.geometry.effective_rank"]  # its name in the package is that of the function
    monkeypatch.setattr(module, "ROWS_BYTES", 26 * 8 * 5)
    model, data = mlp(), samples()
    with pytest.raises(InputError, match="give 5 samples"):
        gradient_gram(model, data, squared_error)
    assert gradient_gram(model, tuple(x[:5] for x in data), squared_error).shape == (5, 5)


def test_complex_matrices_and_outputs_of_several_tensors_have_ranks():
    assert effective_rank(1j * torch.eye(3)) == pytest.approx(3)
    ranks = activation_ranks(nn.LSTM(3, 4), torch.randn(6, 5, 3))
    assert 1 <= ranks[""] <= 6


@pytest.mark.parametrize("function", [weight_ranks, lambda model: activation_ranks(model, torch.zeros(2, 3))])
def test_what_is_no_module_is_refused(function):
    with pytest.raises(InputError, match="model is a int"):
        function(3)
