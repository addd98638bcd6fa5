"""`plot_spectrogram`: cells, hatches, crosses, and transitions across scales."""

import io
from dataclasses import replace

import numpy as np
import pytest

from llckit import detect_across_scales
from llckit.errors import InputError
from llckit.llc import LLCCurve, Outcome, Spectrogram
from llckit.plotting import plot_spectrogram

from .curves import make_curve


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


@pytest.mark.slow
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


@pytest.mark.slow
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
