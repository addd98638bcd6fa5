"""Recorded gradients are those of ordinary calls, bit by bit, and what cannot be recorded runs as before."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from llckit import Task, behavioral_task
from llckit.posterior import LocalPosterior, replay
from llckit.posterior.recording import LeanMode, Recording
from llckit.posterior.trees import leaves
from tests.cases import squared_error

N, ROWS, CALLS = 12, 3, 3


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(replay, "WORTH", CALLS)


class Counted:
    """A loss that counts its calls."""

    def __init__(self, loss):
        self.loss, self.calls = loss, 0

    def __call__(self, *arguments):
        self.calls += 1
        return self.loss(*arguments)


class Attention(nn.Module):
    """Embedding, attention with a mask in a buffer, and normalisation."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(7, 8), nn.LayerNorm(8)
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 7)
        self.register_buffer("mask", torch.full((5, 5), -torch.inf).triu(1))

    def forward(self, tokens):
        x = self.norm(self.embed(tokens))
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.out(x + (q @ k.transpose(-1, -2) + self.mask).softmax(-1) @ v)


class Inplace(nn.Module):
    """Sums into fresh memory and into a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x):
        self.steps += 1
        scale = torch.zeros(2)
        scale[0] += 2.0
        into = torch.zeros(2).index_add(0, torch.tensor([0, 1, 1, 0]), self.weight)
        total = torch.zeros_like(into).add_(into).mul_(scale)
        return F.relu(x[:, :2] * total, inplace=True) + x[:, 2:] * into


def mlp():
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def tokens():
    drawn = torch.randint(7, (N, 6))
    return drawn[:, :-1], drawn[:, 1:]


CASES = {
    "mlp": lambda: Task(mlp(), (torch.randn(N, 4), torch.randn(N, 2)), squared_error),
    "float64": lambda: Task(mlp().double(), (torch.randn(N, 4).double(), torch.randn(N, 2).double()), squared_error),
    "convolution": lambda: Task(
        nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2)),
        (torch.randn(N, 1, 4), torch.randn(N, 2)),
        squared_error,
    ),
    "attention": lambda: Task(Attention(), tokens(), cross_entropy),
    "some weights": lambda: Task(
        mlp(), (torch.randn(N, 4), torch.randn(N, 2)), squared_error, params={"0.weight": torch.rand(5, 4) > 0.5}
    ),
    "behavioral": lambda: behavioral_task(Task(mlp(), (torch.randn(N, 4), torch.randn(N, 2)), squared_error)),
    "written into": lambda: Task(Inplace(), (torch.randn(N, 4), torch.randn(N, 2)), squared_error),
}


def replay_of(point):
    return replay.Replay(point.flat_loss, point.fixed, point.samples.block, point.compiler)


def rows_about(point, seed):
    away = torch.randn(ROWS, len(point.weights), generator=torch.Generator().manual_seed(seed))
    return point.weights + 0.1 * away.to(point.weights)


@pytest.mark.slow
@pytest.mark.parametrize("own_batches", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_recorded_calls_give_the_same_bits_without_the_models_code(case, own_batches):
    torch.manual_seed(0)
    task = CASES[case]()
    point = task.checkpoint()
    play = replay_of(point)
    counted = Counted(point.flat_loss.mean)
    point.flat_loss.mean = counted
    given = [x.clone() for x in leaves(point.samples.first(N))]
    for seed in range(3 * CALLS):
        weights = rows_about(point, seed)
        drawn = torch.randint(N, (ROWS, 4), generator=torch.Generator().manual_seed(seed))
        batch = point.samples.gather(drawn) if own_batches else point.samples.first(N)
        before = counted.calls
        written = [buffer.clone() for name, buffer in point.fixed.items() if name == "steps"]
        found = play(weights, batch, own_batches=own_batches)
        assert (counted.calls == before) == (seed >= CALLS)
        assert all(point.fixed["steps"] > before for before in written)
        expected = point.flat_loss.losses_and_grads(weights, point.fixed, batch, batched=True, own_batches=own_batches)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
        found[1].mul_(7.0)  # callers overwrite gradients
    for one, other in zip(given, leaves(point.samples.first(N)), strict=True):
        assert torch.equal(one, other)


def test_a_new_batch_of_the_same_shape_is_not_taken_for_the_old_one():
    """How many samples count is a number in a recording."""

    def loss(model, batch):
        inputs, targets = batch
        counting = targets >= 0
        left = inputs[counting]
        return F.cross_entropy(model(left), targets[counting], reduction="sum") / len(left)

    torch.manual_seed(0)
    task = Task(mlp(), (torch.randn(N, 4), torch.ones(N, dtype=torch.long)), loss)
    point = task.checkpoint()
    play = replay_of(point)
    for ignored in (0, 5, 0, 7):
        batch = (point.samples.first(N)[0], torch.ones(N, dtype=torch.long))
        batch[1][:ignored] = -1
        for seed in range(2 * CALLS):
            weights = rows_about(point, seed)
            expected = point.flat_loss.losses_and_grads(weights, point.fixed, batch, batched=True)
            for one, other in zip(play(weights, batch), expected, strict=True):
                assert torch.equal(one, other)


@pytest.mark.parametrize("kind", ["linear", "square"])
def test_gradients_that_are_no_new_memory_are_not_handed_out(kind):
    """A posterior multiplies its gradients by n_beta where they are."""
    slope = torch.tensor([1.0, -2.0, 3.0])

    def loss(model, batch):
        values = model.weight[0] * slope
        return (values + (values.square() if kind != "linear" else 0.0)).sum()

    task = Task(nn.Linear(3, 1, bias=False), torch.ones(N, 1), loss)
    posterior = LocalPosterior(task.checkpoint(), n_beta=10.0, localization=0.0, rows=ROWS)
    weights = rows_about(task.checkpoint(), 0)
    expected = posterior(weights).grad.clone()
    for _ in range(3 * CALLS):
        assert torch.equal(posterior(weights).grad, expected)


class Opaque(torch.autograd.Function):
    """A square that recording cannot look into: NumPy computes it from the values that vmap hands it unbatched."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x):
        return torch.from_numpy(x.numpy() ** 2)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return 2 * x * grad

    @staticmethod
    def vmap(info, in_dims, x):
        return Opaque.apply(x), in_dims[0]


class MeanOfPositive(torch.autograd.Function):
    """Σ max(x, 0)² over the number of positive x, row by row: a count that depends on the weights."""

    generate_vmap_rule = False

    @staticmethod
    def forward(x):
        return x.clamp(min=0).square().sum() / max(1, len(x[x > 0]))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx, grad):
        return SlopeOfPositive.apply(ctx.saved_tensors[0], grad)

    @staticmethod
    def vmap(info, in_dims, x):
        return torch.stack([MeanOfPositive.apply(row) for row in x.movedim(in_dims[0], 0)]), 0


class SlopeOfPositive(torch.autograd.Function):
    generate_vmap_rule = False

    @staticmethod
    def forward(x, grad):
        return 2 * x.clamp(min=0) / max(1, len(x[x > 0])) * grad

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def vmap(info, in_dims, x, grad):
        rows = zip(x.movedim(in_dims[0], 0), grad.movedim(in_dims[1], 0), strict=True)
        return torch.stack([SlopeOfPositive.apply(*row) for row in rows]), 0


@pytest.mark.slow
def test_counts_that_depend_on_the_weights_are_not_recorded():
    torch.manual_seed(0)
    data = torch.randn(N, 4), torch.randn(N, 2)
    task = Task(mlp(), data, lambda m, b: squared_error(m, b) + MeanOfPositive.apply(m[0].weight.flatten()))
    assert task.flat_loss.vmaps
    point = task.checkpoint()
    play, batch = replay_of(point), point.samples.first(N)
    for seed in range(4 * CALLS):
        weights = rows_about(point, seed)
        expected = point.flat_loss.losses_and_grads(weights, point.fixed, batch, batched=True)
        for one, other in zip(play(weights, batch), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(("of", "recorded"), [("data", True), ("weights", False)])
def test_numbers_that_python_sees_may_depend_on_the_data_alone(of, recorded):
    def call(weights):
        seen = {"data": inputs, "weights": weights}[of].abs().max().item()
        return [(weights * inputs).sum() / seen]

    inputs, weights = torch.randn(4), torch.randn(4)
    with nullcontext() if recorded else pytest.raises(ValueError, match="depends on the weights"):
        with Recording([weights]) as recording:
            found = call(weights)
        module = recording.module(found)
        for other in (weights, torch.randn(4)):
            assert torch.equal(module(other)[0], call(other)[0])


def test_a_number_from_memory_that_weights_were_written_into_depends_on_them():
    into, weights = torch.zeros(4), torch.randn(4)
    with Recording([weights]):
        view = into[:2]
        into.copy_(weights)
        total = view.sum()
        with pytest.raises(ValueError, match="depends on the weights"):
            total.item()


@pytest.mark.parametrize("mode", LeanMode.__subclasses__())
def test_looking_at_operations_does_not_import_torchs_compiler(mode):
    assert not hasattr(mode.__torch_dispatch__, "__wrapped__"), "torch wrapped it, to import its compiler"


@pytest.mark.slow
def test_threads_record_one_after_the_other():
    """While torch records, it changes how every module is called: all at once would leave it so."""
    before = nn.Module.__call__, nn.Module.__getattr__

    def record(seed):
        torch.manual_seed(seed)
        task = CASES["mlp"]()
        point = task.checkpoint()
        play = replay_of(point)
        for k in range(CALLS):
            play(rows_about(point, k), point.samples.first(N))
        return list(play._recorded.values())

    with ThreadPoolExecutor(4) as pool:
        recorded = list(pool.map(record, range(8)))
    assert all(one is not None for found in recorded for one in found)
    assert (nn.Module.__call__, nn.Module.__getattr__) == before


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_cannot_be_recorded_runs_as_before(share):
    torch.manual_seed(0)
    task = Task(
        mlp(),
        (torch.randn(N, 4), torch.randn(N, 2)),
        lambda m, b: share * squared_error(m, b) + Opaque.apply(m(b[0]) - b[1]).sum(1),
    )
    assert task.flat_loss.vmaps
    point = task.checkpoint()
    play = replay_of(point)
    counted = point.flat_loss.mean = Counted(point.flat_loss.mean)
    batch = point.samples.first(N)
    for seed in range(3 * CALLS):
        before = counted.calls
        found = play(rows_about(point, seed), batch)
        assert counted.calls > before
        expected = point.flat_loss.losses_and_grads(rows_about(point, seed), point.fixed, batch, batched=True)
        for one, other in zip(found, expected, strict=True):
            assert torch.equal(one, other)
