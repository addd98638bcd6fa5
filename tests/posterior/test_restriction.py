import pytest
import torch
from torch import nn

import llckit as lk
from tests.cases import mean_squared_error, squared_error


def net():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2, bias=False))


def data():
    inputs = torch.randn(50, 3)
    return inputs, inputs[:, :2]


def gradient(task):
    posterior = lk.posterior.LocalPosterior(task.checkpoint(), n_beta=1.0, localization=0.0, rows=2)
    return posterior(task.checkpoint().weights.repeat(2, 1)).grad[1]


@pytest.mark.parametrize(
    ("params", "dim", "where"),
    [
        ("0.*", 16, range(16)),
        (["2.weight"], 8, range(16, 24)),
        (["*.weight"], 20, [*range(12), *range(16, 24)]),
        ({"0.bias": torch.tensor([True, False, True, False])}, 2, [12, 14]),
        ({"0.bias": torch.tensor([True] * 4), "2.weight": torch.zeros(2, 4, dtype=torch.bool)}, 4, range(12, 16)),
        ({"0.weight": torch.arange(12).view(4, 3) % 5 == 0, "0.bias": torch.arange(4) == 3}, 4, [0, 5, 10, 15]),
    ],
)
def test_the_restricted_gradient_is_part_of_the_whole(params, dim, where):
    model, samples = net(), data()
    whole = lk.Task(model, samples, squared_error)
    for restricted in (lk.Task(model, samples, squared_error, params=params), whole.restricted(params)):
        assert restricted.dim == dim
        assert restricted.flat_loss.vmaps
        torch.testing.assert_close(gradient(restricted), gradient(whole)[list(where)])
        behavioral = lk.behavioral_task(restricted)
        assert behavioral.dim == dim
        assert gradient(behavioral).abs().max() < 1e-6
    assert all(p.requires_grad for p in model.parameters())
    assert whole.dim == 24


def test_rows_one_by_one_agree():
    task = lk.Task(net(), data(), squared_error, params={"0.bias": torch.tensor([True, False, True, False])})
    batched = gradient(task)
    task.flat_loss.vmaps = False
    torch.testing.assert_close(gradient(task), batched)


def test_a_tied_parameter_goes_by_each_of_its_names():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    inputs = torch.randn(20, 3)
    assert lk.Task(model, (inputs, inputs), squared_error, params="1.weight").dim == 9


def test_restricting_a_restricted_task():
    task = lk.Task(net(), data(), squared_error, params=["0.*"])
    assert task.restricted("0.bias").dim == 4
    with pytest.raises(
        lk.InputError, match=r"2\.weight.* fits no parameter that trains; expected some of 0\.weight, 0\.bias"
    ):
        task.restricted("2.weight")


@pytest.mark.slow
def test_half_of_a_quadratic_has_half_of_its_coefficient():
    class Bowl(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(10))

        def forward(self, _):
            return self.w.square().sum()

    found = lk.estimate_llc(
        Bowl(),
        torch.zeros(1000, 1),
        lambda model, batch: model(batch),
        params={"w": torch.arange(10) < 4},
        progress=False,
    )
    assert abs(found.llc - 2) <= 4 * found.mcse + 0.002


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("3.weight", "fits no parameter"),
        ([], "selects no parameter"),
        ([4], "params holds a int"),
        ({"0.bias": torch.zeros(4, dtype=torch.bool)}, "selects no parameter"),
        ({"0.bias": torch.ones(4)}, r"boolean tensor of shape \(4,\)"),
        ({"0.bias": torch.ones(3, dtype=torch.bool)}, r"boolean tensor of shape \(4,\)"),
        ({"0.*": torch.ones(4, dtype=torch.bool)}, "fits no parameter"),
    ],
)
def test_wrong_selections(params, message):
    with pytest.raises(lk.InputError, match=message):
        lk.Task(net(), data(), squared_error, params=params)


def test_restrictions_add_up():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    task = lk.Task(nn.Linear(3, 2), (torch.randn(9, 3), torch.randn(9, 2)), mean_squared_error, params={"weight": mask})
    assert task.restricted("weight").layout.indices["weight"].tolist() == [0, 2, 5]
    second = task.restricted({"weight": torch.tensor([[True, True, False], [False, False, True]])})
    assert second.layout.indices["weight"].tolist() == [0, 5]
    with pytest.raises(lk.InputError, match="mask of weight selects no entry"):
        task.restricted({"weight": ~mask})


class Keeping(nn.Linear):
    """Keeps its activations, as some do for analysis."""

    def forward(self, x):
        self.seen = super().forward(x)
        return self.seen


def test_a_model_that_keeps_its_activations_can_be_restricted():
    task = lk.Task(Keeping(3, 2), (torch.randn(9, 3), torch.randn(9, 2)), mean_squared_error)
    assert task.flat_loss.vmaps
    assert task.restricted("weight").dim == 6
