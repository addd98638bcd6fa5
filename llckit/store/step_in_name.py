"""The training step in the name of a file, as training programs write it."""

import re

from llckit.errors import InputError

__all__ = ["last_integer", "step_in_name"]

_STEP = re.compile(r"steps?[=_ -]?(\d+)", re.IGNORECASE)
# Numbers of which a part alone would be read: step_10k, step_1e5, step_0.25, step_1,000, step_1_000, step=-1.
_GROUP = r"[,_' ]\d{3}(?!\d)"
_UNCLEAR_STEP = re.compile(rf"steps?(?:[=_ -]?\d+(?:[a-z]|\.\d|{_GROUP})|[=_ -]-\d+)", re.IGNORECASE)
_UNCLEAR = re.compile(r"(?<!\d)\d{1,3}(?:[,']\d{3})+(?!\d)|[=_ -]-\d+(?!\d|\.\d)|\d+[_-]?of[_-]?\d+", re.IGNORECASE)
# Not a step: dates, hashes, versions such as Lightning's -v1, and values of other things.
_OTHERS = re.compile(
    r"\d{4}[-_.]\d{2}[-_.]\d{2}(?:[-_.T ]\d{2}[-_.:h]\d{2}(?:[-_.:m]\d{2})?)?(?!\d)"
    r"|(?<![a-z0-9])(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{6,}(?![a-z0-9])"
    r"|(?<![a-z])v\d+(?![a-z0-9])"
    r"|(?<![a-z0-9])(?:val|test|train)?(?:loss|acc|accuracy|auc|f1|ppl|lr|score|metric|error|reward|seed|rank)[=_-]?-?\d+(?:\.\d+)?(?:e[+-]?\d+)?",
    re.IGNORECASE,
)
# Not a step either: the digits of a decimal fraction or an exponent, and digits before a letter, as in "7b".
_INTEGER = re.compile(r"(?<!\d)(?<!\d\.)(?<!\d[eE])(?<!\d[eE][+-])\d+(?!\d|\.\d|[A-Za-z])")


def step_in_name(stem: str) -> int | None:
    """The number after the last "step" in a name.

    Args:
        stem: The name of a file without its suffix.

    Returns:
        The step; None if there is none.

    Raises:
        InputError: The number is no plain integer.
    """
    _refuse(_UNCLEAR_STEP.search(stem))
    named = _STEP.findall(stem)
    return int(named[-1]) if named else None


def last_integer(stem: str) -> int | None:
    """The last integer in a name; dates, hashes, versions, metrics, seeds and ranks do not count.

    Args:
        stem: The name of a file without its suffix.

    Returns:
        The integer; None if there is none.

    Raises:
        InputError: A number in the name is negative, has separators, or is one of several parts.
    """
    left = _OTHERS.sub(" ", stem)
    _refuse(_UNCLEAR.search(left))
    integers = _INTEGER.findall(left)
    return int(integers[-1]) if integers else None


def _refuse(unclear: re.Match[str] | None) -> None:
    if unclear:
        raise InputError(f"{unclear[0].strip()!r} in its name is no integer; rename it to something like step_400")
