"""The behavioral loss compares what the user's loss looks at: the same problem with and without what does not count."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llckit.errors import InputError
from llckit.posterior import LocalPosterior, Task, behavioral_task

N, LENGTH, WORDS = 24, 5, 4
GENERATOR = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


TOKENS = torch.randint(0, WORDS, (N, LENGTH), generator=GENERATOR)
LABELS = torch.randint(0, 3, (N, LENGTH), generator=GENERATOR)
LENGTHS = torch.randint(1, LENGTH + 1, (N,), generator=GENERATOR)
EQUAL = (torch.arange(LENGTH) < 3).expand(N, -1)  # of each sequence the first three tokens count
RAGGED = torch.arange(LENGTH) < LENGTHS[:, None]
X = normal(N, 3)
CLASSES = torch.randint(0, 3, (N,), generator=GENERATOR)
PIXELS = normal(N, 2, 4, 4)
SEGMENTS = torch.randint(0, 3, (N, 4, 4), generator=GENERATOR)
SEEN = torch.rand(N, 4, 4, generator=GENERATOR) < 0.6


def seeded(make, *args, **kwargs):
    torch.manual_seed(0)
    return make(*args, **kwargs)


def excess(model, data, loss_fn):
    """The behavioral loss at w* and at three other vectors of weights, in float64."""
    task = behavioral_task(Task(model.double(), data, loss_fn))
    generator = torch.Generator().manual_seed(3)
    rows = task.checkpoint().weights + 0.3 * torch.randn(3, task.dim, generator=generator, dtype=torch.float64)
    rows = torch.cat([task.checkpoint().weights[None], rows])
    return LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=4)(rows).excess


def words(outputs=3):
    return seeded(nn.Embedding, WORDS, outputs)


def linear(outputs=3):
    return seeded(nn.Linear, 3, outputs)


def pointwise(outputs=3):
    return seeded(nn.Conv2d, 2, outputs, 1)


class PerPixel(nn.Module):
    """The same weights under the same names, for single pixels."""

    def __init__(self, outputs=3):
        super().__init__()
        conv = pointwise(outputs)
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x):
        return F.conv2d(x[:, :, None, None], self.weight, self.bias)[:, :, 0, 0]


class OwnLoss(nn.Module):
    """A model that computes its loss itself, as those of Hugging Face do."""

    def __init__(self):
        super().__init__()
        self.head = words()

    def forward(self, tokens, labels):
        logits = self.head(tokens)
        return SimpleNamespace(logits=logits, loss=F.cross_entropy(logits.flatten(0, 1), labels.flatten()))


def flat(model, batch):
    """Token mean; labels of -100 do not count."""
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def classes(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


def masked(model, batch):
    each = F.cross_entropy(model(batch[0]).transpose(1, 2), batch[1], reduction="none")
    return (each * batch[2]).sum() / batch[2].sum()


def shifted(model, batch):
    return F.cross_entropy(model(batch)[:, :-1].flatten(0, 1), batch[:, 1:].flatten())


def ignored(where):
    return LABELS.where(where, torch.tensor(-100))


def binary(model, batch):
    return F.binary_cross_entropy_with_logits(model(batch[0]), batch[1])


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().sum(1).mean()


SINGLY = TOKENS[RAGGED], LABELS[RAGGED]
TARGETS = normal(N, 2, 4, 4)
ONE_BY_ONE = PIXELS.movedim(1, -1)[SEEN]
LM = TOKENS[:, :-1], TOKENS[:, 1:]
CLASS_WEIGHTS = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
TIMES = CLASS_WEIGHTS.long()[CLASSES]
ROUGH = normal(N, 3) * 4
THREE = torch.rand(N, 3, generator=GENERATOR) < 0.7

# Each a pair: what does not count is there, and is not.
SAME = {
    "ignored labels": ((words(), (TOKENS, ignored(EQUAL)), flat), (words(), (TOKENS[:, :3], LABELS[:, :3]), flat)),
    "unequal sequences": ((words(), (TOKENS, ignored(RAGGED)), flat), (words(), SINGLY, classes)),
    "attention mask": ((words(), (TOKENS, LABELS, RAGGED), masked), (words(), SINGLY, classes)),
    "next token": ((words(WORDS), TOKENS, shifted), (words(WORDS), LM, flat)),
    "loss in the model": (
        (OwnLoss(), (TOKENS, ignored(RAGGED)), lambda m, b: m(*b).loss),
        (words(), SINGLY, classes),
    ),
    "ignored pixels": (
        (pointwise(), (PIXELS, SEGMENTS.where(SEEN, torch.tensor(-100))), classes),
        (PerPixel(), (ONE_BY_ONE, SEGMENTS[SEEN]), classes),
    ),
    "masked pixels": (
        (
            pointwise(2),
            (PIXELS, TARGETS, SEEN[:, None]),
            lambda m, b: ((m(b[0]) - b[1]).square() * b[2]).sum() / b[2].sum(),
        ),
        (PerPixel(2), (ONE_BY_ONE, TARGETS.movedim(1, -1)[SEEN]), squared),
    ),
    "class weights": (
        (linear(), (X, CLASSES), lambda m, b: F.cross_entropy(m(b[0]), b[1], CLASS_WEIGHTS)),
        (linear(), (X.repeat_interleave(TIMES, 0), CLASSES.repeat_interleave(TIMES)), classes),
    ),
    "sample weights": (
        (
            linear(),
            (X, ROUGH, TIMES / TIMES.double().mean()),
            lambda m, b: b[2] * (m(b[0]) - b[1]).square().sum(1),
        ),
        (linear(), (X.repeat_interleave(TIMES, 0), ROUGH.repeat_interleave(TIMES, 0)), squared),
    ),
    "log-probabilities": (
        (nn.Sequential(linear(), nn.LogSoftmax(1)), (X, CLASSES), lambda m, b: F.nll_loss(m(b[0]), b[1])),
        (linear(), (X, CLASSES), classes),
    ),
    "log-probabilities of pixels": (
        (nn.Sequential(pointwise(), nn.LogSoftmax(1)), (PIXELS, SEGMENTS), lambda m, b: F.nll_loss(m(b[0]), b[1])),
        (pointwise(), (PIXELS, SEGMENTS), classes),
    ),
    "one number": (
        (nn.Sequential(linear(1), nn.Flatten(0)), (X, ROUGH[:, 0]), lambda m, b: F.mse_loss(m(b[0]), b[1])),
        (linear(1), (X, ROUGH[:, :1]), lambda m, b: F.mse_loss(m(b[0]), b[1])),
    ),
    "one logit": (
        (nn.Sequential(linear(1), nn.Flatten(0)), (X, THREE[:, 0].double()), binary),
        (linear(1), (X, THREE[:, :1].double()), binary),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_what_does_not_count_changes_nothing(name):
    (with_it, without) = (excess(*problem) for problem in SAME[name])
    assert abs(with_it[0]) < 1e-15
    torch.testing.assert_close(with_it, without, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(
    "each",
    [
        lambda out, y: F.huber_loss(out, y, reduction="none"),
        lambda out, y: F.binary_cross_entropy_with_logits(out, y.sigmoid(), reduction="none"),
    ],
    ids=["Huber", "binary"],
)
def test_masks_of_losses_that_are_no_squares(each):
    def loss(model, batch):
        return (each(model(batch[0]), batch[1]) * batch[2]).sum(1)

    task = behavioral_task(Task(linear().double(), (X, ROUGH, THREE), loss))
    rows = task.checkpoint().weights + normal(2, task.dim)
    found = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=2)(rows).excess
    change = [r[:9].view(3, 3) @ X.T + r[9:, None] for r in rows - task.checkpoint().weights]
    ours = torch.stack([(d.T.square() * THREE).sum(1).mean() for d in change])
    # The unit is that of the loss's curvature; the ratio of two distances does not depend on it.
    torch.testing.assert_close(found[0] / found[1], ours[0] / ours[1], rtol=1e-6, atol=0)


def test_a_mean_over_the_tokens_of_each_sequence_counts_every_sequence_alike():
    def by_sequence(model, batch):
        each = F.cross_entropy(model(batch[0]).transpose(1, 2), batch[1], reduction="none") * batch[2]
        return each.sum(1) / batch[2].sum(1)

    found = excess(words(), (TOKENS, LABELS, RAGGED), by_sequence)
    by_length = [
        excess(words(), (TOKENS[i, :k][None].repeat(2, 1), LABELS[i, :k][None].repeat(2, 1)), flat)
        for i, k in enumerate(LENGTHS)
    ]
    torch.testing.assert_close(found, torch.stack(by_length).mean(0), rtol=1e-6, atol=0)


def test_weights_are_those_of_all_samples_however_they_are_read(monkeypatch):
    data = TOKENS, LABELS, RAGGED
    whole = excess(words(), data, masked)

    def scaled(model, batch):
        each = F.cross_entropy(model(batch[0]).transpose(1, 2), batch[1], reduction="none")
        return (each * batch[2]).sum(1) / RAGGED.sum(1, dtype=torch.float64).mean()

    monkeypatch.setattr("llckit.posterior.teacher.CHUNK", 5)
    torch.testing.assert_close(excess(words(), data, scaled), whole, rtol=1e-6, atol=0)
    monkeypatch.setattr("llckit.posterior.teacher.KEPT_OPERATIONS", 0)  # targets are made whenever they are asked for
    torch.testing.assert_close(excess(words(), data, scaled), whole, rtol=1e-6, atol=0)


def test_padding_behind_the_first_samples_is_seen():
    where = torch.ones(N, LENGTH, dtype=torch.bool)
    where[-1, 2:] = False
    found = excess(words(), (TOKENS, ignored(where)), flat)
    torch.testing.assert_close(found, excess(words(), (TOKENS[where], LABELS[where]), classes), rtol=1e-6, atol=0)


def allowed_classes(model, batch):
    return F.cross_entropy(model(batch[0]).masked_fill(batch[1] == 0, -1e9), torch.ones(len(batch[0])).long())


def exponential(model, batch):
    """A loss whose curvature depends on its targets, as the loss of boosting does."""
    return ((batch[1] * model(batch[0])).exp() * batch[2]).sum(1)


REFUSED = {
    "classes": ((X, torch.tensor([0, 1, 1]).repeat(N, 1)), allowed_classes, "leaves out some classes"),
    "curvature of targets": ((X, ROUGH, THREE), exponential, "curvature depends on the targets"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_apart_is_refused(name):
    data, loss_fn, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        behavioral_task(Task(linear().double(), data, loss_fn)).checkpoint()


class Probabilities(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = linear()

    def forward(self, x):
        return self.layer(x).softmax(1)


def test_probabilities_are_refused_with_what_to_return_instead():
    task = Task(Probabilities().double(), (X, CLASSES), lambda m, b: F.nll_loss(m(b[0]).log(), b[1]))
    with pytest.raises(InputError, match="logits or log-probabilities, and not probabilities"):
        behavioral_task(task)
    task = Task(Probabilities().double(), (X, THREE.double()), lambda m, b: F.binary_cross_entropy(m(b[0]), b[1]))
    with pytest.raises(InputError, match="of logits rather than probabilities"):
        behavioral_task(task)


class Hidden(OwnLoss):
    """The loss is of something else than what the model returns."""

    def forward(self, tokens, labels):
        out = super().forward(tokens, labels)
        return SimpleNamespace(logits=out.logits + 0, loss=out.loss)


def test_a_loss_that_is_no_function_of_the_outputs_says_what_to_write():
    with pytest.raises(InputError, match=r"cross_entropy\(model\(inputs\)\.logits, labels\)"):
        behavioral_task(Task(Hidden(), (TOKENS, LABELS), lambda m, b: m(*b).loss))
