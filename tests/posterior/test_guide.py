"""What stands in for the posterior along a trajectory."""

import pytest
import torch
from torch import nn

from llckit import InputError, Task
from llckit.posterior import Guide, LocalPosterior, behavioral_task
from tests.cases import cross_entropy, mean_squared_error

N, T, GAMMA = 24, 50.0, 0.5


def made(model, targets, loss_fn):
    """A task on random inputs, its posterior of two rows, and a guide of six samples."""
    inputs = torch.randn(N, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    task = Task(model.double(), (inputs, targets), loss_fn)
    posterior = LocalPosterior(task.checkpoint(), n_beta=T, localization=GAMMA, rows=2)
    return task, posterior, Guide(posterior, task, 6)


def noisy_regression():
    torch.manual_seed(0)
    return made(nn.Linear(3, 2), 5 * torch.randn(N, 2, dtype=torch.float64), mean_squared_error)


def of(indices):
    return lambda n, size: torch.as_tensor(indices)


def test_every_minibatch_is_even_at_the_checkpoint_and_slopes_as_all_samples_do():
    _, posterior, guide = noisy_regression()
    center = posterior.checkpoint.weights.repeat(2, 1)
    for first in range(0, N, 6):
        energy = guide(of(range(first, first + 6)))(center)
        assert not energy.excess.any()
        assert torch.allclose(energy.grad, T * posterior.checkpoint.loss_grad.expand(2, -1), rtol=1e-12)


def test_for_a_linear_model_minibatches_average_to_the_posterior():
    _, posterior, guide = noisy_regression()
    moved = posterior.checkpoint.weights + torch.randn(2, posterior.dim, dtype=torch.float64)
    whole = posterior(moved)
    parts = [guide(of(range(first, first + 6)))(moved) for first in range(0, N, 6)]
    for name in whole._fields:
        average = torch.stack([getattr(part, name) for part in parts]).mean(0)
        assert torch.allclose(average, getattr(whole, name), rtol=1e-9), name


def test_its_gradient_is_that_of_its_potential():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 5))
    _, posterior, guide = made(model, torch.randint(5, (N,)), cross_entropy)
    potential = guide(of(range(6)))
    at = posterior.checkpoint.weights + 0.1 * torch.randn(2, posterior.dim, dtype=torch.float64)
    direction, step = torch.randn(posterior.dim, dtype=torch.float64), 1e-5
    rise = potential(at + step * direction).potential - potential(at - step * direction).potential
    assert torch.allclose(rise / (2 * step), potential(at).grad @ direction, rtol=1e-6)


def test_a_behavioral_task_guides_itself():
    _, posterior, _ = noisy_regression()
    task = behavioral_task(
        Task(nn.Linear(3, 2).double(), (torch.randn(N, 3).double(), torch.randn(N, 2).double()), mean_squared_error)
    )
    posterior = LocalPosterior(task.checkpoint(), n_beta=T, localization=GAMMA, rows=2)
    moved = posterior.checkpoint.weights + torch.randn(2, posterior.dim, dtype=torch.float64)
    every = Guide(posterior, task, N)(of(range(N)))(moved)
    assert torch.allclose(every.potential, posterior(moved).potential, rtol=1e-9)


def test_a_loss_without_outputs_cannot_guide():
    model = nn.Linear(3, 2)
    task = Task(model, torch.randn(N, 3), lambda m, x: (x @ m.weight.T + m.bias).square().mean(1))
    posterior = LocalPosterior(task.checkpoint(), n_beta=T, localization=GAMMA, rows=2)
    with pytest.raises(InputError, match="calls model"):
        Guide(posterior, task, 6)


def test_energies_without_gradient_are_those_with_it():
    _, posterior, _ = noisy_regression()
    moved = posterior.checkpoint.weights + torch.randn(2, posterior.dim, dtype=torch.float64)
    cheap, whole = posterior.without_gradient(moved), posterior(moved)
    for name in ("excess", "potential", "distance2"):
        assert torch.allclose(getattr(cheap, name), getattr(whole, name), rtol=1e-12), name
    assert cheap.grad.isnan().all()
