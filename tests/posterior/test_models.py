import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from llckit.posterior import LocalPosterior, Task
from llckit.posterior import flat_loss as flat_loss_module

N = 24


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.register_buffer("mask", torch.triu(torch.full((5, 5), float("-inf")), 1))

    def forward(self, tokens):
        h = self.embedding(tokens)
        h = h + self.attention(h, h, h, attn_mask=self.mask, need_weights=False)[0]
        return self.head(self.norm(h)).mean(1)


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 8)
        self.qkv = nn.Linear(8, 24)

    def forward(self, tokens):
        q, k, v = self.qkv(self.embedding(tokens)).view(-1, 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).mean((1, 2))[:, :3]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 7, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens):
        return self.out(self.embedding(tokens).mean(1))[:, :3]


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 3))


def conv():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(12, 3)
    )
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(16, 1, 4, 4) * 2 + 1)
    return model


def repeated():
    """One module, itself of modules, in two places."""
    again = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh())
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), again, again, nn.Linear(6, 3))


MODELS = {"mlp": mlp, "conv": conv, "repeated": repeated, "block": Block, "fused": Fused, "tied": Tied}


def case(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    x = torch.randn(N, 1, 4, 4) if name in ("mlp", "conv", "repeated") else torch.randint(0, 7, (N, 5))
    return model, x, torch.randint(0, 3, (N,))


def loss_fn(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1])


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_rows_agree_with_naive_float64_autograd(name, batched, naive, monkeypatch):
    model, x, y = case(name)
    task = Task(model, (x, y), loss_fn)
    if batched and not task.flat_loss.vmaps:
        assert name in ("block", "fused"), "only attention may lack a batching rule"
    monkeypatch.setattr(flat_loss_module, "BATCHED_BYTES", math.inf if batched else 0)
    center = task.checkpoint().weights
    rows = center + 0.05 * torch.randn(3, task.dim, generator=torch.Generator().manual_seed(1))
    posterior = LocalPosterior(task.checkpoint(), n_beta=7.0, localization=3.0, rows=3)
    energy = posterior(rows)
    double = x.double() if x.is_floating_point() else x
    loss, grad = naive(model, rows, lambda m: loss_fn(m, (double, y)))
    base, _ = naive(model, center[None], lambda m: loss_fn(m, (double, y)))
    away = (rows - center).double()
    torch.testing.assert_close(energy.excess, 7 * (loss - base), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(energy.distance2, away.square().sum(1), rtol=1e-6, atol=0)
    torch.testing.assert_close(energy.potential, 7 * (loss - base) + 1.5 * away.square().sum(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(energy.grad.double(), 7 * grad + 3 * away, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_minibatches_of_every_row_average_to_the_full_posterior(name):
    model, x, y = case(name)
    task = Task(model, (x, y), loss_fn)
    moved = task.checkpoint().weights + 0.05 * torch.randn(task.dim, generator=torch.Generator().manual_seed(1))
    minibatches = torch.randperm(N, generator=torch.Generator().manual_seed(2)).view(4, N // 4)
    posterior = LocalPosterior(task.checkpoint(), n_beta=7.0, localization=3.0, rows=4)
    some, full = posterior(moved.repeat(4, 1), minibatches), posterior(moved.repeat(4, 1))
    assert some.excess.std() > 1e-3 * full.excess[0].abs()
    at_center = posterior(task.checkpoint().weights.repeat(4, 1), minibatches)
    assert at_center.excess.abs().max() < 1e-5, "the baseline must come from the same minibatch"
    torch.testing.assert_close(some.excess.mean(), full.excess[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some.potential.mean(), full.potential[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(some.grad.mean(0), full.grad[0], rtol=1e-3, atol=1e-4)


def test_a_tied_parameter_counts_once():
    model, x, y = case("tied")
    assert Task(model, (x, y), loss_fn).dim == 28


def test_a_repeated_module_counts_once_and_its_checkpoint_is_read():
    model, x, y = case("repeated")
    task = Task(model, (x, y), loss_fn)
    assert task.dim == sum(p.numel() for p in model.parameters())
    point = task.checkpoint(model.state_dict())
    found = task.flat_loss.mean(point.weights, point.fixed, (x, y))
    torch.testing.assert_close(found, loss_fn(model.eval(), (x, y)).to(found))
    assert model[2] is model[3], "the caller's model stays as it was"


def test_tied_weights_that_differ_in_a_checkpoint_are_refused():
    model, x, y = case("tied")
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["out.weight"] += 1
    with pytest.raises(ValueError, match=r"embedding\.weight and out\.weight differ .* one parameter"):
        Task(model, (x, y), loss_fn).checkpoint(state)


def test_frozen_parameters_and_buffers_stay_out_and_come_from_the_checkpoint(naive):
    model, x, y = case("conv")
    model[0].requires_grad_(False)
    task = Task(model, (x, y), loss_fn)
    assert task.dim == sum(p.numel() for p in model.parameters() if p.requires_grad)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(2)
        other[1].running_mean.add_(1)
    posterior = LocalPosterior(task.checkpoint(other.state_dict()), n_beta=1.0, localization=0.0, rows=1)
    weights = torch.cat([p.reshape(-1) for p in other.parameters() if p.requires_grad]).detach()
    loss, grad = naive(other, weights[None], lambda m: loss_fn(m, (x.double(), y)))
    assert posterior.checkpoint.loss == pytest.approx(float(loss), rel=1e-5)
    torch.testing.assert_close(posterior.checkpoint.loss_grad.double(), grad[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_models_and_inputs_are_sampled_in_float32(half):
    model, x, y = case("mlp")
    task = Task(model.to(half), (x.to(half), y), loss_fn)
    assert task.dtype == task.checkpoint().weights.dtype == torch.float32
    torch.testing.assert_close(task.checkpoint().weights[:96], model[1].weight.flatten().float())
    assert task.checkpoint(model.state_dict()).weights.dtype == torch.float32


def test_float64_models_stay_float64():
    model, x, y = case("mlp")
    task = Task(model.double(), (x.double(), y), loss_fn)
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=1)
    assert task.dtype == posterior(task.checkpoint().weights[None]).grad.dtype == torch.float64


def test_the_callers_model_is_untouched():
    model, x, y = case("conv")
    model.train()
    model[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    task = Task(model, (x, y), loss_fn)
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=1.0, rows=2)
    posterior(task.checkpoint().weights.repeat(2, 1) + 1)
    assert all(module.training for module in model.modules())
    assert [p.requires_grad for p in model[0].parameters()] == [False, False]
    assert all(p.requires_grad for p in model[1].parameters())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_dropout_is_off_and_batch_norm_uses_its_running_statistics():
    model, x, y = case("conv")
    model.train()
    task = Task(model, (x, y), loss_fn)
    expected = loss_fn(copy.deepcopy(model).eval(), (x, y)).detach()
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=1)
    assert posterior.checkpoint.loss == pytest.approx(float(expected), rel=1e-6)


def test_a_task_can_be_made_where_gradients_are_off():
    model, x, y = case("mlp")
    with torch.no_grad():
        task = Task(model, (x, y), loss_fn)
        posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=1)
    assert task.flat_loss.vmaps
    assert posterior.checkpoint.loss_grad.norm() > 0


def test_extra_state_of_a_module_is_no_weight():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"version": 1}

        def set_extra_state(self, state):
            pass

    model = Extra(16, 3)
    task = Task(model, (torch.randn(N, 16), torch.randint(0, 3, (N,))), loss_fn)
    assert task.checkpoint(model.state_dict()).weights.shape == (51,)


def test_control_flow_on_values_takes_the_loop_path(naive):
    def branching(model, batch):
        out = model(batch)
        return out.square().mean() if out.sum() > 0 else 2 * out.square().mean()

    torch.manual_seed(0)
    model, x = nn.Linear(3, 2), torch.randn(N, 3)
    task = Task(model, x, branching)
    assert not task.flat_loss.vmaps
    rows = torch.randn(4, task.dim)
    posterior = LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=4)
    _, grad = naive(model, rows, lambda m: branching(m, x.double()))
    torch.testing.assert_close(posterior(rows).grad.double(), grad, rtol=1e-4, atol=1e-5)
