"""A worker dies under fifty living runs, and another comes: how long until it has stored what each of them said meanwhile."""

import asyncio
import statistics
import time
from pathlib import Path

from benchmarks.databases import postgresql
from benchmarks.report import Figure, Section
from domain.access.principal import Principal
from domain.ids import HostName
from infra.db.database import Database, open_database
from infra.db.transaction import Aftermath, Tx
from infra.db.url import read
from tests.house import House, eventually

RUNS = 50
TIMES = 5
GOAL = 2.0
"""Seconds."""
HOST = HostName("testhost")
WORD = b"here\n"
PATIENCE = 60.0


def section(folder: Path) -> Section:
    """Kill and start a worker several times, on both databases."""
    figures = []
    with postgresql(folder / "postgresql") as postgresql_url:
        for title, url in (("SQLite", f"sqlite:///{folder}/training.db"), ("PostgreSQL", postgresql_url)):
            house = House(folder / title, url, TUNEYARD_SLOTS=str(RUNS)).start()
            try:
                figures += _figures(title, asyncio.run(_adoptions(house, url)))
            finally:
                house.close()
    how = (
        f"{RUNS} runs live; {TIMES} times the worker is killed, each run says one line more, a worker is started; until every one of these "
        "lines is stored, from the start of the worker's process and from its registration: the difference is Python's own start."
    )
    return Section(title=f"Adoption of {RUNS} living runs", how=how, figures=figures)


def _figures(title: str, took: list[tuple[float, float]]) -> list[Figure]:
    figures = []
    for what, seconds in zip(("from the process's start", "from its registration"), zip(*took, strict=True), strict=True):
        middle, slowest = statistics.median(seconds), max(seconds)
        value = f"{middle:.2f} s, slowest {slowest:.2f} s ({middle / RUNS * 1000:.0f} ms a run)"
        figures.append(Figure(what=f"{title}, {what}, median", value=value, goal=f"< {GOAL:g} s", met=middle < GOAL))
    return figures


async def _adoptions(house: House, url: str) -> list[tuple[float, float]]:
    """Seconds from the start of a worker and from its registration, each time."""
    project = house.project(script=f"echo -n '{WORD.decode()}'; exec sleep 100000\n")
    for _ in range(RUNS):
        house.launch(project)
    database = await open_database(read(url), Principal(name="bench"), _let_be, patience=PATIENCE)
    try:
        await _until_stored(database, len(WORD))
        return [await _adoption(house, database, number) for number in range(1, TIMES + 1)]
    finally:
        await database.close()


async def _adoption(house: House, database: Database, number: int) -> tuple[float, float]:
    house.worker.kill()
    for log in house.training.glob("runs/*/attempt-1/out.log"):
        with log.open("ab") as output:
            output.write(WORD)
    begin = time.monotonic()
    house.worker.start()
    eventually(lambda: house.worker.log.read_text().count("is at work") == number + 1)
    registered = time.monotonic()
    await _until_stored(database, (number + 1) * len(WORD))
    end = time.monotonic()
    return end - begin, end - registered


async def _until_stored(database: Database, size: int) -> None:
    """Wait until so many bytes of each run's output are stored."""
    give_up = time.monotonic() + PATIENCE
    while await database.read(_stored, size) < RUNS:
        assert time.monotonic() < give_up, "not all lines were stored"
        await asyncio.sleep(0.01)


def _stored(tx: Tx, size: int) -> int:
    return sum(process.log_offset == size for process in tx.processes.on(HOST))


def _let_be(_: Aftermath) -> None:
    """Nobody waits for what this program does to the rows: it only reads."""
