"""A page of a very long log, beside the first page of the same log."""

import asyncio
import http.client
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.parse import quote

from benchmarks import seed, talk
from benchmarks.databases import postgresql
from benchmarks.report import Figure, Section
from benchmarks.servers import serving
from domain.access.principal import Principal
from domain.processes.log import Written, append
from infra.db.database import open_database
from infra.db.transaction import Tx
from infra.db.url import read
from tests.house import PATIENCE

LINES, AT, PAGE_SIZE = 5_100_000, 5_000_000, 500
WRITTEN_AT_ONCE = 20_000
REQUESTS, WARM_UP = 200, 20
GOAL = 1.5


def section(folder: Path) -> Section:
    """Fill a log through the rules that fill every log, and read it over HTTP."""
    figures = []
    with postgresql(folder / "postgresql") as postgresql_url:
        for title, url in (("PostgreSQL", postgresql_url), ("SQLite", f"sqlite:///{folder}/training.db")):
            environment = {"TRAINING_DB_URL": url, "HOST_TRAINING_PATH": str(folder / "training"), "TUNEYARD_EXECUTOR": "local"}
            with serving("api.app:create_app", environment, folder) as server:
                seed.seed_over_http(server.port)
                asyncio.run(seed.add_finished_run(url))
                asyncio.run(_fill(url))
                figures.append(_figure(title, *_read_in_turns(server.port)))
    how = (
        f"a log of {LINES:,} lines; page {AT // PAGE_SIZE + 1:,} and page 1, {PAGE_SIZE} lines each, {REQUESTS} times in turns over one "
        "connection; medians."
    )
    return Section(title=f"A page of {PAGE_SIZE} at line {AT:,}, beside the first page", how=how, figures=figures)


async def _fill(url: str) -> None:
    database = await open_database(read(url), Principal(name="bench"), lambda _: None, patience=PATIENCE)
    try:
        for first in range(0, LINES, WRITTEN_AT_ONCE):
            await database.run(_write, [talk.line(number).encode() for number in range(first, first + WRITTEN_AT_ONCE)])
    finally:
        await database.close()


def _write(tx: Tx, lines: list[bytes]) -> None:
    run = tx.runs.find(seed.PROJECT, seed.RUN)
    assert run is not None
    tx.logs.put(append(tx.logs.last(run.id), run.id, 1, Written(lines=lines, at=datetime.now(UTC))))


def _read_in_turns(port: int) -> tuple[float, float]:
    """Seconds of the first page and of the deep one: medians."""
    connection = http.client.HTTPConnection("localhost", port, timeout=PATIENCE)
    seconds: dict[int, list[float]] = {0: [], AT: []}
    for turn in range(WARM_UP + REQUESTS):
        for line, taken in seconds.items():
            took = _read(connection, line)
            if turn >= WARM_UP:
                taken.append(took)
    connection.close()
    return median(seconds[0]), median(seconds[AT])


def _read(connection: http.client.HTTPConnection, line: int) -> float:
    path = f"/projects/{quote(seed.PROJECT)}/runs/{seed.RUN}/logs?page={line // PAGE_SIZE + 1}&page_size={PAGE_SIZE}"
    begin = time.perf_counter()
    connection.request("GET", path)
    content = connection.getresponse().read()
    took = time.perf_counter() - begin
    items = json.loads(content)["items"]
    assert (items[0]["message"], len(items)) == (talk.line(line), PAGE_SIZE)
    return took


def _figure(title: str, first: float, deep: float) -> Figure:
    value = f"{deep / first:.2f} ({deep * 1000:.1f} ms and {first * 1000:.1f} ms)"
    return Figure(what=f"{title}: times the first page", value=value, goal=f"≤ {GOAL:g}", met=deep <= GOAL * first)
