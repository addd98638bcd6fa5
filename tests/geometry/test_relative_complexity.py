import dataclasses
import math

import pytest

import llckit as lk
from llckit.errors import InputError
from llckit.geometry import relative_complexity
from llckit.toys import squared_error
from tests.geometry.nets import regression, two_layers


def test_relative_complexity_is_a_ratio_of_bounds():
    model, (_, data) = two_layers((3, 4, 1), bias=False), regression(30)
    box = lk.bracket(model, data, squared_error)
    assert (box.dim, box.orbit_dim) == (16, 4)
    found = relative_complexity(3.0, box, 0.3)
    assert found == pytest.approx((3 / 6, 3 / 8, 0.3 / 6, 0.3 / 8))
    assert math.isnan(relative_complexity(3.0, box).of_bound_se)
    flat = dataclasses.replace(box, upper=0.0)
    for arguments in ((math.nan, box), ("3", box), (3.0, 6.0), (3.0, flat)):
        with pytest.raises(InputError, match="expected"):
            relative_complexity(*arguments)
