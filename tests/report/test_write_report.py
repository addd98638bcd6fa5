"""`write_report`: the answer first, a page that is complete and asks for nothing, and wrong input."""

import importlib
import re
import sys

import pytest

from llckit.errors import InputError
from llckit.report import write_report

from .pages import HOSTILE, STAGES, Page, make_curve, make_stage, written

pytestmark = pytest.mark.slow


def test_the_answer_comes_first_and_is_plain(full):
    answer = Page(full).text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert answer.index("2 transitions in 16 checkpoints from step 0 to 4 000.") < answer.index("Stages")
    assert "The first, type A, runs from step 0 to 150: the LLC rises by 430 while the loss falls by 2.50." in answer
    assert "The second, hidden, type B, runs from step 150 to 1 400: the LLC falls by 510" in answer


@pytest.mark.slow
def test_more_stages_than_ordinals(tmp_path):
    stages = [make_stage(10 * k, 10 * k + 10, "A", -0.1, 1) for k in range(12)]
    assert "Number 12, type A" in Page(written(tmp_path, make_curve(), stages)).text


def test_nothing_outside_the_page_is_asked_for(full):
    links = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", full)
    for forbidden in ("http:", "https:", "//", "src=", "@import", "<script", "<iframe", "<object"):
        assert forbidden not in links
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", links))
    assert all(target.startswith("#") or target == "data:," for target in re.findall(r'href="([^"]*)"', links))
    assert "default-src 'none'" in full


def test_the_page_speaks_to_screen_readers_and_small_screens(full):
    page = Page(full)
    assert ("html", {"lang": "en"}) in page.tags
    assert next(tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)) == "h1"
    assert page.count("h1") == 1
    assert page.count("caption") == page.count("table") == 5
    images = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(images) == 2
    for attributes in images:
        assert attributes["role"] == "img"
        assert set(attributes["aria-labelledby"].split()) <= set(page.ids)
        assert not {"width", "height"} & set(attributes)
    assert any(attributes.get("name") == "viewport" for _, attributes in page.tags)
    assert page.count("div") == sum(attributes.get("tabindex") == "0" for _, attributes in page.tags)


def test_references_inside_the_figures_lead_somewhere(full):
    ids = set(Page(full).ids)
    targets = set(re.findall(r'href="#([^"]+)"', full)) | set(re.findall(r"url\(#([^)]+)\)", full))
    assert targets
    assert targets <= ids


@pytest.mark.slow
def test_hostile_text_is_only_text(tmp_path):
    page = written(tmp_path, make_curve(), STAGES, title=HOSTILE, notes=[HOSTILE], metadata={HOSTILE: HOSTILE})
    parsed = Page(page)
    assert parsed.count("script") == parsed.count("img") == 0
    assert parsed.text.count(HOSTILE) == 4


@pytest.mark.slow
def test_a_title_that_is_no_unicode_makes_a_page(tmp_path):
    assert "<h1>run ?</h1>" in written(tmp_path, make_curve(), (), title="run \udc80")


def test_existing_and_unsuitable_paths_are_refused_before_work(tmp_path, monkeypatch):
    module = importlib.import_module("llckit.report.write_report")
    monkeypatch.setattr(module, "run_figure", lambda *_: pytest.fail("work was done"))
    existing = tmp_path / "report.html"
    existing.write_text("precious")
    for path, message in (
        (existing, "exists already"),
        (tmp_path / "r.pdf", "html"),
        (tmp_path / "no" / "r.html", "no fol"),
    ):
        with pytest.raises(InputError, match=message):
            write_report(path, make_curve(), ())
    assert existing.read_text() == "precious"


def test_missing_matplotlib_names_the_extra_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r'pip install "llckit\[plot\]"'):
        write_report(tmp_path / "report.html", make_curve(), ())
    assert not list(tmp_path.iterdir())
