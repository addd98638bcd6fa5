"""`plot_collapse`: observables of several sizes lie on one curve."""

import io

import numpy as np
import pytest

from llckit import hyperscaling_test
from llckit.plotting import plot_collapse
from llckit.toys import curie_weiss


@pytest.mark.slow
def test_a_collapse_lies_on_one_curve():
    data = curie_weiss((64, 256, 1024))._asdict()
    test = hyperscaling_test(
        size=data["size"],
        control=data["control"],
        observables={name: data[name] for name in ("order_parameter", "binder", "specific_heat")},
    )
    figure = plot_collapse(data, test, title="Curie–Weiss")
    names = [axes.get_ylabel() for axes in figure.axes[::2]]
    assert names == ["order parameter", "susceptibility", "specific heat", "binder"]
    scaled = figure.axes[1].lines
    assert len(scaled) == 3
    left, right = max(line.get_xdata()[0] for line in scaled), min(line.get_xdata()[-1] for line in scaled)
    at = np.linspace(left, right, 20)
    values = np.array([np.interp(at, line.get_xdata(), line.get_ydata()) for line in scaled])
    assert values.std(axis=0).max() < 0.1 * values.mean()
    # the susceptibility took no part in the test, so that its exponent is not known
    assert not figure.axes[3].lines
    assert [len(axes.texts) for axes in figure.axes[1::2]] == [0, 1, 0, 0]
    figure.savefig(io.BytesIO(), format="png")
