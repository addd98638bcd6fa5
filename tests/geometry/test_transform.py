import copy

import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.geometry import Symmetry, View, find_symmetries, transform
from tests.geometry.nets import named, two_layers


def distance(model, other):
    """‖w − w′‖/‖w‖, parameter by parameter."""
    pairs = zip(model.parameters(), other.parameters(), strict=True)
    return {i: float((a - b).detach().norm() / a.detach().norm()) for i, (a, b) in enumerate(pairs)}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_the_loss_is_unchanged_under_random_symmetries(case, dtype, tolerance):
    model = case.model.to(dtype)
    loss = case.loss(model).item()
    for seed in range(5):
        moved = transform(model, seed=seed, cross_entropy=case.cross_entropy)
        assert all(p.dtype == dtype for p in moved.parameters())
        assert case.loss(moved).item() == pytest.approx(loss, rel=tolerance)
        assert max(distance(model, moved).values()) > 0.5


def test_every_symmetry_alone_moves_all_that_it_acts_on_and_not_the_loss(case):
    model = case.model.double()
    loss, before = case.loss(model).item(), named(model)
    for symmetry in find_symmetries(model, cross_entropy=case.cross_entropy):
        alone = [transform(model, symmetries=[symmetry], seed=seed) for seed in range(4)]
        assert [case.loss(moved).item() for moved in alone] == pytest.approx([loss] * 4, rel=1e-12)
        names = {view.name for view in symmetry.views}
        for name, parameter in before.items():
            changed = any(not torch.equal(named(moved)[name], parameter) for moved in alone)
            assert changed == (name in names), f"{symmetry}: {name}"


def test_what_is_no_symmetry_changes_the_loss(case):
    model = copy.deepcopy(case.model).double()
    loss, generator = case.loss(model).item(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    assert abs(case.loss(model).item() / loss - 1) > 1e-3


def test_one_side_of_a_symmetry_alone_changes_the_loss(case):
    model = case.model.double()
    loss = case.loss(model).item()
    for symmetry in find_symmetries(model):
        if symmetry.kind in {"linear", "homogeneous"}:
            moved = transform(model, symmetries=[Symmetry("free", symmetry.into)])
            assert abs(case.loss(moved).item() / loss - 1) > 1e-5, str(symmetry)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.GELU, nn.ReLU])
def test_a_group_that_the_activation_does_not_let_through_changes_the_loss(activation):
    model = two_layers((3, 4, 2), activation).double()
    x = torch.randn(20, 3, dtype=torch.float64)
    wrong = "linear" if activation is nn.ReLU else "homogeneous"
    claimed = find_symmetries(model)[0]._replace(kind=wrong)
    assert (transform(model, symmetries=[claimed])(x) - model(x)).abs().max() > 1e-2
    assert (transform(model)(x) - model(x)).abs().max() < 1e-14


def test_the_draw_is_reproducible_and_the_model_untouched(case):
    before = copy.deepcopy(case.model.state_dict())
    one, same, other = (transform(case.model, seed=seed) for seed in (1, 1, 2))
    assert distance(one, same) == dict.fromkeys(distance(one, same), 0.0)
    assert max(distance(one, other).values()) > 0.1
    assert all(torch.equal(value, before[name]) for name, value in case.model.state_dict().items())


def test_the_condition_number_is_bounded():
    model = nn.Sequential(nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(5))
    for seed in range(20):
        values = torch.linalg.svdvals(transform(model, seed=seed, max_condition=9.0)[0].weight)
        assert values.max() / values.min() <= 9 * (1 + 1e-12)
        assert values.max() <= 3 * (1 + 1e-12)
    values = torch.linalg.svdvals(transform(model, max_condition=1)[0].weight)
    torch.testing.assert_close(values, torch.ones(5, dtype=torch.float64))


def test_impossible_wishes_are_refused():
    model = two_layers()
    for condition in (0.5, float("inf"), "large"):
        with pytest.raises(InputError, match="max_condition is"):
            transform(model, max_condition=condition)
    with pytest.raises(InputError, match=r"expected a torch\.nn\.Module"):
        transform(model.state_dict(), symmetries=find_symmetries(model))
    with pytest.raises(InputError, match="is a LSTM without known symmetries"):
        transform(nn.LSTM(2, 2))
    with pytest.raises(InputError, match=r"act on nothing\.weight; expected"):
        transform(model, symmetries=[Symmetry("pointwise", (View("nothing.weight"),))])
    with pytest.raises(InputError, match="expected the same number of hidden units"):
        transform(model, symmetries=[Symmetry("linear", (View("0.weight"),), (View("2.weight"),))])
    with pytest.raises(InputError, match="symmetries holds Symmetry"):
        transform(model, symmetries=[Symmetry("affine", (View("0.weight"),))])  # pyright: ignore
    with pytest.raises(InputError, match=r"0\.weight\[2:9\] in blocks of 1 does not fit"):
        transform(model, symmetries=[Symmetry("pointwise", (View("0.weight", start=2, stop=9),))])


def test_a_seed_that_is_no_integer_is_refused():
    with pytest.raises(InputError, match="seed is 'a'"):
        transform(two_layers(), seed="a")
