"""A trainer that talks very fast: whether all of it is stored, how far storing lags behind, and what the API's callers notice."""

import random
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from benchmarks import talk
from benchmarks.databases import postgresql
from benchmarks.load import Load, measure
from benchmarks.report import Figure, Section
from infra import embedded
from tests.house import House, eventually

LINES_PER_SECOND, SECONDS = 100_000, 20
LINES = LINES_PER_SECOND * SECONDS
P99_GOAL = 0.200
"""Seconds."""
PAGES_READ, PAGE_SIZE = 60, 500
PATIENCE = 60.0
"""Seconds until everything is stored, however far behind."""
PROJECT = "talking"
SPOKEN = "spoken"


class Heard(Struct, frozen=True, kw_only=True):
    """What came of one talking trainer."""

    spoke_for: float
    """Seconds the trainer took."""
    lag: float
    """Seconds from its last line until that was stored."""
    stored: int
    """Lines, those of our own not counted."""
    checked: int
    """Lines read back and found as they were printed."""
    answers: int
    p99: float
    """Seconds."""


def section(folder: Path) -> Section:
    """Listen on PostgreSQL, then on SQLite."""
    figures = []
    with embedded.redis(folder / "redis") as redis, postgresql(folder / "postgresql") as url:
        for title, database_url in (("PostgreSQL", url), ("SQLite", f"sqlite:///{folder}/training.db")):
            house = House(folder / title, database_url, redis.url).start()
            try:
                figures += _figures(title, _listen(house))
            finally:
                house.close()
    how = (
        f"a trainer prints {LINES_PER_SECOND:,} numbered lines a second for {SECONDS} s; another process meanwhile asks for the run, one "
        f"request after another; afterwards {PAGES_READ} random pages of {PAGE_SIZE} are read back and every line on them is checked."
    )
    return Section(title=f"Logs: {LINES:,} lines at {LINES_PER_SECOND:,}/s", how=how, figures=figures)


def _listen(house: House) -> Heard:
    report = house.folder / SPOKEN
    house.project(PROJECT, script=f'exec "$PYTHON" -S "{talk.__file__}" {LINES_PER_SECOND} {SECONDS} "{report}"\n')
    run = house.launch(PROJECT)
    eventually(lambda: house.run(PROJECT, run)["status"] == "running")
    path = f"/projects/{PROJECT}/runs/{quote(run)}"
    tally = measure(Load(port=house.port, method="GET", path=path, seconds=SECONDS - 1, connections=1))
    began, ended = map(float, (eventually(lambda: report.exists() and report.read_text(), within=PATIENCE) or "").split())
    eventually(lambda: _logs(house, run, 1, 1)["total"] > LINES, within=PATIENCE)
    stored_at = time.time()
    assert house.ended(PROJECT, run, within=PATIENCE)["status"] == "succeeded"
    stored, checked = _check(house, run)
    p99 = tally.latencies[int(len(tally.latencies) * 0.99)]
    return Heard(spoke_for=ended - began, lag=stored_at - ended, stored=stored, checked=checked, answers=tally.answers, p99=p99)


def _check(house: House, run: str) -> tuple[int, int]:
    """Count the lines, and compare some pages with what was printed: our own lines stand before the first and behind the last."""
    total = _logs(house, run, 1, 1)["total"]
    first = _messages(house, run, 1)
    before = next(index for index, message in enumerate(first) if message == talk.line(0))
    last = _messages(house, run, -(-total // PAGE_SIZE))
    after = next(index for index, message in enumerate(reversed(last)) if message == talk.line(LINES - 1))
    stored = total - before - after
    pages = random.sample(range(2, LINES // PAGE_SIZE), PAGES_READ)
    for page in pages:
        begin = (page - 1) * PAGE_SIZE - before
        assert _messages(house, run, page) == [talk.line(begin + index) for index in range(PAGE_SIZE)], f"page {page} is not as printed"
    return stored, len(pages) * PAGE_SIZE


def _messages(house: House, run: str, page: int) -> list[str]:
    return [item["message"] for item in _logs(house, run, page, PAGE_SIZE)["items"]]


def _logs(house: House, run: str, page: int, size: int) -> dict[str, Any]:
    found: dict[str, Any] = house.ok("GET", f"/projects/{PROJECT}/runs/{run}/logs?page={page}&page_size={size}")
    return found


def _figures(title: str, heard: Heard) -> list[Figure]:
    stored = f"{heard.stored:,}, {heard.checked:,} checked; printed in {heard.spoke_for:.1f} s"
    return [
        Figure(what=f"{title}: lines stored", value=stored, goal=f"{LINES:,}", met=heard.stored == LINES),
        Figure(what=f"{title}: the last line stored after", value=f"{heard.lag:.2f} s"),
        Figure(
            what=f"{title}: GET run meanwhile, p99",
            value=f"{heard.p99 * 1000:.0f} ms of {heard.answers:,} answers",
            goal=f"< {P99_GOAL * 1000:.0f} ms",
            met=heard.p99 < P99_GOAL,
        ),
    ]
