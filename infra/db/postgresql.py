"""PostgreSQL: READ COMMITTED transactions by asyncpg, replayed after a deadlock, given up after a limit of patience."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from asyncpg import InternalClientError
from sqlalchemy import Connection, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.util import await_only, greenlet_spawn

from domain.errors import Unavailable
from infra.db.driver import DriverConnection
from infra.db.migrate import upgrade
from infra.db.structs import encode_json
from infra.db.url import DatabaseUrl
from infra.settings import SettingsError

R = TypeVar("R")

TRIES = 5
"""How often a transaction is replayed that lost a deadlock or a serialization conflict."""
CONNECTIONS = 10
"""Kept open for ever. No overflow: a connection made for one request and closed again costs more than waiting for another."""
_REPLAY = frozenset({"40001", "40P01"})
_UNAVAILABLE = ("08", "53", "57")
"""SQLSTATE classes: connection lost, out of resources (disk full among them), shutting down."""


class PostgresqlBackend:
    """A PostgreSQL server."""

    def __init__(self, engine: AsyncEngine, patience: float) -> None:
        self._engine = engine.sync_engine
        self._autocommitting = engine.sync_engine.execution_options(isolation_level="AUTOCOMMIT")
        self._closing = engine
        self._patience = patience

    @classmethod
    async def open(cls, url: DatabaseUrl, patience: float) -> "PostgresqlBackend":
        """Connect, migrate, and say in one line why not when that fails."""
        engine = create_async_engine(
            url.url,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=patience,
            pool_use_lifo=True,
            pool_reset_on_return=None,  # every transaction is ended by whoever began it, or its connection is thrown away
            json_serializer=encode_json,
            json_deserializer=_as_is,
            connect_args=url.connect_args | {"command_timeout": 60},
        )
        event.listen(engine.sync_engine, "connect", _read_json_as_text)
        backend = cls(engine, patience=60)
        try:
            await backend.migrate()
        except Unavailable as problem:
            await engine.dispose()
            message = f"the database {url.shown} cannot be reached: {problem.detail}"
            raise SettingsError(message) from problem
        return cls(engine, patience)

    async def write(self, work: Callable[[Connection], R]) -> R:
        """In one transaction; replayed when it lost a deadlock."""

        def in_transaction(connection: DriverConnection) -> R:
            connection.command("BEGIN")
            try:
                result = work(cast("Connection", connection))
            except Exception:
                if not connection.dead:
                    connection.command("ROLLBACK")
                raise
            connection.command("COMMIT")
            return result

        for _ in range(TRIES - 1):
            try:
                return await self._patiently(partial(self._over_a_connection, in_transaction))
            except DBAPIError as problem:
                if _state(problem) not in _REPLAY:
                    raise
        return await self._patiently(partial(self._over_a_connection, in_transaction))

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Each statement by itself: no BEGIN, no COMMIT; once more when the connection had died in the pool."""
        reading = partial(self._over_a_connection, cast("Callable[[DriverConnection], R]", work))

        def once_more_if_it_was_dead() -> R:
            try:
                return reading()
            except DBAPIError as problem:
                if not problem.connection_invalidated:
                    raise
                return reading()

        return await self._patiently(once_more_if_it_was_dead)

    async def migrate(self) -> None:
        """Bring the tables up to date, in one transaction."""

        def in_transaction() -> None:
            with self._engine.begin() as connection:
                upgrade(connection)

        await self._patiently(in_transaction)

    async def close(self) -> None:
        """Let every connection go."""
        await self._closing.dispose()

    def _over_a_connection(self, work: Callable[[DriverConnection], R]) -> R:
        pooled = self._connection()
        connection = DriverConnection(self._autocommitting, pooled)
        try:
            return work(connection)
        except asyncio.CancelledError:
            _hang_up(pooled)  # its answer may still be on the way
            raise
        except DBAPIError as problem:
            if problem.connection_invalidated:
                self._engine.pool._invalidate(pooled, problem)  # noqa: SLF001 - as SQLAlchemy does: the older ones are dead as well
            raise
        finally:
            pooled.close()

    def _connection(self) -> PoolProxiedConnection:
        try:
            return self._engine.raw_connection()
        except self._engine.dialect.loaded_dbapi.Error as problem:  # bare: what keeps the pool from connecting, SQLAlchemy does not wrap
            raise Unavailable(_in_one_line(problem)) from problem

    async def _patiently(self, work: Callable[[], R]) -> R:
        try:
            async with asyncio.timeout(self._patience):
                return await greenlet_spawn(work)
        except (TimeoutError, PoolTimeout) as problem:
            message = f"it did not answer within {self._patience:g} s"
            raise Unavailable(message) from problem
        except (OSError, InternalClientError) as problem:  # the latter: the connection was lost between two words
            raise Unavailable(_in_one_line(problem)) from problem
        except DBAPIError as problem:
            if problem.connection_invalidated or _state(problem).startswith(_UNAVAILABLE) or _state(problem) in _REFUSED:
                raise Unavailable(_in_one_line(problem.orig)) from problem
            raise


_REFUSED = frozenset({"28P01", "28000", "3D000"})
"""Wrong password, role not allowed, no such database: said at start in the server's own words."""


def _hang_up(pooled: PoolProxiedConnection) -> None:
    """Throw a connection away without a goodbye, for which a silent server would be waited two seconds more."""
    if pooled.driver_connection is not None:  # else SQLAlchemy has thrown it away by itself
        pooled.driver_connection.terminate()
        pooled.invalidate()


def _state(problem: DBAPIError) -> str:
    return str(getattr(problem.orig, "sqlstate", None) or getattr(problem.orig, "pgcode", None) or "")


def _in_one_line(problem: BaseException | None) -> str:
    text = str(problem).partition("\n")[0]
    return text.rpartition(">: ")[2] or type(problem).__name__


def _read_json_as_text(connection: Any, _record: object) -> None:  # noqa: ANN401 - the adapted connection
    """Undo the dialect's JSON codec: a Python function per value, where the driver's own text is just what msgspec reads."""
    for name in ("json", "jsonb"):
        await_only(connection.driver_connection.reset_type_codec(name, schema="pg_catalog"))


def _as_is(text: Any) -> Any:  # noqa: ANN401 - the column's own type reads the JSON
    return text
