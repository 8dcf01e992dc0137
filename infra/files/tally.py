"""What an inspection has counted so far, in memory that does not grow with the file."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import nlargest
from typing import Any

from msgspec.structs import replace

from domain.training.lora import disagreement
from domain.training.problem import Problem
from domain.training.report import MOST_KEPT, Duplicates, Finding, Longest, Report, Spread, Statistics
from domain.training.rule import Rule, Severity
from domain.training.sample import Facts
from domain.training.task_type import TaskType

THOROUGH = 20_000
"""Samples of which everything is measured and each is compared with all before it; of the rest, one in `SPARSE` is."""
SPARSE = 8
MOST_SEEN = 300_000
"""Samples that later ones are compared with: about 40 MB."""
MOST_SIZES = 20_000
"""Different lengths that are told apart; beyond, they are rounded down by 1.6 % at most."""
MOST_LONGEST = 5
STRIDE = 16
"""Of a long text, every so many-th character says how much of it is ASCII."""
WIDE_TOKENS = 0.75
ASCII_PER_TOKEN = 4
HEAD = 40
"""Characters from the middle of a text that tell its script."""

_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")),
    ("en", re.compile("[A-Za-z\u00c0-\u024f]")),
)
"""Kana before Han, since Japanese has both."""


class Tally:
    """Problems by rule, and what the sound samples are like."""

    def __init__(self) -> None:
        self._counts = Counter[Rule]()
        self._kept: dict[Rule, list[Problem]] = {}
        self._turns, self._characters, self._tokens = Counter[int](), Counter[int](), Counter[int]()
        self._languages = Counter[str]()
        self._seen: dict[int, int] = {}
        self._copies = [0, 0]
        """Copies found while every sample is compared, and while one in `SPARSE` is."""
        self._longest: list[tuple[int, int]] = []
        self._marks: dict[str, tuple[int, Any]] = {}
        self._taken = 0
        self.samples = 0
        self.broken = 0
        """Samples with an error."""

    def note(self, line: int | None, problems: Iterable[Problem]) -> None:
        """Count what is wrong with a line."""
        for problem in problems:
            self._counts[problem.rule] += 1
            kept = self._kept.setdefault(problem.rule, [])
            if len(kept) < MOST_KEPT:
                kept.append(replace(problem, line=line))

    def broke(self, line: int, problems: Iterable[Problem]) -> None:
        """Count a sample that cannot be used."""
        self.samples += 1
        self.broken += 1
        self.note(line, problems)

    def take(self, lines: Sequence[int], texts: Sequence[str], turns: Sequence[int]) -> None:
        """Measure sound samples."""
        if not texts:
            return
        self.samples += len(texts)
        sizes = list(map(len, texts))
        self._turns.update(turns)
        self._characters.update(sizes)
        if len(self._characters) > MOST_SIZES:
            self._characters = _rounded(self._characters)
        if len(self._longest) < MOST_LONGEST or max(sizes) > self._longest[-1][0]:
            self._longest = nlargest(MOST_LONGEST, [*self._longest, *((size, -line) for size, line in zip(sizes, lines, strict=True))])
        if self._taken < THOROUGH:
            self._measure(lines, texts, sizes, sparse=False)
        else:
            chosen = [index for index, size in enumerate(sizes) if not size % SPARSE]
            self._measure([lines[i] for i in chosen], [texts[i] for i in chosen], [sizes[i] for i in chosen], sparse=True)
        self._taken += len(texts)

    def take_one(self, line: int, facts: Facts) -> None:
        """Measure one sound sample."""
        self.take([line], [facts.text], [facts.turns])
        self.agree(line, facts.marks)

    def agree(self, line: int, marks: dict[str, Any]) -> None:
        """Hold what a sample says of its adapter against what the first one said."""
        for field, value in marks.items():
            first, before = self._marks.setdefault(field, (line, value))
            if value != before:
                self.broken += 1
                self.note(line, [disagreement(field, first, before, value)])

    def report(self, task: TaskType, *, read: int, lines: int, complete: bool, seconds: float) -> Report:
        """Say what was found."""
        findings = [
            Finding(rule=rule, count=count, problems=sorted(self._kept[rule], key=lambda each: each.line or 0))
            for rule, count in self._counts.items()
        ]
        findings.sort(key=lambda each: (each.rule.severity, each.problems[0].line or 0))
        return Report(
            task_type=task,
            bytes=read,
            complete=complete,
            lines=lines,
            samples=self.samples,
            sound=self.samples - self.broken,
            errors=sum(each.count for each in findings if each.rule.severity is Severity.error),
            warnings=sum(each.count for each in findings if each.rule.severity is Severity.warning),
            findings=findings,
            statistics=self._statistics(),
            marks={field: value for field, (_, value) in self._marks.items()},
            seconds=round(seconds, 3),
        )

    def _measure(self, lines: Sequence[int], texts: Sequence[str], sizes: Sequence[int], *, sparse: bool) -> None:
        self._tokens.update([_tokens(text, size) for text, size in zip(texts, sizes, strict=True)])
        self._languages.update(map(_script, texts))
        seen = self._seen
        for line, mark in zip(lines, map(hash, texts), strict=True):
            first = seen.setdefault(mark, line)
            if first != line:
                self._copies[sparse] += 1
                self.note(line, [Problem(rule=Rule.repeated, facts={"first": f"{first:,}"})])
            elif len(seen) > MOST_SEEN:
                del seen[mark]

    def _statistics(self) -> Statistics:
        tokens = _rounded(self._tokens)
        measured = sum(tokens.values())
        return Statistics(
            turns=_spread(self._turns),
            characters=_spread(self._characters),
            tokens=_spread(tokens),
            token_counts=sorted(tokens.items()),
            measured=measured,
            longest=[Longest(line=-line, characters=size) for size, line in self._longest],
            duplicates=Duplicates(count=self._copies[0] + SPARSE * self._copies[1], estimated=self._taken > THOROUGH),
            languages={name: round(count / measured, 4) for name, count in self._languages.most_common()},
        )


def _tokens(text: str, size: int) -> int:
    if text.isascii():
        return size // ASCII_PER_TOKEN + 1
    part = text[::STRIDE] if size > STRIDE * STRIDE else text
    share = len(part.encode("ascii", "ignore")) / len(part)
    return int(size * (share / ASCII_PER_TOKEN + (1 - share) * WIDE_TOKENS)) + 1


def _script(text: str) -> str:
    middle = len(text) // 2
    part = text[middle : middle + HEAD]
    if part.isascii():
        return "en" if any(map(str.isalpha, part)) else "other"
    return next((name for name, letters in _SCRIPTS if letters.search(part)), "other")


def _rounded(sizes: Counter[int]) -> Counter[int]:
    rounded = Counter[int]()
    for size, count in sizes.items():
        bits = max(size.bit_length() - 7, 0)
        rounded[size >> bits << bits] += count
    return rounded


def _spread(counts: Counter[int]) -> Spread | None:
    if not counts:
        return None
    sizes, number = sorted(counts), sum(counts.values())
    total = sum(size * count for size, count in counts.items())

    def percentile(share: float) -> int:
        passed = 0
        for size in sizes:
            passed += counts[size]
            if passed >= share * number:
                return size
        return sizes[-1]

    return Spread(
        min=sizes[0],
        mean=round(total / number, 2),
        p50=percentile(0.5),
        p90=percentile(0.9),
        p99=percentile(0.99),
        max=sizes[-1],
        total=total,
    )
