"""Whether to believe the estimates, one by one, and what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from llckit.llc import LLCCurve
from llckit.plotting import is_doubtful
from llckit.report.cells import estimate, html_table, number, scrolling, step_cell
from llckit.report.figures import loss_kind

if TYPE_CHECKING:
    pass

DIAGNOSTICS = {
    "bracket_lower": "λ from",
    "bracket_upper": "λ to",
    "llc_variance": "variance estimate",
    "rhat": "R-hat",
    "ess": "ESS",
    "grad_norm": "gradient norm",
}


def diagnostics_section(curve: LLCCurve) -> str:
    """How the estimates ended, what that means, and every one of them."""
    parts = []
    if curve.outcome is None:
        parts.append("<p>This curve does not say how its estimates ended, so none could be checked.</p>")
    else:
        items = [
            f"<li>{count} of {len(curve)}: <strong>{escape(outcome.value)}</strong>. {escape(outcome.advice)}</li>"
            for outcome, count in Counter(curve.outcome).most_common()
        ]
        parts.append("<ul>\n" + "\n".join(items) + "\n</ul>")
    names = [name for name in DIAGNOSTICS if np.isfinite(curve.details.get(name, np.nan)).any()]
    columns = ["step", "loss", "LLC" if curve.mcse is None else "LLC ± standard error"]
    columns += [DIAGNOSTICS[name] for name in names] + (["outcome"] if curve.outcome is not None else [])
    rows = []
    for index, (step, loss, _) in enumerate(curve):
        row = [step_cell(step), number(loss), _llc(curve, index)]
        row += [number(curve.details[name][index]) for name in names]
        rows.append(row + ([curve.outcome[index].value] if curve.outcome is not None else []))
    caption = "Every checkpoint; highlighted ones failed a check"
    return "\n".join([*parts, html_table(caption, columns, rows, is_doubtful(curve))])


def settings_section(curve: LLCCurve, metadata: Mapping[str, object]) -> str:
    """The table of what was measured."""
    settings: dict[str, str] = {"loss": loss_kind(curve)}
    for name, label in (("n_beta", "nβ"), ("localization", "γ (localization)")):
        values = curve.details.get(name, np.array([]))
        values = np.unique(values[np.isfinite(values)])
        if len(values):
            differing = f"{number(values[0])} to {number(values[-1])}: values are not comparable along the curve"
            settings[label] = number(values[0]) if len(values) == 1 else differing
        else:
            settings[label] = "unknown"
    settings["checkpoints"] = str(len(curve))
    if curve.llc_per_chain is not None:
        settings["chains"] = str(curve.llc_per_chain.shape[1])
    settings |= {str(key): number(value) if isinstance(value, float) else str(value) for key, value in metadata.items()}
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>' for name, value in settings.items()
    )
    return scrolling(
        "Settings",
        f'<table class="settings">\n<caption>What was measured</caption>\n<tbody>\n{rows}\n</tbody>\n</table>',
    )


def _llc(curve: LLCCurve, index: int) -> str:
    return estimate(curve.llc[index], curve.mcse[index] if curve.mcse is not None else np.nan)
