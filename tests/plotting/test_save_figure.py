"""`save_figure`: formats, and files that are never overwritten."""

import pytest

from llckit.errors import InputError
from llckit.files import check_new_file
from llckit.plotting import FIGURE_ENDINGS, plot_curve, save_figure

from .curves import make_curve


@pytest.mark.slow
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
