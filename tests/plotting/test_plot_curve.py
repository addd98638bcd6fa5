"""`plot_curve`: axes, lines, stages, marks of doubtful estimates, and curves at the edge."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.llc import LLCCurve, Outcome
from llckit.plotting import plot_curve
from llckit.tables import write_table

from .curves import STAGES, drawn, labels, legend, make_curve, make_stage


@pytest.mark.slow
def test_panels_share_an_axis_in_log_steps_from_zero():
    figure = drawn(plot_curve(make_curve(last=500_000), title="$broken_{ maths"))
    loss, llc = figure.axes
    assert (loss.get_ylabel(), llc.get_ylabel()) == ("loss", "LLC")
    assert loss.get_xlim() == llc.get_xlim()
    ticks = [tick.get_text().replace("\xa0", "") for tick in llc.get_xticklabels()]
    assert ticks == ["0", "1", "10", "100", "1000", "10000", "100000"]
    places = llc.transData.transform([(0, 0), (99, 0), (9999, 0)])[:, 0]
    assert places[2] - places[1] == pytest.approx(places[1] - places[0])


@pytest.mark.slow
def test_a_linear_axis_is_linear():
    figure = plot_curve(make_curve(), STAGES, axis="linear")
    assert figure.axes[-1].get_xscale() == "linear"
    drawn(figure)
    with pytest.raises(InputError, match="axis is 'sqrt'"):
        plot_curve(make_curve(), axis="sqrt")


@pytest.mark.slow
def test_the_lines_are_the_curve():
    curve = make_curve()
    loss, llc = drawn(plot_curve(curve)).axes
    assert any(np.array_equal(line.get_ydata(), curve.loss) for line in loss.lines)
    assert any(np.array_equal(line.get_ydata(), curve.llc) for line in llc.lines)
    assert all(any(np.array_equal(line.get_ydata(), c) for line in llc.lines) for c in curve.llc_per_chain.T)
    band = llc.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((curve.llc + 1.959964 * 0.5).max())


@pytest.mark.slow
def test_stages_are_named_and_told_apart_without_colour():
    figure = drawn(plot_curve(make_curve(), STAGES))
    strip = figure.axes[0]
    assert labels(strip) == ["A", "B · hidden", "?"]
    hatches = [patch.get_hatch() for patch in strip.patches]
    assert len(set(hatches)) == 3
    assert legend(figure)[:3] == ["type A: LLC rises", "type B: LLC falls", "?: unclassified"]


@pytest.mark.slow
def test_labels_stay_inside_the_strip_and_off_each_other():
    narrow = (make_stage(8, 3000, "A", hidden=True), make_stage(3000, 4000, "B", hidden=True))
    figure = plot_curve(make_curve(), narrow)
    figure.draw_without_rendering()
    strip = figure.axes[0]
    first, second = (text.get_window_extent() for text in strip.texts)
    assert not first.overlaps(second)
    box = strip.get_window_extent()
    assert all(box.y0 <= extent.y0 and extent.y1 <= box.y1 for extent in (first, second))


@pytest.mark.slow
def test_failed_estimates_have_their_own_marker():
    curve = make_curve()
    outcome, llc = list(curve.outcome), curve.llc.copy()
    outcome[3], outcome[5], outcome[7] = Outcome.NOT_A_MINIMUM, Outcome.BUDGET_EXHAUSTED, Outcome.DIVERGED
    llc[7] = np.nan
    figure = drawn(plot_curve(replace(curve, outcome=tuple(outcome), llc=llc)))
    crosses = [line for line in figure.axes[1].lines if line.get_marker() == "x"]
    assert [line.get_xdata().tolist() for line in crosses] == [[curve.step[3]], [curve.step[7]]]
    dots = next(line for line in figure.axes[1].lines if line.get_marker() == "o")
    assert curve.step[5] in dots.get_xdata()
    assert curve.step[3] not in dots.get_xdata()
    assert "do not rely on this one" in legend(figure)


@pytest.mark.slow
def test_estimates_that_depend_on_their_scale_are_open_dots():
    curve = make_curve()
    outcome = list(curve.outcome)
    outcome[3] = Outcome.SCALE_DEPENDENT
    figure = drawn(plot_curve(replace(curve, outcome=tuple(outcome))))
    (ring,) = [line for line in figure.axes[1].lines if line.get_label() == "depends on its scale"]
    assert ring.get_xdata().tolist() == [curve.step[3]]
    assert ring.get_markerfacecolor() == "white"
    dots = next(line for line in figure.axes[1].lines if line.get_label() == "LLC of a checkpoint")
    assert curve.step[3] not in dots.get_xdata()
    assert "do not rely on this one" not in legend(figure)


@pytest.mark.slow
def test_one_wild_error_bar_does_not_flatten_the_curve():
    curve = make_curve()
    mcse = curve.mcse.copy()
    mcse[4] = 1e6
    low, high = drawn(plot_curve(replace(curve, mcse=mcse))).axes[1].get_ylim()
    assert high - low <= 3.001 * np.ptp(curve.llc)


def bare(curve):
    return replace(curve, mcse=None, llc_per_chain=None, details={}, outcome=None)


def with_nan(curve, column, rows):
    values = getattr(curve, column).copy()
    values[rows] = np.nan
    return replace(curve, **{column: values})


EDGES = {
    "8 points": make_curve(steps=8),
    "1 point": LLCCurve(np.array([5]), np.ones(1), np.ones(1), None, None, {}),
    "bare": bare(make_curve()),
    "gaps": with_nan(make_curve(), "llc", [0, 5, 6, 23]),
    "isolated": with_nan(make_curve(), "llc", slice(0, 24, 2)),
    "no value at all": with_nan(make_curve(), "llc", slice(None)),
    "no loss": with_nan(make_curve(), "loss", slice(None)),
    "mcse gaps": with_nan(make_curve(), "mcse", [2, 3]),
    "constant": replace(make_curve(), llc=np.full(24, 7.0), mcse=np.zeros(24)),
    "many chains": make_curve(chains=64),
    "short late run": replace(bare(make_curve(steps=8)), step=np.arange(100_000, 100_008)),
    "long run": replace(bare(make_curve(steps=8)), step=np.array([0, 1, 10, 10**4, 10**6, 10**8, 10**10, 10**12])),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("stages", [(), STAGES], ids=["no stages", "stages"])
def test_edges_draw_without_a_warning(name, stages):
    figure = drawn(plot_curve(EDGES[name], stages))
    ticks = [text for tick in figure.axes[-1].get_xticklabels() if (text := tick.get_text())]
    assert 1 <= len(ticks) <= 8
    assert len(set(ticks)) == len(ticks)


def test_many_chains_are_left_out():
    assert len(plot_curve(make_curve(chains=64)).axes[-1].lines) < 64


def test_behavioral_curves_say_so():
    assert plot_curve(replace(make_curve(), behavioral=True)).axes[-1].get_ylabel() == "behavioral LLC"


@pytest.mark.slow
def test_a_long_foreign_curve_draws(tmp_path):
    """As others publish theirs: no outcome, no standard error, and columns that llckit does not know."""
    step = np.unique(np.append(0, np.geomspace(100, 500_000, 189).round())).astype(int)
    x = np.log1p(step)
    columns = {
        "step": step,
        "loss": 4 - x / 8,
        "llc": 60 + 40 * np.exp(-((x - 11) ** 2)),
        "llc_std": x,
        "num_chains": step,
    }
    write_table(tmp_path / "published.csv", columns)
    curve = LLCCurve.from_csv(tmp_path / "published.csv")
    figure = drawn(plot_curve(curve, [make_stage(40_000, 320_000, "B", hidden=True)]))
    assert labels(figure.axes[0]) == ["B · hidden"]
    assert any(np.array_equal(line.get_ydata(), curve.llc) for line in figure.axes[2].lines)


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "llckit\[plot\]"'):
        plot_curve(make_curve())


def test_pyplot_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_curve(make_curve(), STAGES)
    assert "matplotlib.pyplot" not in sys.modules
