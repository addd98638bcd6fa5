"""Named tensors become one flat vector, and come back as they were."""

import pytest
import torch
from torch import nn

from llckit import InputError
from llckit.posterior import Layout


class Net(nn.Module):
    """Sampled, tied, frozen and buffered tensors."""

    def __init__(self):
        super().__init__()
        self.first, self.tied = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
        self.tied.weight = self.first.weight
        self.frozen = nn.Linear(3, 2).requires_grad_(False)
        self.register_buffer("scale", torch.tensor(2.0))
        self.register_buffer("scratch", torch.tensor(5.0), persistent=False)


SOME = {"first.weight": torch.tensor([0, 4, 7])}


@pytest.mark.parametrize(("indices", "dim"), [({}, 12), (SOME, 6)])
def test_split_and_named_are_inverse(indices, dim):
    model = Net()
    layout = Layout(model, indices)
    weights, fixed = layout.split(model.state_dict())
    assert (layout.dim, layout.sizes) == (dim, [dim - 3, 3])
    assert weights.shape == (dim,)
    named = layout.named(weights, fixed)
    expected = dict(model.named_parameters()) | dict(model.named_buffers())
    assert named.keys() == expected.keys()
    assert all(torch.equal(named[name], value) for name, value in expected.items())
    moved = layout.named(weights + 1, fixed)
    changed = {name: int((moved[name] != value).sum()) for name, value in expected.items()}
    assert changed == dict.fromkeys(expected, 0) | {"first.weight": dim - 3, "first.bias": 3}
    flat = layout.flat(moved[name] for name in layout.shapes)
    assert torch.equal(flat, weights + 1)
    assert torch.equal(layout.split(model.state_dict())[0], weights)


def test_what_is_fixed_holds_whole_parameters_that_are_sampled_in_part():
    model = Net()
    assert Layout(model, {}).split(model.state_dict())[1].keys() == {
        "frozen.weight",
        "frozen.bias",
        "scale",
        "scratch",
    }
    fixed = Layout(model, SOME).split(model.state_dict())[1]
    assert torch.equal(fixed["first.weight"], model.first.weight)


def test_a_state_in_another_precision_is_cast_and_one_in_the_same_is_shared():
    model = Net()
    layout = Layout(model, {})
    state = {name: value.double() + 1 for name, value in model.state_dict().items()}
    weights, fixed = layout.split(state)
    assert weights.dtype == fixed["scale"].dtype == torch.float32
    assert fixed["scale"] == 3
    assert fixed["scratch"] == 5  # not part of a state dictionary: the model's own
    own = model.state_dict()
    assert layout.split(own)[1]["frozen.weight"].data_ptr() == own["frozen.weight"].data_ptr()


def test_either_name_of_a_tied_parameter_is_enough_and_both_have_to_agree():
    model = Net()
    layout, state = Layout(model, {}), dict(model.state_dict())
    assert layout.tied["first.weight"] == layout.tied["tied.weight"] == ["first.weight", "tied.weight"]
    whole, _ = layout.split(state)
    for name in ("first.weight", "tied.weight"):
        assert torch.equal(layout.split({key: x for key, x in state.items() if key != name})[0], whole)
    with pytest.raises(InputError, match=r"first\.weight and tied\.weight differ in the checkpoint"):
        layout.split(state | {"tied.weight": state["tied.weight"] + 1})


def test_names_and_shapes_are_compared_before_anything_is_read():
    layout = Layout(Net(), {})
    shapes = {name: tuple(value.shape) for name, value in Net().state_dict().items()}
    layout.check_names(shapes)
    wrong = {name: shape for name, shape in shapes.items() if name != "scale"} | {"first.bias": (4,), "more": (1,)}
    with pytest.raises(InputError, match=r"scale: missing; more: not in the model; first\.bias: shape \(4,\), the "):
        layout.check_names(wrong)
