"""A report says of one data file what is wrong with it, and what it is like: how long, how deep, how repetitive, in which languages."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.training.problem import Problem
from domain.training.rule import Rule
from domain.training.task_type import TaskType

MOST_KEPT = 20
"""Problems of one rule that are kept with their lines; the others are counted."""


class Finding(Struct, frozen=True, kw_only=True):
    """All that broke one rule."""

    rule: Rule
    count: int
    problems: list[Problem]
    """The first of them."""


class Spread(Struct, frozen=True, kw_only=True):
    """How a number is spread over the samples."""

    min: int
    mean: float
    p50: int
    p90: int
    p99: int
    max: int
    total: int


class Longest(Struct, frozen=True, kw_only=True):
    """One of the longest samples."""

    line: int
    characters: int


class Duplicates(Struct, frozen=True, kw_only=True):
    """Samples whose text is that of an earlier one."""

    count: int
    estimated: bool
    """True where the file is so long that only a part of it was compared, and the count is reckoned from that."""


class Statistics(Struct, frozen=True, kw_only=True):
    """What the sound samples are like."""

    turns: Spread | None
    characters: Spread | None
    tokens: Spread | None
    """An estimate without a tokenizer: four ASCII characters, or one and a third others, make a token."""
    token_counts: list[tuple[int, int]]
    """Samples by token count, the counts rounded down by 1.6 % at most: so any `max_seq_length` can be held against them."""
    measured: int
    """Samples that tokens and languages were reckoned from: all of a short file, one in so many of a long one."""
    longest: list[Longest]
    duplicates: Duplicates
    languages: dict[str, float]
    """Share of the samples by script: zh, ja, ko, en (Latin), other."""


class Report(Struct, frozen=True, kw_only=True):
    """What an inspection found."""

    task_type: TaskType
    bytes: int
    """Read, after unpacking."""
    complete: bool
    """False where only the beginning of a very long file was judged."""
    lines: int
    samples: int
    """Lines that are no blank ones."""
    sound: int
    """Samples without an error."""
    errors: int
    warnings: int
    findings: list[Finding]
    """Errors first."""
    statistics: Statistics
    marks: dict[str, Any] = {}
    """What all samples agree on of the adapter: rank, target_modules."""
    seconds: float

    @property
    def usable(self) -> bool:
        """Whether nothing in it keeps a launch back."""
        return not self.errors

    def over(self, tokens: int) -> float:
        """Return the share of samples longer than that many tokens, 0 to 1."""
        counts = self.statistics.token_counts
        total = sum(count for _, count in counts)
        return sum(count for size, count in counts if size > tokens) / total if total else 0.0


class Inspected(Struct, frozen=True, kw_only=True):
    """A report that is kept: the same bytes are not inspected twice for the same task by the same rules."""

    content: str
    """`sha256:…` of uploaded bytes; of a file laid there by hand `file:…`, with its path, size and time."""
    task_type: TaskType
    rules: int
    """Version of the rules."""
    report: Report
    made_at: datetime
