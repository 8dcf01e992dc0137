"""The real tables in memory, by a clock that only the test moves; any transaction may be undone, or its reply lost."""

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Engine, StaticPool, create_engine, event

from domain.access.principal import Principal
from infra.db.migrate import upgrade
from infra.db.structs import encode_json
from infra.db.transaction import Tx
from tests.things import AT

P = ParamSpec("P")
R = TypeVar("R")


class Fate(Enum):
    """What becomes of a transaction after all of it was written."""

    kept = auto()
    undone = auto()
    unheard = auto()
    """Kept, and the reply is lost."""


class Broken(Exception):
    """The connection broke: whoever wrote does not know what became of it."""


class VirtualDatabase:
    """The tables in memory, by a clock that only the test moves."""

    def __init__(self) -> None:
        self._engine = _engine()
        self._empty = sqlite3.connect(":memory:")
        with self._engine.begin() as connection:
            upgrade(connection)
        _driver(self._engine).backup(self._empty)
        self.now = AT
        self.fate = Fate.kept
        """Of the next transaction."""

    def clear(self) -> None:
        """Be as new."""
        self._empty.backup(_driver(self._engine))
        self.now, self.fate = AT, Fate.kept

    def run(self, action: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Carry out an action in one transaction; Broken when it meets another fate than to be kept."""
        fate, self.fate = self.fate, Fate.kept
        self.now += timedelta(milliseconds=1)
        with self._engine.connect() as connection:
            tx = self._transaction(connection)
            result = action(tx, *args, **kwargs)
            if fate is Fate.undone:
                raise Broken
            connection.commit()
        if fate is Fate.unheard:
            raise Broken
        return result

    def read(self, query: Callable[Concatenate[Tx, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Answer a question that changes nothing."""
        with self._engine.connect() as connection:
            return query(self._transaction(connection), *args, **kwargs)

    def rows(self) -> list[str]:
        """Everything there is."""
        return list(_driver(self._engine).iterdump())

    def _transaction(self, connection: Any) -> Tx:
        tx = Tx(connection, Principal(name="tester"))
        tx.now = self.now
        return tx


def _engine() -> Engine:
    engine = create_engine("sqlite://", poolclass=StaticPool, json_serializer=encode_json, json_deserializer=str)

    @event.listens_for(engine, "connect")
    def _prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _driver(engine: Engine) -> sqlite3.Connection:
    """The one connection."""
    connection = engine.raw_connection().driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection
