"""Curves and stages to draw, and what can be read from a figure."""

import io
from types import SimpleNamespace

import numpy as np

from llckit.llc import LLCCurve, Outcome


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
