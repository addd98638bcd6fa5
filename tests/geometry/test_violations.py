import pytest
import torch
from torch import nn

from llckit.errors import InputError
from llckit.geometry import Symmetry, View, find_symmetries, orbit_basis, tangents, violations
from tests.geometry.nets import named, named_gradient, two_layers


def test_violation_is_the_largest_share_of_the_gradient_along_a_generator(case):
    model = case.model.double()
    weights, gradient = named(model), named_gradient(case.loss(model), model)
    symmetries = find_symmetries(model, cross_entropy=case.cross_entropy)
    assert max(violations(weights, gradient, symmetries)) < 1e-14

    noise = {name: torch.randn_like(g) for name, g in gradient.items()}
    flat = torch.cat([g.reshape(-1) for g in noise.values()])
    for symmetry, found in zip(symmetries, violations(weights, noise, symmetries), strict=True):
        (rows,) = tangents(weights, [symmetry])
        if symmetry.kind != "linear":
            shares = (rows @ flat).abs() / (rows.norm(dim=1) * flat.norm())
            assert found == pytest.approx(float(shares.max()) if len(rows) else 0)
        else:  # tangents come in another basis of gl_h
            assert 0 < found <= float((orbit_basis(weights, [symmetry]) @ flat).norm() / flat.norm()) + 1e-12


@pytest.mark.parametrize(("activation", "wrong"), [(nn.Tanh, "homogeneous"), (nn.ReLU, "linear"), (nn.GELU, "linear")])
def test_violation_of_a_symmetry_that_is_not_there(activation, wrong):
    model = two_layers((3, 4, 2), activation).double()
    loss = model(torch.randn(20, 3, dtype=torch.float64)).square().mean()
    weights, gradient = named(model), named_gradient(loss, model)
    into, out = (View("0.weight"),), (View("2.weight", 1),)
    claimed = [
        Symmetry(wrong, into, out),
        Symmetry("linear", into, out, bias=View("0.bias"), out_bias=View("2.bias")),
        Symmetry("softmax", (View("2.weight"),)),
        Symmetry("free", (View("0.bias"),)),
    ]
    assert min(violations(weights, gradient, claimed)) > 1e-3
    assert violations(weights, gradient, [Symmetry("pointwise", into, out)]) == [0]
    for part in ({"0.weight": gradient["0.weight"]}, {}):
        with pytest.raises(InputError, match="have no gradient"):
            violations(weights, part, claimed)
    with pytest.raises(InputError, match="weights is a Sequential"):
        violations(model, gradient, claimed)
