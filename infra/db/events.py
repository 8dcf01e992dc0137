"""The record as rows, read so that nobody ever skips a committed event.

Ids are given out before the commit, so a row with a lower id may become visible later. On PostgreSQL each row therefore carries
the id of its transaction; a reader goes by `(xid, id)` and stops below the oldest transaction still open: whatever commits
later stands behind that place. On SQLite writers come one at a time and ids alone are in order.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, insert, select, text, tuple_

from domain.events.event import Event, Place
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import EVENTS

_C = EVENTS.c
_SETTLED = text("events.xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_XID = text("pg_current_xact_id()::text::bigint")
_COLUMNS: dict[str, Any] = {name: bindparam(name) for name in EVENTS.names if name not in ("id", "xid")}
_ADD = {
    "postgresql": fixed(insert(EVENTS.table).values(_COLUMNS | {"xid": _XID})),
    "sqlite": insert(EVENTS.table).values(_COLUMNS | {"xid": 0}),
}


class EventRows(Rows[Event]):
    """The port `Events`."""

    stored = EVENTS

    def __init__(self, connection: Connection, now: datetime, actor: str, origin: str | None) -> None:
        super().__init__(connection)
        self._said = {"at": now, "actor": actor, "origin": origin}

    def add(self, kind: str, subject: str, project_id: str | None, data: dict[str, Any]) -> None:
        """Append."""
        values = {"kind": kind, "subject": subject, "project_id": project_id, "data": data}
        self.connection.execute(_ADD[self.connection.dialect.name], self._said | values)

    def after(self, place: Place, limit: int, project_id: str | None = None) -> list[Event]:
        """Oldest first, from behind `place`."""
        statement = self._settled().where(tuple_(_C.xid, _C.id) > tuple_(place.xid, place.id)).order_by(_C.xid, _C.id).limit(limit)
        return self.many(statement if project_id is None else statement.where(_C.project_id == project_id))

    def newest(self) -> Place:
        """The last settled place."""
        last = self.one(self._settled().order_by(_C.xid.desc(), _C.id.desc()).limit(1))
        return last.place if last else Place()

    def _settled(self) -> Select[Any]:
        statement = select(*EVENTS.columns)
        return statement.where(_SETTLED) if self.connection.dialect.name == "postgresql" else statement
