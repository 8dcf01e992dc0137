"""The database: it gives an action a transaction, commits, and only then lets the rest of the house know.

`await db.run(action, …)` writes, `await db.read(query, …)` reads; both take a plain function whose first parameter is the
transaction. The same code serves SQLite and PostgreSQL; what differs lies in the two backends.
"""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from msgspec.structs import replace
from sqlalchemy import Connection

from domain.access.principal import Principal
from infra.db.postgresql import PostgresqlBackend
from infra.db.sqlite import SqliteBackend
from infra.db.transaction import Aftermath, Tx
from infra.db.url import DatabaseUrl
from infra.failpoints import failpoint

P = ParamSpec("P")
R = TypeVar("R")


class Backend(Protocol):
    """How one kind of database carries out a piece of work."""

    async def write(self, work: Callable[[Connection], R]) -> R:
        """Do it in one transaction, again after a deadlock; Unavailable when the database cannot answer."""
        ...

    async def read(self, work: Callable[[Connection], R]) -> R:
        """Do it without a transaction of its own; Unavailable when the database cannot answer."""
        ...

    async def close(self) -> None:
        """Let every connection go."""
        ...


class Database:
    """The rows, on behalf of one principal."""

    def __init__(self, backend: Backend, who: Principal, after_commit: Callable[[Aftermath], None]) -> None:
        self._backend = backend
        self._who = who
        self._after_commit = after_commit

    def acting(self, name: str, origin: str | None = None) -> "Database":
        """Return the same database on behalf of somebody else."""
        return Database(self._backend, replace(self._who, name=name, origin=origin), self._after_commit)

    async def run(self, action: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run an action in one transaction; what it asked to happen afterwards happens after the commit."""

        def work(connection: Connection) -> tuple[R, Aftermath]:
            tx = Tx(connection, self._who)
            result = action(tx, *args, **kwargs)
            failpoint("uncommitted", action)
            return result, tx.aftermath

        result, aftermath = await self._backend.write(work)
        failpoint("committed", action)
        self._after_commit(aftermath)
        return result

    async def read(self, query: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Answer a question that changes nothing."""
        return await self._backend.read(lambda connection: query(Tx(connection, self._who), *args, **kwargs))

    async def close(self) -> None:
        """Let every connection go."""
        await self._backend.close()


async def open_database(url: DatabaseUrl, who: Principal, after_commit: Callable[[Aftermath], None], *, patience: float) -> Database:
    """Connect and bring the tables up to date; SettingsError, in one line, when that is impossible.

    `patience` is how many seconds a piece of work may take before the database counts as unavailable.
    """
    backend: Backend
    backend = await PostgresqlBackend.open(url, patience) if url.postgresql else await SqliteBackend.open(url)
    return Database(backend, who, after_commit)
