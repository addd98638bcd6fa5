import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from llckit.errors import InputError
from llckit.llc import LLCCurve, Outcome, Spectrogram
from llckit.report import write_report
from llckit.transitions import Move, Transition

VOID = {"meta", "link", "br", "hr", "img"}
HOSTILE = '</title><script>alert("1")</script><img src=x onerror=alert(1)>&'


class Page(HTMLParser):
    """Elements, text and rows of tables; fails where tags do not nest or an id comes twice."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.words = [], [], [], []
        self.tables = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append(attributes.get("class", ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "head"} & set(self.open):
            self.words.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def make_curve(steps=16):
    step = np.append(0, np.geomspace(2, 4000, steps - 1).round()).astype(np.int64)
    n = len(step)
    details = {name: np.linspace(1, 2, n) for name in ("grad_norm", "llc_variance", "rhat", "ess")}
    details |= {"n_beta": np.full(n, 135.25), "localization": np.full(n, 10.0)}
    llc = np.linspace(10, 20, n)
    outcome = (Outcome.CONVERGED,) * n
    return LLCCurve(step, np.linspace(3, 1, n), llc, np.full(n, 0.123), llc[:, None] + [[-1, 1]], details, outcome)


def make_stage(start, end, kind, delta_loss, delta_llc, hidden=False, moves=()):
    return Transition(
        start=start,
        end=end,
        start_interval=(start, start),
        end_interval=(0.9 * end, 1.1 * end),
        kind=kind,
        delta_loss=delta_loss,
        delta_loss_se=0.01 * abs(delta_loss),
        delta_llc=delta_llc,
        delta_llc_se=0.01 * abs(delta_llc),
        probability=0.98,
        hidden=hidden,
        location=end / 2,
        location_interval=(end / 3, end / 1.5),
        moves=moves,
    )


STAGES = (make_stage(0, 150, "A", -2.5, 430), make_stage(150, 1400, "B", -0.02, -510, hidden=True))


def test_what_moves_and_the_free_energy_are_told(tmp_path):
    moves = (Move(HOSTILE, 200, 900, 614.0, (600.0, 630.0), 0.97, 0.013),)
    stages = (STAGES[0], make_stage(150, 1400, "B", 0.02, -510, moves=moves))
    text = written(tmp_path, make_curve(), stages)
    Page(text)
    assert "0.01</td>" in text
    assert "0.01</td>" not in written(tmp_path / "without", make_curve(), STAGES)
    assert "<script>alert" not in text
    # 430 ln n = 2.5 n and 510 ln n = 0.02 n
    assert "wins from n = 1223 " in text
    assert "wins up to n = 323519 " in text


def written(tmp_path, *arguments, **keywords):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "report.html"
    write_report(path, *arguments, **keywords)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    curve = make_curve()
    behavioral = replace(curve, behavioral=True)
    return written(
        folder, curve, STAGES, behavioral=behavioral, notes=["a <note>"], metadata={"samples": 924, "rule": "n/ln n"}
    )


def test_a_spectrogram_is_drawn_with_its_transitions(tmp_path):
    curve = make_curve(steps=24)
    rise = replace(curve, llc=np.where(curve.step > 100, 20.0, 10.0), mcse=None, llc_per_chain=None)
    scales = [replace(rise, details=curve.details | {"n_beta": np.full(24, x)}) for x in (5.0, 50.0)]
    page = Page(written(tmp_path, curve, (), spectrogram=Spectrogram(tuple(scales))))
    assert page.count("svg") == 2
    assert "2 of 2" in page.text
    flat = [replace(one, llc=np.full(24, 10.0)) for one in scales]
    assert "No transition was found at any scale" in written(
        tmp_path / "flat", curve, (), spectrogram=Spectrogram(tuple(flat))
    )


def test_the_answer_comes_first_and_is_plain(full):
    answer = Page(full).text.replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert answer.index("2 transitions in 16 checkpoints from step 0 to 4 000.") < answer.index("Stages")
    assert "The first, type A, runs from step 0 to 150: the LLC rises by 430 while the loss falls by 2.50." in answer
    assert "The second, hidden, type B, runs from step 150 to 1 400: the LLC falls by 510" in answer


def test_tables_hold_every_stage_and_every_checkpoint(full):
    stages, exponents, behavioral, diagnostics, settings = Page(full).tables
    assert len(stages) == len(exponents) == 1 + len(STAGES)
    assert len(behavioral) == len(diagnostics) == 1 + 16
    assert len(settings) == 7
    text = Page(full).text
    for word in (
        "135.2",
        "samples 924",
        "rule n/ln n",
        "a <note>",
        "10.00 ± 0.12",
        "−510",
        "training loss",
        "chains 2",
    ):
        assert word in text


def test_exponents_are_inconclusive_and_what_would_decide_is_told(full, tmp_path):
    text = Page(full).text
    assert text.count("inconclusive") == 1 + len(STAGES)
    for index in range(1, len(STAGES) + 1):
        assert f"Stage {index}: One run has one size" in text
    assert "20 seeds of each" in text
    assert "Critical exponents" not in written(tmp_path, make_curve(), ())
    foreign = replace(make_curve(), details={}, mcse=None)
    assert "inconclusive" in written(tmp_path / "foreign", foreign, STAGES)


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


def test_hostile_text_is_only_text(tmp_path):
    page = written(tmp_path, make_curve(), STAGES, title=HOSTILE, notes=[HOSTILE], metadata={HOSTILE: HOSTILE})
    parsed = Page(page)
    assert parsed.count("script") == parsed.count("img") == 0
    assert parsed.text.count(HOSTILE) == 4


def test_a_title_that_is_no_unicode_makes_a_page(tmp_path):
    assert "<h1>run ?</h1>" in written(tmp_path, make_curve(), (), title="run \udc80")


def test_failed_estimates_stand_out_with_advice(tmp_path):
    curve = make_curve()
    outcome, llc = list(curve.outcome), curve.llc.copy()
    outcome[2], outcome[4], outcome[6] = Outcome.NOT_A_MINIMUM, Outcome.BUDGET_EXHAUSTED, Outcome.DIVERGED
    llc[6] = np.nan
    page = Page(written(tmp_path, replace(curve, outcome=tuple(outcome), llc=llc), STAGES))
    assert [row for row, mark in enumerate(page.tables[2][1:]) if mark == "doubtful"] == [2, 6]
    assert "2 of the 16 estimates failed a check" in page.text
    for kind in (Outcome.NOT_A_MINIMUM, Outcome.DIVERGED, Outcome.BUDGET_EXHAUSTED):
        assert kind.advice in page.text


def test_a_bare_curve_without_transitions_makes_a_page(tmp_path):
    curve = replace(make_curve(), mcse=None, llc_per_chain=None, details={}, outcome=None)
    page = Page(written(tmp_path, curve, ()))
    assert "No transition was found" in page.text
    assert [len(table) for table in page.tables] == [17, 4]
    assert "nβ unknown" in page.text


def test_a_curve_without_any_value_makes_a_page(tmp_path):
    curve = make_curve()
    page = Page(written(tmp_path, replace(curve, llc=np.full(16, np.nan), mcse=np.full(16, np.nan)), ()))
    assert "nan" not in page.text.lower().split()
    assert "16 of the 16 estimates failed" in page.text


def test_settings_that_differ_along_the_curve_are_called_out(tmp_path):
    curve = make_curve()
    curve.details["n_beta"][3] = 60.0
    assert "60.00 to 135.2: values are not comparable" in Page(written(tmp_path, curve, ())).text


def test_more_stages_than_ordinals(tmp_path):
    stages = [make_stage(10 * k, 10 * k + 10, "A", -0.1, 1) for k in range(12)]
    assert "Number 12, type A" in Page(written(tmp_path, make_curve(), stages)).text


def test_existing_and_unsuitable_paths_are_refused_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr("llckit.report.page.run_figure", lambda *_: pytest.fail("work was done"))
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
