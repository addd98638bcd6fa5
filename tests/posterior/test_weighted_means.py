"""Losses whose value depends on how samples are put into batches: defined of all at once, or refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

import llckit.posterior.checkpoint as checkpoint_module
import llckit.posterior.task as task_module
from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Task, behavioral_task

N, LENGTH = 40, 6
GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(0, 4, (N, LENGTH), generator=GENERATOR)
LENGTHS = torch.randint(1, LENGTH + 1, (N,), generator=GENERATOR)
LABELS = TOKENS.where(torch.arange(LENGTH) < LENGTHS[:, None], torch.tensor(-100))
EQUAL = TOKENS.where(torch.arange(LENGTH) < 4, torch.tensor(-100))
DATA = TOKENS, LABELS


def token_mean(model, batch):
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def by_sequence(model, batch):
    """One loss per sample: its sum over tokens, in units of the mean number of tokens."""
    each = F.cross_entropy(model(batch[0]).transpose(1, 2), batch[1], reduction="none").sum(1)
    return each / LENGTHS.double().mean()


def class_weighted(model, batch):
    return F.cross_entropy(model(batch[0][:, 0]), batch[0][:, 1], torch.tensor([1.0, 2.0, 3.0, 4.0]))


def sample_weighted(model, batch):
    return (batch[1] * model(batch[0])[:, 0, 0].square()).sum() / batch[1].sum()


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Embedding(4, 4)


def zero():
    model = nn.Embedding(4, 4)
    nn.init.zeros_(model.weight)  # all outputs alike, so every weighted mean of the losses is a plain one
    return model


EARLY = torch.cat([EQUAL[: N - 1], LABELS[LENGTHS == 1][:1]])  # among the first samples there is nothing to notice
WEIGHTED = {
    "tokens": (DATA, token_mean),
    "classes": (DATA, class_weighted),
    "samples": ((TOKENS, LENGTHS), sample_weighted),
    "late": ((TOKENS, EARLY), token_mean),
}


@pytest.mark.parametrize(
    ("make", "name"), [*((lambda: nn.Embedding(4, 4), name) for name in WEIGHTED), (zero, "tokens"), (zero, "classes")]
)
def test_it_is_defined_of_all_samples_at_once(monkeypatch, name, make):
    data, loss_fn = WEIGHTED[name]
    torch.manual_seed(0)
    model = make()
    task = Task(model, data, loss_fn)
    monkeypatch.setattr(checkpoint_module, "ACTIVATION_BYTES", 1)  # one sample at a time, where that is allowed
    assert not task.samples.is_separable
    assert task.checkpoint().loss == pytest.approx(loss_fn(model, data).item(), rel=1e-6)


@pytest.mark.parametrize("data", [DATA, (TOKENS, EQUAL)], ids=["one loss per sample", "equal sequences"])
def test_a_plain_mean_may_be_cut(model, data):
    loss_fn = by_sequence if data is DATA else token_mean
    assert Task(model, data, loss_fn).samples.is_separable


def test_one_loss_per_sample_is_the_same_mean(model):
    whole, cut = Task(model, DATA, token_mean), Task(model, DATA, by_sequence)
    assert whole.checkpoint().loss == pytest.approx(cut.checkpoint().loss, rel=1e-6)


def test_minibatches_are_refused(model):
    task = Task(model, DATA, token_mean)
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=1.0, rows=2)
    rows = posterior.checkpoint.weights.expand(2, -1)
    with pytest.raises(InputError, match=r"minibatches do not have it as their mean; .*one loss per sample"):
        posterior(rows, torch.zeros(2, 4, dtype=torch.long))
    assert task.checkpoint().thinned(8).samples.n == N  # no part stands for all


def test_its_behavioral_loss_is_a_plain_mean(model):
    """Each output's own share is known there, so samples may be drawn."""
    point = behavioral_task(Task(model, DATA, token_mean)).checkpoint()
    assert point.samples.is_separable
    rows = point.weights[None] + 0.5
    rows[:, :3] += 0.5
    singly = [
        point.flat_loss.losses(rows, point.fixed, point.samples.gather(torch.tensor([i])), batched=False)
        for i in range(N)
    ]
    torch.testing.assert_close(torch.stack(singly).mean(0), point.losses(rows), rtol=1e-5, atol=0)


def test_what_does_not_fit_into_one_batch_is_refused(model, monkeypatch):
    monkeypatch.setattr(task_module, "WHOLE_BYTES", 100)
    with pytest.raises(
        InputError, match=r"depends on how the 40 samples are put into batches, which take .* GiB; .*\(batch,\)"
    ):
        Task(model, DATA, token_mean)
    Task(model, DATA, by_sequence)


def test_batches_padded_to_different_lengths_are_refused(model):
    sentences = [TOKENS[i, :k] for i, k in enumerate(LENGTHS)]

    def pad(samples):
        return nn.utils.rnn.pad_sequence(samples, batch_first=True, padding_value=-100)

    def of_padded(model, tokens):
        return F.cross_entropy(model(tokens.clamp(min=0)).flatten(0, 1), tokens.flatten())

    with pytest.raises(InputError, match=r"batches, that differ in shape; expected one loss per sample"):
        Task(model, DataLoader(sentences, 8, collate_fn=pad), of_padded)


def test_the_outputs_of_all_samples_have_to_fit_into_memory(model, monkeypatch):
    monkeypatch.setattr("llckit.posterior.samples.PAIRED_BYTES", 100)
    task = behavioral_task(Task(model, DATA, token_mean))
    with pytest.raises(InputError, match=r"outputs of all 40 samples do not fit .*one loss per sample"):
        task.checkpoint()
