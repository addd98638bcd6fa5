import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import llckit.posterior.checkpoint as checkpoint_module
from llckit.posterior import Checkpoint, LocalPosterior, Samples, Task

N = 37
GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(N, 3, generator=GENERATOR)
Y = torch.randint(0, 4, (N,), generator=GENERATOR)


class Squares(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, index):
        return X[index].numpy(), int(Y[index])


def as_dict(samples):
    return {"x": torch.stack([x for x, _ in samples]), "y": torch.tensor([int(y) for _, y in samples])}


def per_sample(model, batch):
    x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
    return F.cross_entropy(model(x), y, reduction="none")


def mean(model, batch):
    return per_sample(model, batch).mean()


@pytest.fixture
def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4))


FORMS = {
    "tuple": (X, Y),
    "list of tensors": [X, Y],
    "dict": {"x": X, "y": Y},
    "numpy": (X.numpy(), Y.numpy()),
    "numpy dict": {"x": X.numpy(), "y": Y.numpy()},
    "list of samples": [(x, int(y)) for x, y in zip(X, Y, strict=True)],
    "tensor dataset": TensorDataset(X, Y),
    "dataset": Squares(),
    "subset": Subset(TensorDataset(torch.cat([X, X]), torch.cat([Y, Y])), range(N)),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=8),
    "shuffled": DataLoader(TensorDataset(X, Y), batch_size=8, shuffle=True),
    "drop_last": DataLoader(Squares(), batch_size=10, drop_last=True, shuffle=True),
    "collate": DataLoader(TensorDataset(X, Y), batch_size=7, collate_fn=as_dict),
    "one batch": DataLoader(TensorDataset(X, Y), batch_size=100),
}


@pytest.mark.parametrize("loss_fn", [mean, per_sample])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_loss_and_gradient(model, naive, form, loss_fn):
    task = Task(model, FORMS[form], loss_fn)
    posterior = LocalPosterior(task.checkpoint(), n_beta=2.0, localization=0.0, rows=1)
    loss, grad = naive(model, task.checkpoint().weights[None], lambda m: mean(m, (X.double(), Y)))
    assert task.n == N
    assert posterior.checkpoint.loss == pytest.approx(float(loss), rel=1e-6)
    torch.testing.assert_close(posterior.checkpoint.loss_grad.double(), grad[0], rtol=1e-4, atol=1e-6)


def test_a_single_tensor_is_data(model, naive):
    task = Task(model, X, lambda model, x: model(x).square().sum(1))
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=1)
    loss, _ = naive(model, task.checkpoint().weights[None], lambda m: m(X.double()).square().sum(1).mean())
    assert posterior.checkpoint.loss == pytest.approx(float(loss), rel=1e-6)


def pad(samples):
    length = max(len(s) for s in samples)
    tokens = torch.stack([F.pad(s, (0, length - len(s))) for s in samples])
    return {"tokens": tokens, "mask": torch.arange(length) < torch.tensor([[len(s)] for s in samples])}


def sentence_loss(model, batch):
    each = model(batch["tokens"]).square().sum(2) * batch["mask"]
    return each.sum(1) / batch["mask"].sum(1)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_batches_padded_to_different_lengths_keep_every_sample_weighted_alike(naive, batch_size):
    lengths = torch.randint(1, 9, (23,), generator=torch.Generator().manual_seed(2))
    sentences = [torch.arange(length) % 5 + 1 for length in lengths]
    torch.manual_seed(0)
    model = nn.Embedding(6, 3)
    task = Task(model, DataLoader(sentences, batch_size, collate_fn=pad, shuffle=True), sentence_loss)
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=1)
    loss, grad = naive(model, task.checkpoint().weights[None], lambda m: sentence_loss(m, pad(sentences)).mean())
    assert not task.samples.is_indexable
    assert posterior.checkpoint.loss == pytest.approx(float(loss), rel=1e-6)
    torch.testing.assert_close(posterior.checkpoint.loss_grad.double(), grad[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["tuple", "loader"])
def test_chunks_do_not_change_the_result(model, monkeypatch, form):
    task = Task(model, FORMS[form], per_sample)
    rows = task.checkpoint().weights + 0.1 * torch.randn(3, task.dim, generator=torch.Generator().manual_seed(0))
    whole = LocalPosterior(task.checkpoint(), n_beta=5.0, localization=1.0, rows=3)(rows)
    monkeypatch.setattr(checkpoint_module, "ACTIVATION_BYTES", 1)
    seen = []
    whole_batch = Checkpoint._losses_and_grads

    def watch(checkpoint, weights, batch, **kwargs):
        seen.append(len(batch[0]))
        return whole_batch(checkpoint, weights, batch, **kwargs)

    monkeypatch.setattr(Checkpoint, "_losses_and_grads", watch)
    pieces = LocalPosterior(task.checkpoint(), n_beta=5.0, localization=1.0, rows=3)(rows)
    assert set(seen) == {1}
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_gather_and_paired_follow_the_indices():
    samples = Samples(DataLoader(TensorDataset(X, Y), batch_size=8))
    indices = torch.tensor([[0, 36], [5, 5]])
    x, y = samples.gather(indices)
    torch.testing.assert_close(x, X[indices])
    torch.testing.assert_close(y, Y[indices])
    paired = samples.paired(lambda batch: batch[0].sum(1), size=10)
    for (inputs, value), _ in paired.chunks(9):
        torch.testing.assert_close(value, inputs[0].sum(1))


def test_paired_calls_with_at_most_size_samples_of_padded_batches_too():
    sentences = [torch.ones(k) for k in (1, 2, 3, 4, 5)]
    samples = Samples(DataLoader(sentences, 3, collate_fn=lambda s: nn.utils.rnn.pad_sequence(s, batch_first=True)))
    lengths = [value for (_, value), _ in samples.paired(lambda x: x.sum(1), size=2).chunks(10)]
    assert torch.cat(lengths).tolist() == [1, 2, 3, 4, 5]


def test_data_is_kept_in_a_copy_of_no_graph():
    inputs = X.clone().requires_grad_()
    assert not Samples((inputs, Y)).first(3)[0].requires_grad


def test_numpy_values_arrive_bit_for_bit():
    values = np.random.default_rng(0).normal(size=(9, 2))
    assert torch.equal(Samples(values).first(9), torch.as_tensor(values))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_bytes_of_a_sample_are_counted_in_small_batches_too(batch_size):
    sentences = [torch.randint(0, 6, (5 + i % 3,)) for i in range(24)]
    torch.manual_seed(0)
    task = Task(nn.Embedding(6, 3), DataLoader(sentences, batch_size, collate_fn=pad), sentence_loss)
    assert task.checkpoint().bytes_per_sample > 50
