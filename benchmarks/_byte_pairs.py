"""Tokens of the Python standard library's own sources, by byte-pair encoding: text that every machine has."""

from __future__ import annotations

import hashlib
import re
import sysconfig
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "encodings", "pydoc_data", "__pycache__"}
WORD = re.compile(r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s+")


def library_text(length: int) -> str:
    """The beginning of the sources of the Python that runs, files in an order that looks random.

    Args:
        length: Characters.

    Returns:
        ASCII text; it depends on the version of Python and on nothing else that is usual.
    """
    root = Path(sysconfig.get_path("stdlib"))
    files = [path.relative_to(root) for path in root.rglob("*.py")]
    files = [path for path in files if LEFT_OUT.isdisjoint(path.parts) and not path.name.startswith("_sysconfigdata")]
    files.sort(key=lambda path: hashlib.sha256(path.as_posix().encode()).digest())
    parts, so_far = [], 0
    for path in files:
        parts.append((root / path).read_text(encoding="utf-8", errors="ignore").encode("ascii", "ignore").decode())
        so_far += len(parts[-1])
        if so_far >= length:
            break
    return "".join(parts)[:length]


def byte_pairs(text: str, vocabulary: int) -> list[int]:
    """Learn a byte-pair encoding from a text, and encode it (Sennrich et al. 2016, arXiv 1508.07909).

    The most frequent pair of neighbours within a word becomes a token, again and again.

    Args:
        text: What to encode.
        vocabulary: Number of tokens, more than the text has different characters.

    Returns:
        The tokens of the text, integers below `vocabulary`.
    """
    counts = Counter(WORD.findall(text))
    number = {character: token for token, character in enumerate(sorted(set(text)))}
    words = [[number[character] for character in word] for word in counts]
    frequency = [*counts.values()]
    pairs: Counter[tuple[int, int]] = Counter()
    where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for index, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += frequency[index]
            where[pair].add(index)
    for token in range(len(number), vocabulary):
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        for index in where.pop(best):
            before, word = words[index], _merged(words[index], best, token)
            words[index] = word
            for pair in pairwise(before):
                pairs[pair] -= frequency[index]
            for pair in pairwise(word):
                pairs[pair] += frequency[index]
                where[pair].add(index)
        del pairs[best]
    encoded = dict(zip(counts, words, strict=True))
    return [token for word in WORD.findall(text) for token in encoded[word]]


def _merged(word: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """A word with a token in place of a pair."""
    merged, place = [], 0
    while place < len(word):
        if tuple(word[place : place + 2]) == pair:
            merged.append(token)
            place += 2
        else:
            merged.append(word[place])
            place += 1
    return merged
