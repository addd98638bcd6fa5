"""Effective and stable ranks against closed forms, and ranks along a run."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.geometry import activation_ranks, effective_rank, fisher_rank, stable_rank, weight_ranks
from llckit.toys import STAIRCASE_MODES, squared_error, staircase, staircase_rise, train
from tests.geometry.nets import regression


def with_values(values, shape=(6, 4)):
    """A random matrix of given singular values."""
    left, right = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for n in shape)
    k = len(values)
    return left[:, :k] * torch.tensor(values, dtype=torch.float64) @ right[:, :k].T


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


@pytest.mark.slow
def test_ranks_are_observed_at_draws():
    model, data = regression(20, torch.float32)
    observe = {
        "weights": lambda model: weight_ranks(model)["0.weight"],
        "activations": lambda model: activation_ranks(model, data[0])["1"],
        "fisher": lambda model: fisher_rank(model, data, squared_error),
    }
    settings = {"num_chains": 2, "num_draws": 5, "num_burnin": 5, "n_beta": 100.0, "localization": 1.0}
    estimate = lk.estimate_llc(model, data, squared_error, observe=observe, behavioral=True, progress=False, **settings)
    for name, most in (("weights", 3), ("activations", 5), ("fisher", 16)):
        assert 1 <= estimate.observed[name][0] <= most


@pytest.mark.slow
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


@pytest.mark.parametrize("matrix", [torch.zeros(3), torch.full((2, 2), math.nan), [[1.0]], torch.zeros(2, 2, 2)])
def test_what_is_no_matrix_is_refused(matrix):
    for rank in (effective_rank, stable_rank):
        with pytest.raises(InputError, match="expected a tensor"):
            rank(matrix)


def test_complex_matrices_and_outputs_of_several_tensors_have_ranks():
    assert effective_rank(1j * torch.eye(3)) == pytest.approx(3)
    ranks = activation_ranks(nn.LSTM(3, 4), torch.randn(6, 5, 3))
    assert 1 <= ranks[""] <= 6


@pytest.mark.parametrize("function", [weight_ranks, lambda model: activation_ranks(model, torch.zeros(2, 3))])
def test_what_is_no_module_is_refused(function):
    with pytest.raises(InputError, match="model is a int"):
        function(3)
