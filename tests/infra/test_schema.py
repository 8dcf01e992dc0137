"""One definition: the structs of the domain, the tables made of them, and a migrated database are the same thing."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import fields
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from infra.db import tables
from infra.db.database import Database
from infra.db.migrations.check import differences
from infra.db.structs import METADATA, Stored
from infra.db.url import read
from tests.contracts.databases import opened

STORED = [each for each in vars(tables).values() if isinstance(each, Stored)]
DOCUMENTED = {"projects", "runs", "logs", "artifacts"}


def test_every_column_is_a_field_and_every_field_a_column() -> None:
    for table in METADATA.sorted_tables:
        readings = [{field.name for field in fields(each.struct)} for each in STORED if each.table is table]
        whole = max(readings, key=len)
        assert whole == set(table.c.keys()) - {"row"}
        assert all(reading <= whole for reading in readings)


async def test_a_migrated_database_is_what_the_structs_make(db: Database, database_url: str) -> None:
    del db

    assert [] == await asked(database_url, differences)


async def test_a_migrated_database_has_our_tables_and_no_other(db: Database, database_url: str) -> None:
    del db

    names = await asked(database_url, lambda connection: set(inspect(connection).get_table_names()))

    assert set(METADATA.tables) | {"alembic_version"} == names
    assert names > DOCUMENTED


async def test_opening_a_database_again_changes_nothing(db: Database, database_url: str) -> None:
    del db

    def versions(connection: Connection) -> list[str]:
        return list(connection.scalars(text("SELECT version_num FROM alembic_version")))

    before = await asked(database_url, versions)
    async with opened(database_url):
        assert before == await asked(database_url, versions)


async def asked(database_url: str, question: Callable[[Connection], Any]) -> Any:
    """Ask a database past all code of ours but its URL."""
    url = read(database_url)
    if not url.postgresql:
        engine = create_engine(url.url, poolclass=NullPool)
        with engine.begin() as connection:
            return question(connection)
    async with create_async_engine(url.url, connect_args=url.connect_args, poolclass=NullPool).begin() as asynchronous:
        return await asynchronous.run_sync(question)
