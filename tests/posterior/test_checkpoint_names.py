"""Checkpoints under other names, and in other kinds of numbers, than the model's own."""

import pytest
import torch
from torch import nn

import llckit as lk
from llckit.errors import InputError
from llckit.posterior import Task
from llckit.posterior.checkpoint_names import CheckpointNames
from llckit.posterior.number_kinds import can_become
from tests.cases import mean_squared_error


@pytest.fixture
def data():
    return torch.randn(20, 3), torch.randn(20, 1)


class Hooked(nn.Module):
    """Its state dict is changed by a hook."""

    def __init__(self, change):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self._register_state_dict_hook(lambda module, state, prefix, metadata: change(state))

    def forward(self, x):
        return self.scale * self.layer(x)


def rename(state):
    for name in [*state]:
        state[f"net.{name}"] = state.pop(name)


def shorten(state):
    for name in [*state]:
        state[name.removeprefix("layer.")] = state.pop(name)


def add(state):
    state["version"] = torch.tensor(3)


@pytest.mark.parametrize("change", [rename, shorten, add])
def test_a_hook_that_renames_or_adds(change, data, tmp_path):
    model = Hooked(change)
    task = Task(model, data, mean_squared_error)
    assert list(task.layout.shapes) == ["layer.weight", "layer.bias"]
    store = lk.CheckpointStore(tmp_path / "store")
    with torch.no_grad():
        model.layer.weight.add_(1)
    lk.Recorder(store)(0, model)
    assert store.load(0).keys() == model.state_dict().keys()
    found = task.checkpoint(store.load(0)).weights
    assert torch.equal(found, torch.cat([model.layer.weight.flatten(), model.layer.bias]).detach())


def halve(state):
    state["layer.weight"] = state["layer.weight"].half()


def drop(state):
    del state["layer.bias"]


@pytest.mark.parametrize("change", [halve, drop])
def test_the_models_own_weights_do_not_come_by_way_of_its_hooks(change, data):
    model = Hooked(change)
    weights = Task(model, data, mean_squared_error).checkpoint().weights
    assert torch.equal(weights, torch.cat([model.layer.weight.flatten(), model.layer.bias]).detach())


def test_what_a_hook_drops_is_missing(data):
    model = Hooked(drop)
    with pytest.raises(InputError, match=r"does not fit the task's model \(layer.bias: missing\)"):
        Task(model, data, mean_squared_error).checkpoint(model.state_dict())


def test_names_come_in_the_order_of_a_state_dict_with_all_that_are_tied():
    model = nn.ModuleList([nn.BatchNorm1d(2), nn.Linear(2, 2), nn.Linear(2, 2)])
    model[2].weight = model[1].weight
    assert list(CheckpointNames(model).tensors()) == list(model.state_dict())


def test_two_names_for_one_tensor_are_not_merged(data):
    task = Task(nn.Linear(3, 1), data, mean_squared_error)
    state = {"weight": torch.zeros(1, 3), "module.weight": torch.ones(1, 3), "bias": torch.zeros(1)}
    with pytest.raises(InputError, match=r"module.weight: not in the model"):
        task.checkpoint(state)


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(3, 1)
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("scale", torch.tensor(2.0))


def state_with(**changed):
    return {**Counting().state_dict(), **changed}


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu],
)
def test_floating_point_weights_of_any_width_are_taken_by_value(dtype, data):
    weight = torch.tensor([[0.5, 2.0, 0.25]])
    task = Task(Counting(), data, mean_squared_error)
    assert torch.equal(task.checkpoint(state_with(weight=weight.to(dtype))).weights[:3], weight[0])


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int8, torch.int64, torch.bool, torch.uint16])
def test_weights_that_are_no_real_numbers_are_refused_before_any_work(dtype, data, tmp_path):
    task = Task(Counting(), data, mean_squared_error)
    state = state_with(weight=torch.ones(1, 3).to(dtype))
    with pytest.raises(InputError, match=rf"other kinds of numbers .*\(weight is {dtype}, the model's torch.float32\)"):
        task.checkpoint(state)
    store = lk.CheckpointStore(tmp_path / "store")
    store.save(0, Counting())
    store.save(1, state)
    with pytest.raises(InputError, match=rf"step 1: .*weight is {dtype}"):
        lk.estimate_curve(store, task, progress=False)


def test_buffers_are_taken_where_their_values_stay(data):
    task = Task(Counting(), data, mean_squared_error)
    fixed = task.checkpoint(state_with(count=torch.tensor(4.0), scale=torch.tensor(3))).fixed
    assert (fixed["count"].item(), fixed["count"].dtype) == (4, torch.int64)
    assert (fixed["scale"].item(), fixed["scale"].dtype) == (3, torch.float32)
    with pytest.raises(InputError, match=r"fractions in count, which are integers in the task's model"):
        task.checkpoint(state_with(count=torch.tensor(4.5)))
    with pytest.raises(InputError, match=r"scale is torch.complex64"):
        task.checkpoint(state_with(scale=torch.tensor(1j)))


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_nan_in_float8_is_refused(dtype, data):
    broken = torch.tensor([[0.5, float("nan"), 1.0]]).to(dtype)
    with pytest.raises(InputError, match="weights hold NaN or inf in weight"):
        Task(Counting(), data, mean_squared_error).checkpoint(state_with(weight=broken))


def test_packed_types_are_no_numbers():
    assert not can_become(torch.float4_e2m1fn_x2, torch.float32, is_parameter=True)
    assert can_become(torch.float4_e2m1fn_x2, torch.float4_e2m1fn_x2, is_parameter=True)
    assert not can_become(torch.bits8, torch.float32, is_parameter=False)
    assert can_become(torch.complex64, torch.complex128, is_parameter=True)
