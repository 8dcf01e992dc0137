"""Which uploaded bytes are needed, as the rows know it: by a file of a dataset, by a config, by a run that pinned them."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, Select, bindparam, or_, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from infra.db.driver import fixed
from infra.db.tables import PINS, TRAIN_CONFIGS, UPLOADS

_VALUES: dict[str, Any] = {"stored_name": bindparam("stored_name")}
_PIN: dict[str, Any] = {
    "postgresql": fixed(postgresql_insert(PINS.table).values(_VALUES).on_conflict_do_nothing()),
    "sqlite": fixed(sqlite_insert(PINS.table).values(_VALUES).on_conflict_do_nothing()),
}
_U, _T = UPLOADS.c, TRAIN_CONFIGS.c


def pin(connection: Connection, stored_names: Iterable[str]) -> None:
    """Keep these bytes from now on; in an order of names, so that two who pin the same never wait for each other in a ring."""
    for stored_name in sorted(set(stored_names)):
        connection.execute(_PIN[connection.dialect.name], {"stored_name": stored_name})


class BlobRows:
    """The port `Blobs`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def unneeded(self, stored_names: list[str], before: datetime) -> list[str]:
        """What was taken back after `before` counts as needed: somebody may be about to pin it."""
        files = select(_U.stored_name).where(_U.stored_name.in_(stored_names), or_(_U.aborted_at.is_(None), _U.aborted_at > before))
        pins = select(PINS.c.stored_name).where(PINS.c.stored_name.in_(stored_names))
        sums = {_sum(name) for name in stored_names}
        configs = select(_T.sha256).where(_T.sha256.in_(sums), or_(_T.deleted_at.is_(None), _T.deleted_at > before))
        names, summed = self._first(files) | self._first(pins), self._first(configs)
        return [name for name in stored_names if name not in names and _sum(name) not in summed]

    def _first(self, statement: Select[Any]) -> set[str]:
        return {row[0] for row in self._connection.execute(statement)}


def _sum(stored_name: str) -> str:
    """The SHA-256 that bytes lie under."""
    return PurePosixPath(stored_name).name[:64]
