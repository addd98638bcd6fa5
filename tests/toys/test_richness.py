"""From lazy to rich: the exponent of hidden updates, and what `rescale` does to a model."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.store import CheckpointStore
from llckit.toys import hidden_updates, rescale, richness_run, train

WIDTHS, SEEDS = (128, 256, 512, 1024), 8


def trained(run, steps):
    """The model before and after, and its last loss."""
    model, batch = run.task.model, run.task.samples.first(run.task.samples.n)
    before, optimizer = copy.deepcopy(model), run.optimizer(model.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        run.task.loss_fn(model, batch).mean().backward()
        optimizer.step()
    with torch.no_grad():
        return before, model, batch[0], float(run.task.loss_fn(model, batch).mean())


@pytest.mark.parametrize("richness", [0, 0.25, 0.5])
def test_hidden_updates_go_as_n_to_the_r(richness):
    """16 outputs average over the initial net, which at r = 0 is of the size of the target."""
    logs = np.empty((len(WIDTHS), SEEDS, 2))
    for (i, width), seed in itertools.product(enumerate(WIDTHS), range(SEEDS)):
        before, after, inputs, _ = trained(richness_run(width, richness, outputs=16, seed=seed), 40)
        logs[i, seed] = np.log(hidden_updates(before, after, inputs))
    slopes = np.polyfit(np.log(WIDTHS), logs.mean(1), 1)[0]
    assert np.abs(slopes - richness).max() < 0.05


def test_all_widths_learn_the_same_task_to_the_end():
    tasks = [richness_run(n, r, seed=s).task.samples.first(99) for n, r, s in ((8, 0, 0), (32, 0.5, 3))]
    for first, second in zip(*tasks, strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    for width, richness in itertools.product((16, 64), (0, 0.5)):
        run = richness_run(width, richness, outputs=2)
        assert trained(run, run.last_step)[-1] < 1e-6


def test_a_run_is_recorded_with_its_updates(tmp_path):
    run = richness_run(16, 0.5, outputs=2)
    store = CheckpointStore(tmp_path / "run.ckpts")
    train(run, lk.Recorder(store, [0, 10, run.last_step]))
    updates = [store.metadata(step)["hidden_update"] for step in store.steps]
    assert updates[0] == 0
    assert 0 < updates[1] < updates[2]


def test_the_lambda_of_the_linear_net_does_not_know_r():
    """Half the weights of the map it learns, 2 · outputs, by the bracket's lower end at a trained net."""
    for richness in (0, 0.5):
        run = richness_run(12, richness, outputs=3)
        _, model, inputs, _ = trained(run, run.last_step)
        box = lk.bracket(model, (inputs, model(inputs).detach()), run.task.loss_fn)
        assert box.lower == box.upper == 6


@pytest.mark.parametrize("bias", [True, False])
def test_rescaling_keeps_all_but_the_last_layer(bias):
    sizes = (3, 10, 20, 2)
    layers = [nn.Linear(a, b, bias=bias, dtype=torch.float64) for a, b in itertools.pairwise(sizes)]
    model = nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.ReLU(), layers[2])
    inputs = torch.randn(7, 3, dtype=torch.float64)
    new, rates = rescale(model, 0.25)
    torch.testing.assert_close(new(inputs), model(inputs) * 20**-0.25)
    for name, parameter in new.named_parameters():
        factor = 20**-0.25 if name.startswith("4") else 1
        torch.testing.assert_close(parameter, dict(model.named_parameters())[name] * factor)
    weights = {"0.weight": 20**0.5 / 3, "2.weight": 20**0.5 / 10, "4.weight": 1 / 20}
    biases = {"0.bias": 20**0.5, "2.bias": 20**0.5, "4.bias": 1.0} if bias else {}
    assert rates == pytest.approx(weights | biases)


def test_lazy_is_the_model_as_it_is():
    model = nn.Sequential(nn.Linear(3, 5), nn.GELU(), nn.Linear(5, 1))
    new = rescale(model, 0)
    assert new.model is not model
    for own, theirs in zip(new.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(own, theirs)
    assert list(new.learning_rates) == [name for name, _ in model.named_parameters()]


def test_parameter_groups_are_what_sgd_takes():
    new = rescale(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)), 0.5)
    optimizer = torch.optim.SGD(new.parameter_groups(0.1), lr=0.1)
    before = {name: p.detach().clone() for name, p in new.model.named_parameters()}
    new.model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    for name, parameter in new.model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.detach(), before[name] - 0.1 * new.learning_rates[name] * parameter.grad)


def test_the_first_layer_of_a_wide_net_moves_by_the_same_share_at_any_depth():
    """Four layers with tanh: also there ‖Δh‖ ~ n^r in every hidden layer, after one step."""
    inputs = torch.randn(5, 4)

    def updates(width, richness):
        found = []
        for seed in range(8):
            torch.manual_seed(seed)
            sizes = (4, width, width, width, 1)
            layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.Tanh())][:-1]
            new = rescale(nn.Sequential(*layers), richness)
            before = copy.deepcopy(new.model)
            optimizer = torch.optim.SGD(new.parameter_groups(0.1), lr=0.1)
            (new.model(inputs) - 1).square().mean().backward()
            optimizer.step()
            found.append(hidden_updates(before, new.model, inputs))
        return np.log(found).mean(0)

    for richness in (0, 0.5):
        slopes = (updates(1024, richness) - updates(128, richness)) / np.log(8)
        assert len(slopes) == 3
        assert np.abs(slopes - richness).max() < 0.1


MLP = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))


@pytest.mark.parametrize(
    "call",
    [
        lambda: rescale(MLP, 0.6),
        lambda: rescale(MLP, -0.1),
        lambda: rescale(MLP, True),
        lambda: rescale(nn.Linear(3, 5), 0.5),
        lambda: rescale(nn.Sequential(nn.Linear(3, 5), nn.Tanh()), 0.5),
        lambda: rescale(nn.Sequential(nn.Linear(3, 5), nn.LayerNorm(5), nn.Linear(5, 1)), 0.5),
        lambda: hidden_updates(nn.ReLU(), nn.ReLU(), torch.zeros(2, 3)),
        lambda: richness_run(3, 0.5),
        lambda: richness_run(8, 0.5, outputs=0),
        lambda: richness_run("8", 0.5),  # type: ignore[arg-type]
        lambda: richness_run(8.5, 0.5),  # type: ignore[arg-type]
        lambda: richness_run(8, 0.5, outputs=None),  # type: ignore[arg-type]
        lambda: richness_run(8, 0.5, seed="a"),  # type: ignore[arg-type]
        lambda: richness_run(8, 2),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()
