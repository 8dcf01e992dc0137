"""Statements that every noun needs, over one transaction's connection."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, Table, Update, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import IntegrityError

from domain.errors import Conflict
from domain.paging import Listing, Page
from infra.db.driver import fixed
from infra.db.structs import Stored

T = TypeVar("T", bound=msgspec.Struct)


class Rows(Generic[T]):
    """The rows of one table, as structs."""

    stored: Stored[T]

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def one(self, statement: Select[Any], **values: Any) -> T | None:  # noqa: ANN401 - bind values
        """Return the first row as a struct."""
        row = self.connection.execute(statement, values).first()
        return None if row is None else self.stored.struct_of(row)

    def many(self, statement: Select[Any], **values: Any) -> list[T]:  # noqa: ANN401 - bind values
        """Return all rows as structs."""
        build = self.stored.struct_of
        return [build(row) for row in self.connection.execute(statement, values)]

    def listing(self, statement: Select[Any], page: Page, **values: Any) -> Listing[T]:  # noqa: ANN401 - bind values
        """Return one page of a selection, and how many rows the whole of it has."""
        total = self.connection.scalar(select(func.count()).select_from(statement.order_by(None).subquery()), values) or 0
        return Listing(self.many(statement.limit(page.size).offset(page.offset), **values), total)

    def insert(self, thing: T) -> None:
        """Insert one."""
        self.connection.execute(_insertion(self.stored.table), self.stored.row(thing))

    def insert_all(self, things: Iterable[T]) -> None:
        """Insert many at once."""
        rows = [self.stored.row(thing) for thing in things]
        if rows:
            self.connection.execute(_insertion(self.stored.table), rows)

    def write(self, thing: T, statement: Update | None = None, **guards: Any) -> bool:  # noqa: ANN401 - bind values
        """Write one over its row, by a statement of `updating` where a guard is wanted; False when no row passes it."""
        row = self.stored.row(thing)
        keys = {f"key_of_{column.name}": row[column.name] for column in self.stored.table.primary_key}
        return bool(
            self.connection.execute(_update(self.stored.table) if statement is None else statement, row | keys | guards).rowcount == 1
        )

    def upsert(self, things: Iterable[T]) -> None:
        """Insert, or write over the row with the same key."""
        rows = [self.stored.row(thing) for thing in things]
        if rows:
            self.connection.execute(_upsert(self.stored.table, self.connection.dialect.name), rows)


@contextmanager
def taken(message: str, **facts: str) -> Iterator[None]:
    """Turn a broken uniqueness into a Conflict with words."""
    try:
        yield
    except IntegrityError as broken:
        raise Conflict(message, **facts) from broken


@lru_cache
def _insertion(table: Table) -> Any:  # noqa: ANN401 - an Insert
    return fixed(insert(table))


@lru_cache
def _update(table: Table) -> Update:
    return updating(table)


def updating(table: Table, *guards: ColumnElement[bool]) -> Update:
    """Return the statement that writes a struct over its row, if the row passes the guards."""
    keys = list(table.primary_key)
    values: dict[str, Any] = {column.name: bindparam(column.name, type_=column.type) for column in table.c if not column.primary_key}
    found = (column == bindparam(f"key_of_{column.name}", type_=column.type) for column in keys)
    return fixed(update(table).where(*found, *guards).values(values))


@lru_cache
def _upsert(table: Table, dialect: str) -> Any:  # noqa: ANN401 - an Insert of either dialect
    statement = (postgresql_insert if dialect == "postgresql" else sqlite_insert)(table)
    changed = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
    return fixed(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=changed))
