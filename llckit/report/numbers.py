"""Numbers and steps as they stand in the page."""

from __future__ import annotations

import numpy as np

__all__ = ["MISSING", "number", "signed", "step_number", "with_error", "with_interval"]

MISSING = "–"
THIN_SPACE = "\N{NARROW NO-BREAK SPACE}"


def number(value: float, digits: int = 4) -> str:
    """A number to so many significant digits, without an exponent if that is short; NaN is `MISSING`."""
    if np.isnan(value):
        return MISSING
    if value == 0 or not np.isfinite(value) or not 1e-4 <= abs(value) < 1e6:
        text = f"{value:.{digits - 1}e}" if value != 0 and np.isfinite(value) else f"{value:g}"
    else:
        decimals = max(0, digits - 1 - int(np.floor(np.log10(abs(value)))))
        text = f"{value:.{decimals}f}"
    return text.replace("-", "−")


def signed(value: float) -> str:
    """A number with its sign, to three digits."""
    return ("+" if value > 0 else "") + number(value, 3)


def with_error(value: float, error: float) -> str:
    """A value to the digits that its error leaves, with the error; without it if the error is not known."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return number(value)
    decimals = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}".replace("-", "−")


def step_number(step: float) -> str:
    """A step with thin spaces between thousands."""
    return f"{step:,.0f}".replace(",", THIN_SPACE) if np.isfinite(step) else MISSING


def with_interval(step: float, interval: tuple[float, float]) -> str:
    """A step, and its interval on the next line if it has one."""
    low, high = interval
    return step_number(step) if low == high else f"{step_number(step)}\n({step_number(low)}–{step_number(high)})"
