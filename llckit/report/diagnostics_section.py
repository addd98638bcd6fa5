"""Whether to believe the estimates: how they ended, and every one of them."""

from __future__ import annotations

from collections import Counter
from html import escape

from llckit.llc import LLCCurve
from llckit.report.checkpoint_table import checkpoint_table

__all__ = ["diagnostics_section"]


def diagnostics_section(curve: LLCCurve) -> str:
    """How the estimates of a curve ended, what that means, and the table of checkpoints.

    Args:
        curve: A curve.

    Returns:
        HTML.
    """
    if curve.outcome is None:
        outcomes = "<p>This curve does not say how its estimates ended, so none could be checked.</p>"
    else:
        items = [
            f"<li>{count} of {len(curve)}: <strong>{escape(outcome.value)}</strong>. {escape(outcome.advice)}</li>"
            for outcome, count in Counter(curve.outcome).most_common()
        ]
        outcomes = "<ul>\n" + "\n".join(items) + "\n</ul>"
    return f"{outcomes}\n{checkpoint_table(curve)}"
