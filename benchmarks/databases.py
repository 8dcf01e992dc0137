"""A PostgreSQL that syncs to disk, as in production: the one of the tests does not."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import asyncpg

from infra import embedded
from tests.house import eventually

DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
"""What the tests' PostgreSQL switches off, and a measurement of writes may not."""


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """Give the URL of a durable PostgreSQL whose files lie in `folder`; its log is the file `log` there."""
    folder.mkdir()
    with embedded.postgresql(folder) as server:
        configure(server.url, **dict.fromkeys(DURABLE, "on"))
        yield server.url


def configure(url: str, **settings: str) -> None:
    """Change settings of the server for good, and wait until they hold."""
    changes = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()]
    asyncio.run(_execute(url, [*changes, "SELECT pg_reload_conf()"]))
    for name, value in settings.items():
        eventually(partial(_holds, url, name, value))


def copy_database(url: str, name: str) -> str:
    """Make a database that holds what this one holds, to which nobody may be connected; its URL."""
    asyncio.run(_execute(_named(url, "template1"), [f"CREATE DATABASE {name} TEMPLATE {_name(url)}"]))
    return _named(url, name)


def _name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def _named(url: str, name: str) -> str:
    before, question, after = url.partition("?")
    return f"{before.rpartition('/')[0]}/{name}{question}{after}"


async def _execute(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def _holds(url: str, name: str, value: str) -> bool:
    """Whether a new connection, and so each one that begins its next statement, sees this value."""
    return asyncio.run(_shown(url, name)) == value


async def _shown(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(f"SHOW {name}"))
    finally:
        await connection.close()
