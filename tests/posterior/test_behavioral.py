from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Task, behavioral_task

N = 40


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def net(outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, outputs))


X = normal(N, 3)
LABELS = torch.randint(0, 4, (N,), generator=torch.Generator().manual_seed(1))
TARGETS = normal(N, 2, seed=2)


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def posterior_of(task, rows=1):
    return LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=rows)


def outputs_at(model, weights, inputs):
    nn.utils.vector_to_parameters(weights, model.parameters())
    with torch.no_grad():
        return model(inputs)


def test_cross_entropy_becomes_the_divergence_from_the_checkpoints_own_outputs():
    task = behavioral_task(Task(net(4), (X, LABELS), cross_entropy))
    center = task.checkpoint().weights
    rows = center + 0.3 * normal(3, task.dim, seed=3)
    log_p = torch.log_softmax(outputs_at(net(4), center, X).double(), 1)
    log_q = [torch.log_softmax(outputs_at(net(4), row, X).double(), 1) for row in rows]
    expected = torch.stack([(log_p.exp() * (log_p - q)).sum(1).mean() for q in log_q])
    assert task.behavioral
    torch.testing.assert_close(posterior_of(task, 3)(rows).excess, expected, rtol=1e-3, atol=1e-9)


@pytest.mark.parametrize(
    ("loss_fn", "factor"),
    [
        (lambda m, b: F.mse_loss(m(b[0]), b[1]), 0.5),
        (lambda m, b: (m(b[0]) - b[1]).square().sum(1), 1.0),
        (lambda m, b: 0.5 * (m(b[0]) - b[1]).square().sum(1).mean(), 0.5),
    ],
    ids=["mean", "sum over outputs", "half"],
)
def test_squared_error_keeps_the_users_unit(loss_fn, factor):
    task = behavioral_task(Task(net(2), (X, TARGETS), loss_fn))
    center = task.checkpoint().weights
    row = center + 0.3 * normal(task.dim, seed=3)
    change = outputs_at(net(2), row, X) - outputs_at(net(2), center, X)
    expected = factor * change.double().square().sum(1).mean()
    torch.testing.assert_close(posterior_of(task)(row[None]).excess[0], expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_the_checkpoint_is_a_minimum_of_zero(kind):
    if kind == "classes":
        task = Task(net(4), (X, LABELS), cross_entropy)
    else:
        task = Task(net(2), (X, TARGETS), lambda m, b: F.mse_loss(m(b[0]), b[1]))
    posterior = posterior_of(behavioral_task(task))
    moved = posterior.checkpoint.loss_and_grad((posterior.checkpoint.weights + 0.1)[None])[1]
    assert abs(posterior.checkpoint.loss) < 1e-12
    assert posterior.checkpoint.loss_grad.norm() < 1e-5 * moved.norm()
    assert task.checkpoint().loss_grad.norm() > 1e-2
    assert float(posterior.checkpoint.curvature().values.min()) > -1e-3 * posterior.checkpoint.curvature().largest


def test_it_equals_the_loss_where_that_is_at_a_minimum():
    model = net(2)
    with torch.no_grad():
        task = Task(model, (X, model(X)), lambda m, b: F.mse_loss(m(b[0]), b[1]))
    rows = task.checkpoint().weights + 0.2 * normal(4, task.dim, seed=3)
    ours, users = posterior_of(behavioral_task(task), 4)(rows), posterior_of(task, 4)(rows)
    torch.testing.assert_close(ours.excess, users.excess, rtol=1e-4, atol=1e-9)


def test_targets_follow_the_checkpoint():
    task = behavioral_task(Task(net(4), (X, LABELS), cross_entropy))
    other = net(4)
    with torch.no_grad():
        other[0].weight.add_(1)
    point = task.checkpoint(other.state_dict())
    at_own = LocalPosterior(point, n_beta=1.0, localization=0.0, rows=1)
    assert abs(point.loss) < 1e-12
    assert at_own(task.checkpoint().weights[None]).excess > 1e-3


def test_a_behavioral_task_is_its_own_behavioral_task():
    task = behavioral_task(Task(net(4), (X, LABELS), cross_entropy))
    assert behavioral_task(task) is task


class WithLogits(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net(4)

    def forward(self, inputs):
        return SimpleNamespace(logits=self.net(inputs), hidden=None)


def test_outputs_with_logits():
    plain = behavioral_task(Task(net(4), (X, LABELS), cross_entropy))
    task = behavioral_task(Task(WithLogits(), (X, LABELS), lambda m, b: F.cross_entropy(m(b[0]).logits, b[1])))
    row = plain.checkpoint().weights + 0.3 * normal(plain.dim, seed=3)
    torch.testing.assert_close(
        posterior_of(task)(row[None]).excess, posterior_of(plain)(row[None]).excess, rtol=1e-4, atol=0
    )


def test_sequences_with_classes_second_or_last():
    torch.manual_seed(0)
    tokens = torch.randint(0, 5, (N, 6))
    embedding = nn.Embedding(5, 5)

    def last(model, batch):
        return F.cross_entropy(model(batch).flatten(0, 1), batch.flatten())

    def second(model, batch):
        return F.cross_entropy(model(batch).transpose(1, 2), batch)

    row = None
    values = []
    for loss_fn in (last, second):
        task = behavioral_task(Task(embedding, tokens, loss_fn))
        row = task.checkpoint().weights + 0.3 * normal(task.dim, seed=3)
        values.append(posterior_of(task)(row[None]).excess[0])
    log_p = torch.log_softmax(embedding(tokens).double(), 2).detach()
    log_q = torch.log_softmax(outputs_at(nn.Embedding(5, 5), row, tokens).double(), 2)
    expected = (log_p.exp() * (log_p - log_q)).sum(2).mean()
    torch.testing.assert_close(torch.stack(values), expected.expand(2), rtol=1e-3, atol=0)


def test_padded_batches_keep_their_own_targets():
    sentences = [torch.arange(k) % 4 + 1 for k in (2, 5, 3, 7, 4)]

    def pad(samples):
        return nn.utils.rnn.pad_sequence(samples, batch_first=True)

    torch.manual_seed(0)
    task = Task(nn.Embedding(5, 5), DataLoader(sentences, 2, collate_fn=pad), lambda m, b: m(b).square().mean((1, 2)))
    assert abs(behavioral_task(task).checkpoint().loss) < 1e-12


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (lambda m, b: cross_entropy(m, b) + m(b[0]).square().mean(), r"calls model\(\.\.\.\) 2 times"),
        (lambda m, b: F.cross_entropy(m[2](m[1](m[0](b[0]))), b[1]), r"calls model\(\.\.\.\) 0 times"),
        (lambda m, b: m(b[0]).mean(), r"not curved in the model's outputs"),
        (lambda m, b: -m(b[0]).square().mean(), r"not curved in the model's outputs"),
        (lambda m, b: m(b[0]).mean() + sum(p.square().sum() for p in m.parameters()), r"not curved"),
    ],
)
def test_a_loss_whose_outputs_cannot_be_seen_is_refused(loss_fn, message):
    task = Task(net(4), (X, LABELS), loss_fn)
    with pytest.raises(InputError, match=message):
        behavioral_task(task)


class Returns(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.net, self.wrap = net(4), wrap

    def forward(self, inputs):
        return self.wrap(self.net(inputs))


@pytest.mark.parametrize(
    ("wrap", "unwrap", "message"),
    [
        (lambda out: (out, 1), lambda out: out[0], r"the model returns a tuple; expected a tensor or an object with"),
        (lambda out: out.mean(), lambda out: out.expand(8, 4), r"gives shape \(\) for 8 samples"),
    ],
)
def test_a_model_with_other_outputs_is_refused(wrap, unwrap, message):
    task = Task(
        Returns(wrap), (X[:8], LABELS[:8]), lambda m, b: F.mse_loss(unwrap(m(b[0])), b[1][:, None] + torch.zeros(8, 4))
    )
    with pytest.raises(InputError, match=message):
        behavioral_task(task)


def test_a_loss_of_derivatives_has_no_behavioral_counterpart():
    def slope(model, x):
        x = x.clone().requires_grad_()
        with torch.enable_grad():
            (derivative,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return (derivative - 1).square().mean(1)

    torch.manual_seed(0)
    task = Task(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(9, 1), slope)
    with pytest.raises(InputError, match="without their derivatives"):
        behavioral_task(task)
