"""Numbers and tables in Markdown, for what benchmarks report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

ABSENT = "–"


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown.

    Args:
        header: Titles of the columns.
        rows: Cells; None is shown as a dash.

    Returns:
        The lines of the table, joined.
    """
    lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[object]) -> str:
    shown = [ABSENT if cell is None else str(cell).replace("|", "&#124;") for cell in cells]
    return f"| {' | '.join(shown)} |"


def percent(share: float | None, decimals: int = 1) -> str:
    """A share in percent."""
    return ABSENT if share is None else f"{100 * share:.{decimals}f} %"


def digits(value: float | None, count: int = 3) -> str:
    """A number with so many significant digits; whole numbers below 1e5 are shown in full."""
    if value is None:
        return ABSENT
    shown = f"{value:.{count}g}"
    if "e+" in shown:
        return f"{value:.0f}" if abs(value) < 1e5 else shown.replace("e+0", "e").replace("e+", "e")
    return shown


def spread_text(errors: Mapping[str, float | None]) -> str:
    """What `spread` found, in words."""
    median, late, worst = (percent(errors[name]) for name in ("median", "percentile_95", "worst"))
    return f"{median} in the median, {late} at the 95th percentile and {worst} at worst"


def either(condition: object) -> str:
    """Yes or no."""
    return "yes" if condition else "no"


def of(count: int, total: int) -> str:
    """A count of a total."""
    return f"{count} of {total}"
