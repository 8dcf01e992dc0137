"""A rule: the exact shape of one type, what else must hold, and the byte patterns by which a fast scanner finds where to look."""

import re
from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from domain.deid.text import ZERO_WIDTH

CHECKED, SPOKEN, SHAPED = 3, 2, 1
"""Ranks: a checksum or an unmistakable prefix; a word beside it; the shape alone. Where two spans overlap the higher one names them."""

START = r"(?<![0-9A-Za-z])"
END = r"(?![0-9A-Za-z])"
GAP = rf"[-. {ZERO_WIDTH}]"
"""What people put between the groups of a number, folded."""


class Found(Struct, frozen=True):
    """What a rule makes of a match: where the value lies in the text matched against, and how sure it is."""

    start: int
    end: int
    rank: int
    score: float


class Around(Protocol):
    """The surroundings of a match, within its own text."""

    def before(self, position: int) -> str:
        """Give the characters before a position, the name of the text's JSON field included; at most `words.WINDOW` and that name."""
        ...

    def after(self, position: int) -> str:
        """Give the few characters behind a position."""
        ...


Judge = Callable[[re.Match[str], Around], Found | None]


class Anchor(Struct, frozen=True):
    """A byte pattern of UTF-8 text, not folded, without look-arounds, that every match of its rule contains or overlaps.

    Wherever one ends, the rule is tried at every place from `back` characters before.
    """

    pattern: bytes
    back: int
    caseless: bool = False


class Rule(Struct, frozen=True, kw_only=True):
    """One way to find one type."""

    id: str
    type: str
    pattern: re.Pattern[str]
    """Over folded text. Its matches begin where they would wherever the search began: a boundary stands before them."""
    judge: Judge
    anchors: tuple[Anchor, ...]
    reach: int = 64
    """Characters behind an anchor's end that a match, and what is read behind it, may extend over."""
    spoken: bool = False
    """The value needs a word before it; a JSON field's name may be that word."""


def value_of(match: re.Match[str]) -> tuple[int, int]:
    """Return where the value of a match lies: its group `v`, else all of it."""
    return match.span("v" if "v" in match.re.groupindex else 0)


def shaped(score: float, rank: int = SHAPED) -> Judge:
    """Return a judge that takes every match for what it looks like."""

    def judge(match: re.Match[str], _: Around) -> Found:
        return Found(*value_of(match), rank, score)

    return judge
