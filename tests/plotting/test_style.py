"""Pictures do not depend on the settings of the process, which users make for their own."""

import io
import sys

import matplotlib as mpl
import pytest

from llckit.errors import InputError
from llckit.plotting import plot_curve, save_figure

from .curves import STAGES, make_curve

USERS = {
    "LaTeX": {"text.usetex": True, "text.latex.preamble": r"\usepackage{nowhere}"},
    "dark": {"axes.facecolor": "black", "figure.facecolor": "black", "lines.linewidth": 9, "text.color": "white"},
    "sketch": {"path.sketch": (1, 100, 2), "axes.grid": True},
    "layout": {"figure.autolayout": True, "savefig.bbox": "tight", "savefig.format": "pdf", "savefig.dpi": 13},
    "numbers": {"axes.formatter.use_mathtext": True, "axes.unicode_minus": False, "axes.formatter.limits": (0, 1)},
}


@pytest.mark.parametrize("name", USERS)
def test_a_picture_is_the_same_under_the_users_settings(name, tmp_path):
    save_figure(plot_curve(make_curve(), STAGES), tmp_path / "plain.png")
    with mpl.rc_context(USERS[name]):
        before = dict(mpl.rcParams)
        save_figure(plot_curve(make_curve(), STAGES), tmp_path / "users.png")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "users.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_picture_can_be_saved_by_hand_where_the_user_asks_for_latex():
    def by_hand(settings):
        file = io.BytesIO()
        with mpl.rc_context(settings):
            plot_curve(make_curve(), STAGES).savefig(file, format="png")
        return mpl.image.imread(io.BytesIO(file.getvalue()))

    assert (by_hand(USERS["LaTeX"]) == by_hand({})).all()


def test_the_users_fonts_stay(tmp_path):
    with mpl.rc_context({"font.family": "DejaVu Serif"}):
        figure = plot_curve(make_curve(), STAGES)
    assert figure.axes[-1].yaxis.label.get_fontfamily() == ["DejaVu Serif"]


def test_a_backend_that_matplotlib_does_not_know_is_an_error_in_one_line(monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    with pytest.raises(InputError, match=r"matplotlib cannot be imported .*nonsense.*see MPLBACKEND"):
        plot_curve(make_curve(), STAGES)
