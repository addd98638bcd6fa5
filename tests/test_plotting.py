import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from llckit import detect_across_scales, hyperscaling_test
from llckit.errors import InputError
from llckit.files import check_new_file
from llckit.llc import LLCCurve, Outcome, Spectrogram
from llckit.plotting import FIGURE_ENDINGS, plot_collapse, plot_curve, plot_spectrogram, save_figure
from llckit.toys import curie_weiss

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "lr_transformer.csv"


def make_curve(steps=24, last=4000, chains=4):
    step = np.append(0, np.geomspace(6, last, steps - 1).round()).astype(np.int64)
    x = np.log1p(step)
    llc = 20 + 50 * np.exp(-((x - 5) ** 2))
    per_chain = llc[:, None] + np.linspace(-1, 1, chains)
    outcome = (Outcome.CONVERGED,) * len(step)
    loss = 4 / (1 + np.exp(2 * (x - 4)))
    return LLCCurve(step, loss, llc, np.full(len(step), 0.5), per_chain, {"rhat": np.ones(len(step))}, outcome)


def make_stage(start, end, kind, hidden=False):
    def interval(step):
        return 0.9 * step, 1.1 * step

    middle = (start + end) / 2
    return SimpleNamespace(
        start=start,
        end=end,
        start_interval=interval(start),
        end_interval=interval(end),
        kind=kind,
        delta_loss=-1.5,
        delta_llc=30.0 if kind == "A" else -25.0,
        probability=0.98,
        hidden=hidden,
        location=middle,
        location_interval=interval(middle),
    )


STAGES = (make_stage(8, 140, "A"), make_stage(140, 1500, "B", hidden=True), make_stage(1500, 2500, "unclassified"))


def labels(axes):
    return [text.get_text().replace("\n", " · ") for text in axes.texts]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def drawn(figure):
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return figure


def test_panels_share_an_axis_in_log_steps_from_zero():
    figure = drawn(plot_curve(make_curve(last=500_000), title="$broken_{ maths"))
    loss, llc = figure.axes
    assert (loss.get_ylabel(), llc.get_ylabel()) == ("loss", "LLC")
    assert loss.get_xlim() == llc.get_xlim()
    ticks = [tick.get_text().replace("\xa0", "") for tick in llc.get_xticklabels()]
    assert ticks == ["0", "1", "10", "100", "1000", "10000", "100000"]
    places = llc.transData.transform([(0, 0), (99, 0), (9999, 0)])[:, 0]
    assert places[2] - places[1] == pytest.approx(places[1] - places[0])


def test_the_lines_are_the_curve():
    curve = make_curve()
    loss, llc = drawn(plot_curve(curve)).axes
    assert any(np.array_equal(line.get_ydata(), curve.loss) for line in loss.lines)
    assert any(np.array_equal(line.get_ydata(), curve.llc) for line in llc.lines)
    assert all(any(np.array_equal(line.get_ydata(), c) for line in llc.lines) for c in curve.llc_per_chain.T)
    band = llc.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx((curve.llc + 1.959964 * 0.5).max())


def test_stages_are_named_and_told_apart_without_colour():
    figure = drawn(plot_curve(make_curve(), STAGES))
    strip = figure.axes[0]
    assert labels(strip) == ["A", "B · hidden", "?"]
    hatches = [patch.get_hatch() for patch in strip.patches]
    assert len(set(hatches)) == 3
    assert legend(figure)[:3] == ["type A: LLC rises", "type B: LLC falls", "?: unclassified"]


def test_labels_stay_inside_the_strip_and_off_each_other():
    narrow = (make_stage(8, 3000, "A", hidden=True), make_stage(3000, 4000, "B", hidden=True))
    figure = plot_curve(make_curve(), narrow)
    figure.draw_without_rendering()
    strip = figure.axes[0]
    first, second = (text.get_window_extent() for text in strip.texts)
    assert not first.overlaps(second)
    box = strip.get_window_extent()
    assert all(box.y0 <= extent.y0 and extent.y1 <= box.y1 for extent in (first, second))


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


@pytest.mark.parametrize(("ending", "magic"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")])
def test_save_writes_the_format_of_the_ending(ending, magic, tmp_path):
    path = tmp_path / f"plot{ending}"
    save_figure(plot_curve(make_curve()), path)
    assert path.read_bytes().startswith(magic)


def test_save_refuses_an_existing_file_and_leaves_it(tmp_path):
    path = tmp_path / "plot.png"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        save_figure(plot_curve(make_curve()), path)
    assert path.read_text() == "precious"


def test_paths_that_cannot_be_written_are_refused(tmp_path):
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    for name, message in (
        ("plot.xyz", "expected a name that ends in .png, .svg, .pdf"),
        ("plot", "ends in nothing"),
        ("missing/plot.png", "no folder"),
        ("link.png", "exists already"),
    ):
        with pytest.raises(InputError, match=message):
            check_new_file(tmp_path / name, FIGURE_ENDINGS)
    assert check_new_file(str(tmp_path / "plot.png"), FIGURE_ENDINGS) == tmp_path / "plot.png"


def test_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "llckit\[plot\]"'):
        plot_curve(make_curve())


def test_pyplot_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    plot_curve(make_curve(), STAGES)
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published curve is not beside this checkout")
def test_the_published_curve_draws():
    figure = drawn(plot_curve(LLCCurve.from_csv(PUBLISHED), [make_stage(40_000, 320_000, "B", hidden=True)]))
    assert labels(figure.axes[0]) == ["B · hidden"]


def make_spectrogram(scales=3):
    curve = make_curve(steps=8)
    doubt = (Outcome.NOT_A_MINIMUM, Outcome.NOT_MIXED, *curve.outcome[2:])
    return Spectrogram(
        tuple(
            replace(
                curve,
                llc=curve.llc / 2**scale,
                outcome=doubt if scale == 2 else curve.outcome,
                details={"n_beta": np.full(8, 10.0**scale)},
            )
            for scale in range(scales)
        )
    )


def test_a_spectrogram_shows_its_cells_and_hatches_what_is_no_llc():
    found = make_spectrogram()
    figure = plot_spectrogram(found, title="A run")
    cells = [mesh for mesh in figure.axes[0].collections if mesh.get_array().shape == (3, 8) and mesh.colorbar]
    shown = cells[0].get_array()
    assert np.argwhere(np.ma.getmaskarray(shown)).tolist() == [[2, 0]]  # rows are scales
    np.testing.assert_allclose(shown[1], found.llc[:, 1])
    assert figure.axes[0].get_yscale() == "log"
    low, high = figure.axes[0].get_ylim()
    assert (low, high) == pytest.approx((10**-0.5, 10**2.5))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "no LLC: no minimum here, or failed",
        "do not rely on this one",
    ]
    crosses = figure.axes[0].get_lines()[-1]
    assert (crosses.get_xdata().tolist(), crosses.get_ydata().tolist()) == ([found.step[1]], [100.0])
    figure.savefig(io.BytesIO())


def test_a_spectrogram_of_one_scale_is_a_curve():
    with pytest.raises(InputError, match="two of each"):
        plot_spectrogram(make_spectrogram(scales=1))


def test_a_linear_axis_is_linear():
    figure = plot_curve(make_curve(), STAGES, axis="linear")
    assert figure.axes[-1].get_xscale() == "linear"
    figure.savefig(io.BytesIO(), format="png")
    with pytest.raises(InputError, match="axis is 'sqrt'"):
        plot_curve(make_curve(), axis="sqrt")


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


def test_transitions_are_drawn_over_a_spectrogram():
    step = np.unique(np.geomspace(1, 4000, 40).round()).astype(np.int64)
    done = 1 / (1 + np.exp(-(np.log1p(step) - 5) / 0.3))
    rng = np.random.default_rng(0)
    curves = tuple(
        LLCCurve(
            step,
            3 - done,
            10 + 5 * done + 0.1 * rng.standard_normal(len(step)),
            np.full(len(step), 0.1),
            None,
            {"n_beta": np.full(len(step), n_beta), "localization": np.ones(len(step))},
        )
        for n_beta in (10.0, 100.0, 1000.0)
    )
    spectrogram = Spectrogram(curves)
    linked = detect_across_scales(
        step=step, loss=spectrogram.loss, llc=spectrogram.llc, n_beta=spectrogram.n_beta, llc_se=spectrogram.mcse
    )
    plain, drawn = plot_spectrogram(spectrogram), plot_spectrogram(spectrogram, linked)
    assert len(drawn.axes[0].lines) == len(plain.axes[0].lines) + 2 * len(linked)
    np.testing.assert_array_equal(drawn.axes[0].lines[-1].get_ydata(), [10, 100, 1000])
    assert "type A: LLC rises" in [text.get_text() for text in drawn.legends[0].texts]
    drawn.savefig(io.BytesIO(), format="png")
