"""A training's raw output becomes the lines a person reads, its metrics, and how far it is.

Reading is pure and forgets nothing: what cannot be judged yet is not consumed and is offered again. A reader remembers only which bar
is the training's, so one that is lost in a crash costs the step of one line, never a line.

Hugging Face prints its dicts without a step, between two drawings of the bar; the bar before may be older (tqdm draws ten times a second
at most), the one drawn right after is true. So such a line waits, unconsumed, for the bar that follows it at once.
"""

import re
from typing import Self

from msgspec import Struct
from msgspec.structs import replace

from domain.runs.measured import Measured, measured
from domain.runs.terminal import MAX_LINE_BYTES, Bar, Page, untangle

STARTED = 0.05
"""Progress of a run that has begun."""
NEARLY = 0.99
"""Progress of a run that has not ended well yet, however far its steps are."""

_WAIT_BYTES = 4096
"""So much may follow a dict before it is taken without its step; the bar is drawn within the first few hundred bytes."""


class Reading(Struct, frozen=True, kw_only=True):
    """What was read from some bytes."""

    consumed: int
    """How many bytes were used up. The next read begins there; at most `MAX_LINE_BYTES` and a few KiB are ever left."""
    lines: list[bytes]
    """What is shown, in order, without newlines; see `terminal` for what becomes a line."""
    metrics: list[Measured]
    progress: float | None
    """The newest fraction of the training that is known to be done, 0 to 1; None when these bytes do not say."""
    reader: "Reader"
    """Reads what follows, once these lines are safely stored."""


class Reader(Struct, frozen=True, kw_only=True):
    """Reads one run's output, piece by piece, from wherever the last reading ended."""

    epochs: float | None = None
    """`num_train_epochs` of the configuration: turns an epoch into progress."""
    max_steps: int | None = None
    """Total optimizer steps, where the configuration says so (zero and below: it does not)."""
    longest: int = MAX_LINE_BYTES
    total: int | None = None
    """Total of the training's bar, learned from the output."""
    settled: bool = False
    """A metric came with that bar, so bars of other totals (an evaluation, a data set) are not the training's."""

    def read(self, data: bytes, *, final: bool = False) -> Reading:
        """Read bytes that begin where the last reading ended; `final` says that nothing will ever follow them.

        Offer more than `longest` bytes where there are so many, else a long line cannot be cut.
        """
        page = untangle(data, final=final, limit=self.longest)
        course = _Course(self, page)
        for fact in _facts(page.lines):
            if not course.take(fact, may_wait=not final and len(data) - page.redrawn.get(fact.line or 0, 0) < _WAIT_BYTES):
                break
        return course.reading()

    @property
    def steps(self) -> int | None:
        """How many steps the training has, as far as known."""
        return self.max_steps if self.max_steps and self.max_steps > 0 else self.total

    def after(self, bar: Bar) -> Self:
        """Return the reader that has seen this bar."""
        if bar.other or not bar.ended or not bar.total or bar.total == self.total or self.settled:
            return self
        return replace(self, total=bar.total)


class _Course:
    """One pass over a page: bars and metrics in the order they were printed."""

    def __init__(self, reader: Reader, page: Page) -> None:
        self._reader = reader
        self._page = page
        self._next_bar = 0
        self._progress: float | None = None
        self._metrics: list[Measured] = []

    def take(self, fact: Measured, *, may_wait: bool) -> bool:
        """Take the next metric line; False when it must wait for its bar and ends this reading."""
        line = fact.line or 0
        self._pass_bars(line)
        if fact.step is None and line in self._page.redrawn and self._reader.steps:
            bar = self._bar_after(line)
            if bar is None and may_wait and not any(map(bytes.strip, self._page.lines[line + 1 :])):
                self._stop_before(line)
                return False
            if bar is not None:
                fact = replace(fact, step=bar.done)
                self._reader = replace(self._reader, settled=True)
        self._progress = _first(_fraction(fact, self._reader), self._progress)
        if fact.values:
            self._metrics.append(fact)
        return True

    def reading(self) -> Reading:
        """Return what the pass has found."""
        self._pass_bars(len(self._page.lines))
        page = self._page
        return Reading(consumed=page.consumed, lines=page.lines, metrics=self._metrics, progress=self._progress, reader=self._reader)

    def _pass_bars(self, line: int) -> None:
        """See the bars that were drawn before a line."""
        bars = self._page.bars
        while self._next_bar < len(bars) and bars[self._next_bar].at <= line:
            bar = bars[self._next_bar]
            self._reader = self._reader.after(bar)
            if self._is_training(bar):
                self._progress = min(1.0, bar.done / (bar.total or 1))
            self._next_bar += 1

    def _bar_after(self, line: int) -> Bar | None:
        """Return the training's bar if it was drawn between this line and the next that is not blank."""
        lines, bars = self._page.lines, self._page.bars
        for bar in map(bars.__getitem__, range(self._next_bar, len(bars))):
            if any(map(bytes.strip, lines[line + 1 : bar.at])):
                return None
            if self._is_training(bar):
                return bar
        return None

    def _is_training(self, bar: Bar) -> bool:
        return not bar.other and bool(bar.total) and bar.total == self._reader.steps

    def _stop_before(self, line: int) -> None:
        page = self._page
        page.consumed = page.redrawn[line]
        del page.lines[line:]
        del page.bars[self._next_bar :]


def progress(fraction: float) -> float:
    """Return the progress of a living run: never less than started, never quite done."""
    return max(STARTED, min(NEARLY, fraction))


def _facts(lines: list[bytes]) -> list[Measured]:
    # Most lines carry no fact: one comparison each.
    ends = [index for index, line in enumerate(lines) if line[-1:] == b"}"]
    facts = (measured(lines[index], index) for index in ends)
    return [fact for fact in facts if fact is not None]


def _fraction(fact: Measured, reader: Reader) -> float | None:
    """Return how far the training was at a metric line: by its steps, else by its epoch."""
    if fact.done is not None:
        return fact.done
    if fact.step is not None and reader.steps:
        return min(1.0, fact.step / reader.steps)
    if fact.epoch is not None and reader.epochs:
        return max(0.0, min(1.0, fact.epoch / reader.epochs))
    return None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


_LEVEL_REACH = 300
"""A level stands near the beginning of a line."""
_BEGINS = re.compile(
    rb"([DIWEF])\d{4} \d\d:\d\d"  # glog, absl: `I1120 21:31:51`
    rb"|Traceback \(most recent call last\)|Fatal Python error|Segmentation fault|[Ee]rror:"
    rb"|\s*[\w.]++(?:(?<=Error)|(?<=Exception)|(?<=Interrupt))(?::|\Z)"
)
_WORDS = ("DEBUG", "TRACE", "INFO", "NOTICE", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL")
_MARK = re.compile(
    # The boundary before each word is looked for last: a pattern that begins with letters is found four times as fast.
    "|".join(rf"{word}(?<!\w{word})\b" for word in _WORDS).encode()
    + rb"|Warning: |level[\"']?\s?[=:]\s?[\"']?(debug|info|warn(?:ing)?|error|critical|fatal)\b"
)
_LEVELS = {b"D": "DEBUG", b"T": "DEBUG", b"I": "INFO", b"N": "INFO", b"W": "WARNING", b"E": "ERROR", b"C": "ERROR", b"F": "ERROR"}


def level_of(line: bytes | str) -> str:
    """Return the level of a line by the first of the usual markers: `DEBUG`, `INFO`, `WARNING` or `ERROR`; without any, `INFO`."""
    start = line[:_LEVEL_REACH].encode(errors="replace") if isinstance(line, str) else line[:_LEVEL_REACH]
    if begins := _BEGINS.match(start):
        return _LEVELS[begins[1]] if begins[1] else "ERROR"
    mark = _MARK.search(start)
    return _LEVELS[(mark[1] or mark[0])[:1].upper()] if mark else "INFO"
