"""ROUGE-L: how much of a reference stands in an answer in the same order, as an F1 from 0 to 1."""

from __future__ import annotations

import re

_ALONE = "぀-ヿ㐀-䶿一-鿿豈-﫿가-힣"
_PARTS = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
"""A Chinese character, a kana, a Hangul syllable counts by itself; what has spaces between its words counts by words."""


def rouge_l(answer: str, reference: str) -> float:
    """Return the F1 of the longest common subsequence; 0 when either holds no word."""
    said, wanted = _parts(answer), _parts(reference)
    common = _longest_common(said, wanted)
    return 2 * common / (len(said) + len(wanted)) if common else 0.0


def _parts(text: str) -> list[str]:
    return _PARTS.findall(text.lower())


def _longest_common(some: list[str], others: list[str]) -> int:
    row = [0] * (len(others) + 1)
    for one in some:
        above = 0  # of the row before, one place to the left
        for place, other in enumerate(others, start=1):
            above, row[place] = row[place], above + 1 if one == other else max(row[place], row[place - 1])
    return row[-1]
