"""Pages to test: curves, stages, and a parser of what was written."""

from html.parser import HTMLParser

import numpy as np

from llckit.llc import LLCCurve, Outcome
from llckit.llc.curve import NUMBERS
from llckit.report import write_report
from llckit.transitions import Transition

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
    details = {name: np.linspace(1, 2, n) for name in NUMBERS if not name.startswith("bracket")}
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


def written(tmp_path, *arguments, **keywords):
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "report.html"
    write_report(path, *arguments, **keywords)
    return path.read_text(encoding="utf-8")
