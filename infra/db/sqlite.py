"""SQLite, done safely: WAL, one writer at a time by `BEGIN IMMEDIATE`, readers on connections of their own, synced to disk."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import QueuePool

from domain.errors import Unavailable
from infra.db.migrate import upgrade
from infra.db.structs import encode_json
from infra.db.url import DatabaseUrl
from infra.settings import SettingsError

R = TypeVar("R")

PATIENCE_MS = 10_000
"""How long a writer waits for the one before it (another process of ours)."""
READERS = 2


class SqliteBackend:
    """One file, one machine."""

    def __init__(self, url: DatabaseUrl) -> None:
        self._engines = {"IMMEDIATE": _engine(url, "IMMEDIATE", 1), "DEFERRED": _engine(url, "DEFERRED", READERS)}
        self._writer = ThreadPoolExecutor(1, "sqlite-writer")
        self._readers = ThreadPoolExecutor(READERS, "sqlite-reader")

    @classmethod
    async def open(cls, url: DatabaseUrl) -> "SqliteBackend":
        """Open or create the file, and migrate it."""
        _check_folder(url)
        backend = cls(url)
        try:
            await backend.write(upgrade)
        except (Unavailable, DatabaseError) as problem:
            await backend.close()
            reason = problem.detail if isinstance(problem, Unavailable) else problem.orig
            message = f"the database {url.shown} cannot be opened: {reason}"
            raise SettingsError(message) from problem
        return backend

    async def write(self, work: Callable[[Connection], R]) -> R:
        """In the one writer thread."""
        return await self._do(self._writer, "IMMEDIATE", work)

    async def read(self, work: Callable[[Connection], R]) -> R:
        """In a reader thread, of one snapshot."""
        return await self._do(self._readers, "DEFERRED", work)

    async def close(self) -> None:
        """Let the threads finish, then the connections go."""
        for pool in (self._writer, self._readers):
            pool.shutdown(wait=True)
        for engine in self._engines.values():
            engine.dispose()

    async def _do(self, pool: ThreadPoolExecutor, mode: str, work: Callable[[Connection], R]) -> R:
        def in_transaction() -> R:
            with self._engines[mode].begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(pool, in_transaction)
        except OperationalError as problem:
            message = f"the database cannot take this now: {problem.orig}"
            raise Unavailable(message) from problem


def _check_folder(url: DatabaseUrl) -> None:
    folder = Path(url.url.database or ".").absolute().parent
    if not folder.is_dir():
        message = f"the database cannot be created: there is no folder {folder}"
        raise SettingsError(message)


def _engine(url: DatabaseUrl, mode: str, connections: int) -> Engine:
    engine = create_engine(
        url.url,
        poolclass=QueuePool,
        pool_size=connections,
        max_overflow=0,
        json_serializer=encode_json,
        json_deserializer=_as_is,
        connect_args={"check_same_thread": False, "timeout": PATIENCE_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={PATIENCE_MS}", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _as_is(text: Any) -> Any:  # noqa: ANN401 - the column's own type reads the JSON
    return text
