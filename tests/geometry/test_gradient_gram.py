"""Gram matrices of gradients against Jacobians, and the spectra that they share with other matrices."""

import sys

import pytest
import torch

import llckit as lk
from llckit.errors import InputError
from llckit.geometry import effective_rank, fisher_rank, gradient_gram, stable_rank
from llckit.toys import squared_error
from tests.geometry.nets import regression


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
    model, data = regression()
    rows = jacobian(model, data, function)
    torch.testing.assert_close(gradient_gram(model, data, function), rows @ rows.T, rtol=1e-10, atol=1e-12)


def test_losses_that_cannot_be_batched_are_taken_one_by_one():
    model, data = regression()
    assert not lk.Task(model, data, looks_at_values).flat_loss.vmaps
    rows = jacobian(model, data, looks_at_values)
    torch.testing.assert_close(gradient_gram(model, data, looks_at_values), rows @ rows.T, rtol=1e-10, atol=1e-12)


def test_the_fisher_matrix_has_the_rank_of_its_gram_matrix():
    model, data = regression()
    rows = jacobian(model, data, squared_error)
    fisher = rows.T @ rows / len(rows)
    for rank in (effective_rank, stable_rank):
        assert fisher_rank(model, data, squared_error, rank) == pytest.approx(rank(fisher), rel=1e-8)
    with torch.no_grad():
        fitted = data[0], model(data[0])
    assert fisher_rank(model, fitted, squared_error) == 0


def test_the_kernel_has_the_spectrum_of_the_hessian_at_a_perfect_fit():
    model, (x, _) = regression()
    fitted = x, model(x).detach()
    kernel = gradient_gram(model, fitted, lambda model, batch: model(batch[0])[:, 0])
    box = lk.bracket(model, fitted, squared_error)
    assert box.rank == len(x)
    values = torch.linalg.eigvalsh(2 / len(x) * kernel)
    torch.testing.assert_close(values, box.eigenvalues[-len(x) :], rtol=1e-8, atol=1e-10)


def test_gradients_that_do_not_fit_are_refused(monkeypatch):
    module = sys.modules["llckit.geometry.gradient_gram"]  # the package has the function
    monkeypatch.setattr(module, "ROWS_BYTES", 26 * 8 * 5)
    model, data = regression()
    with pytest.raises(InputError, match="give 5 samples"):
        gradient_gram(model, data, squared_error)
    assert gradient_gram(model, tuple(x[:5] for x in data), squared_error).shape == (5, 5)
