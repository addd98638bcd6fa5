import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Task, checkpoint, local_posterior


def test_quadratic_in_closed_form(potential):
    h = torch.tensor([3.0, 0.5, 0.0, 1e-3], dtype=torch.float64)
    center = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
    n_beta = torch.tensor([1.0, 100.0, 1e6], dtype=torch.float64)
    gamma = torch.tensor([0.0, 1.0, 30.0], dtype=torch.float64)
    posterior = potential(
        lambda w: 0.7 + 0.5 * (h * (w - center).square()).sum(), center, rows=3, n_beta=n_beta, localization=gamma
    )
    away = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    energy = posterior(center + away)
    excess = n_beta * 0.5 * (h * away.square()).sum(1)
    distance2 = away.square().sum(1)
    exact = {"rtol": 1e-12, "atol": 1e-9}  # 1e6 times the rounding of 0.7
    assert posterior.checkpoint.loss == 0.7
    assert posterior.checkpoint.loss_grad.tolist() == [0] * 4
    torch.testing.assert_close(energy.excess, excess, **exact)
    torch.testing.assert_close(energy.distance2, distance2, rtol=1e-12, atol=0)
    torch.testing.assert_close(energy.potential, excess + 0.5 * gamma * distance2, **exact)
    torch.testing.assert_close(energy.grad, n_beta[:, None] * h * away + gamma[:, None] * away, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("indices", [None, torch.tensor([[0, 3, 5], [1, 1, 2]])])
def test_weights_are_compared_with_the_checkpoint_in_blocks_where_they_are_many(monkeypatch, indices):
    torch.manual_seed(1)
    model, inputs = nn.Linear(3, 4).double(), torch.randn(6, 3, dtype=torch.float64)

    def make():
        task = Task(model, inputs, lambda model, batch: (model(batch) - 1).pow(4).sum(1))
        n_beta, localization = torch.tensor([2.0, 5.0]), torch.tensor([3.0, 0.5])
        return LocalPosterior(task.checkpoint(), n_beta=n_beta, localization=localization, rows=2)

    whole = make()
    monkeypatch.setattr(local_posterior, "BLOCK", 7)  # two blocks of 16, and a shorter one
    monkeypatch.setattr(checkpoint, "KEPT", 0)
    blocks = make()
    weights = whole.checkpoint.weights + 0.1 * torch.randn(2, 16, dtype=torch.float64)
    pairs = [*zip(whole(weights, indices), blocks(weights, indices), strict=True)]
    pairs += zip(whole.without_gradient(weights), blocks.without_gradient(weights), strict=True)
    pairs += [
        (whole.along(weights, weights), blocks.along(weights, weights)),
        (whole.checkpoint.loss_grad, blocks.checkpoint.loss_grad),
    ]
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0, equal_nan=True)
    if indices is None:
        for r in range(2):
            for one, other in zip(whole(weights), blocks.row(r)(weights[r : r + 1]), strict=True):
                torch.testing.assert_close(one[r : r + 1], other, rtol=1e-13, atol=0)


def test_weights_passed_in_are_not_changed(potential):
    posterior = potential(lambda w: w.square().sum(), torch.ones(3), rows=2, localization=5.0)
    weights = torch.randn(2, 3)
    before = weights.clone()
    posterior(weights)
    assert torch.equal(weights, before)
    assert not weights.requires_grad


def test_a_sample_with_infinite_loss_beyond_the_probe_is_found():
    x = torch.ones(50, 1)
    x[33] = float("inf")
    task = Task(nn.Linear(1, 1), x, lambda model, batch: model(batch).square()[:, 0])
    with pytest.raises(InputError, match=r"loss over all samples is inf"):
        _ = task.checkpoint().loss


def test_minibatches_need_samples_of_one_shape():
    from torch.utils.data import DataLoader

    def pad(sentences):
        return nn.utils.rnn.pad_sequence(sentences, batch_first=True)

    data = DataLoader([torch.ones(k, dtype=torch.long) for k in (1, 2, 3, 4)], 2, collate_fn=pad)
    task = Task(nn.Embedding(3, 2), data, lambda model, batch: model(batch).square().mean((1, 2)))
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=1.0, rows=1)
    with pytest.raises(InputError, match=r"differ in shape.*batch_size=None"):
        posterior(task.checkpoint().weights[None], torch.tensor([[0, 1]]))


def test_a_minibatch_is_paired_with_the_checkpoint_and_right_on_average():
    inputs = torch.randn(6, 3, dtype=torch.float64)
    model = torch.nn.Linear(3, 2, dtype=torch.float64)

    def quartic(model, batch):
        return (model(batch) - 1).pow(4).sum(1)

    task = Task(model, inputs, quartic)
    posterior = LocalPosterior(task.checkpoint(), n_beta=5.0, localization=2.0, rows=6)
    center = task.checkpoint().weights
    weights = (center + 0.3 * torch.randn(8, dtype=torch.float64)).expand(6, 8)
    singles = posterior(weights, torch.arange(6)[:, None])  # every sample once: their mean is the full loss
    full = posterior(weights)
    torch.testing.assert_close(singles.excess.mean(), full.excess[0])
    torch.testing.assert_close(singles.grad.mean(0), full.grad[0])
    assert singles.excess.std() > 1e-3

    at_center = posterior(center.expand(6, 8), torch.arange(6)[:, None])
    assert (at_center.excess == 0).all()
    slope = posterior.checkpoint.loss_grad
    torch.testing.assert_close(at_center.grad, 5 * slope.expand(6, 8))  # no noise is left there

    moving = weights[0].clone().requires_grad_()  # the gradient is that of the excess, sample by sample
    plain = quartic(lambda x: x @ moving[:6].view(2, 3).T + moving[6:], inputs[2:3]).sum()
    start = center.clone().requires_grad_()
    there = quartic(lambda x: x @ start[:6].view(2, 3).T + start[6:], inputs[2:3]).sum()
    error = torch.autograd.grad(there, start)[0] - slope
    excess = 5 * (plain - there.detach() - error @ (moving - center))
    torch.testing.assert_close(singles.excess[2], excess.detach())
    (grad,) = torch.autograd.grad(excess, moving)
    torch.testing.assert_close(singles.grad[2], grad + 2 * (weights[0] - center))
