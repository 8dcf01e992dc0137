"""What the contract tests of the databases share: opening one more, losing connections, waiting for what a record will show."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
from msgspec import Struct
from sqlalchemy import text

from domain.access.principal import Principal
from domain.datasets.dataset import Dataset, Upload
from domain.events.actions import events_after, record
from domain.events.event import Event, Place
from domain.processes.process import Process
from domain.projects.project import Project
from domain.runs.artifact import Artifact
from domain.runs.run import Run
from infra.db.database import Database, open_database
from infra.db.transaction import Aftermath, Tx
from infra.db.url import read
from tests.house import PATIENCE


def forget(_: Aftermath) -> None:
    """Let an aftermath be."""


@asynccontextmanager
async def opened(url: str, after_commit: Callable[[Aftermath], None] = forget, *, patience: float = 10) -> AsyncIterator[Database]:
    """Open a database as one more server would."""
    database = await open_database(read(url), Principal(name="tester"), after_commit, patience=patience)
    try:
        yield database
    finally:
        await database.close()


async def told(url: str, statement: str) -> None:
    """Tell a PostgreSQL something, past all code of ours."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def drop_connections(url: str) -> None:
    """End every connection of this database, as an operator or a failover would."""
    await told(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


async def events(db: Database, count: int, place: Place = Place()) -> list[Event]:  # noqa: B008 - frozen
    """Return the first events behind a place, once so many are settled: PostgreSQL's own housekeeping may hold them back a moment."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = await db.read(events_after, place, limit=count)
        if len(found) == count or asyncio.get_running_loop().time() > end:
            return found
        await asyncio.sleep(0.01)


async def blocked(db: Database) -> None:
    """Return once some transaction waits for a lock (PostgreSQL)."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while True:
        if await db.read(lambda tx: tx.connection.scalar(waiting)):
            return
        await asyncio.sleep(0.005)


def keep(tx: Tx, *things: Struct) -> None:
    """Keep each of these things in its table."""
    for thing in things:
        match thing:
            case Project():
                tx.projects.add(thing)
            case Dataset():
                tx.datasets.add(thing)
            case Upload():
                tx.datasets.add_upload(thing)
            case Process():
                tx.processes.add(thing)
            case Run():
                tx.runs.add(thing)
            case Artifact():
                tx.artifacts.put(thing)
            case _:
                raise TypeError(thing)


def happen(tx: Tx, /, subject: str, project: str | None = None, **data: object) -> None:
    """Record that something happened."""
    record(tx, "thing.changed", subject, project=project, **data)
