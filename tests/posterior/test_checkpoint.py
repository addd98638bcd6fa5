"""What is computed at a checkpoint once, and handed down."""

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.posterior import FlatLoss, Guide, LocalPosterior, behavioral_task, checkpoint
from tests.cases import squared_error

N = 24
SCALE = {"n_beta": 20.0, "localization": 1.0}


def small_task():
    torch.manual_seed(0)
    return lk.Task(nn.Linear(3, 2), (torch.randn(N, 3), torch.randn(N, 2)), squared_error)


@pytest.fixture
def at_center(monkeypatch):
    """Counts gradients over all samples at a row of weights, by task."""
    calls = []
    original = FlatLoss.losses_and_grads

    def counted(flat_loss, rows, fixed, batch, **how):
        if len(rows) == 1 and not how.get("own_batches"):
            calls.append(flat_loss)
        return original(flat_loss, rows, fixed, batch, **how)

    monkeypatch.setattr(FlatLoss, "losses_and_grads", counted)
    return calls


def test_the_loss_at_the_checkpoint_is_computed_once_for_all_posteriors(at_center):
    task = small_task()
    point = task.checkpoint()
    assert not at_center, "nothing is computed before it is asked for"
    first = LocalPosterior(point, rows=1, **SCALE)
    for rows in (2, 5):
        LocalPosterior(point, rows=rows, n_beta=3.0, localization=0.0)
    assert first.checkpoint is point
    assert point.loss_grad is point.loss_grad
    assert len(at_center) == 1
    Guide(first, task, 6)
    assert len(at_center) == 2  # the behavioral loss has an L(w*) of its own


def test_the_curvature_is_computed_once(at_center):
    point = small_task().checkpoint()
    whole = point.curvature()
    assert point.curvature() is whole
    assert point.thinned(N).curvature() is whole
    few = point.thinned(6)
    assert not torch.equal(few.curvature().values, whole.values)
    assert len(at_center) == 2  # L(w*) of either


def test_gradients_of_large_models_are_not_kept(monkeypatch, at_center):
    monkeypatch.setattr(checkpoint, "KEPT", 7)
    point = small_task().checkpoint()
    first, second = point.loss_grad, point.loss_grad
    assert first.data_ptr() != second.data_ptr()
    assert torch.equal(first, second)
    assert len(at_center) == 3  # one more for the loss
    posterior = LocalPosterior(point, rows=2, **SCALE)
    indices = torch.tensor([[0, 1]])
    for row in (posterior.row(0), posterior.row(1)):
        row(point.weights[None], indices)
        row(point.weights[None], indices)
    assert len(at_center) == 4  # minibatches of all rows share it


def test_users_loss_and_behavioral_loss_know_of_each_other():
    task = small_task()
    other = behavioral_task(task)
    point = other.checkpoint()
    assert (task.behavioral, other.behavioral) == (False, True)
    assert type(other) is lk.Task
    assert other.original is task.original is task
    user = point.user
    assert user.user is user
    assert user.samples is task.samples
    assert user.loss == task.checkpoint().loss
    assert point.loss == 0
    moved = point.at(point.weights + 1)
    assert torch.equal(moved.user.weights, point.weights + 1)
    assert moved.samples is point.samples


def test_losses_are_those_that_come_with_gradients():
    point = small_task().checkpoint()
    rows = point.weights + torch.randn(3, 8)
    whole, _ = point.loss_and_grad(rows)
    torch.testing.assert_close(point.losses(rows), whole, rtol=1e-6, atol=0)
    parts = [point.loss_and_grad(rows, point.samples.subset(part))[0] for part in torch.arange(N).split(8)]
    torch.testing.assert_close(torch.stack(parts).mean(0), whole, rtol=1e-6, atol=0)
