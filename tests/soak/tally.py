"""Counting what was looked at, keeping what was wrong, and the two ways of looking at a ledger that several promises share."""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tests.soak.evidence import Beat


class Tally:
    """What one promise has come to."""

    def __init__(self) -> None:
        self.checked = 0
        self.breaks: list[str] = []

    def check(self, holds: bool, told: str) -> None:  # noqa: FBT001 - as of assert
        """Look at one thing."""
        self.checked += 1
        if not holds:
            self.breaks.append(told)

    def fail(self, told: str) -> None:
        """Note what must never happen, and did."""
        self.check(holds=False, told=told)


def by_attempt(beats: Iterable[Beat]) -> dict[tuple[str, int], list[Beat]]:
    """Return the beats of each attempt, in the order of time."""
    found: dict[tuple[str, int], list[Beat]] = defaultdict(list)
    for beat in beats:
        found[beat.run, beat.attempt].append(beat)
    return found


def overlaps(spans: list[tuple[float, float, int]] | list[tuple[float, float, str]]) -> Iterator[tuple[object, object]]:
    """Give every two neighbours that overlap, of spans sorted by their beginning."""
    latest: tuple[float, float, object] | None = None
    for span in spans:
        if latest is not None and span[0] < latest[1]:
            yield latest[2], span[2]
        if latest is None or span[1] > latest[1]:
            latest = span
