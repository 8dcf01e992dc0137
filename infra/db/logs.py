"""Stored output as rows: chunks found by line number or by time, never by counting."""

from collections.abc import Iterable

from sqlalchemy import bindparam, select

from domain.processes.log import LogChunk
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import LOGS

_C = LOGS.c
_OF = select(*LOGS.columns).where(_C.owner_id == bindparam("owner"))
_LAST = fixed(_OF.order_by(_C.first_line.desc()).limit(1))
_FIRST_AND_COUNT = fixed(select(_C.first_line, _C.lines).where(_C.owner_id == bindparam("owner")).order_by(_C.first_line.desc()).limit(1))
_HOLDS_FIRST = (
    select(_C.first_line)
    .where(_C.owner_id == bindparam("owner"), _C.first_line <= bindparam("first"))
    .order_by(_C.first_line.desc())
    .limit(1)
    .scalar_subquery()
)
_BETWEEN = fixed(_OF.where(_C.first_line >= _HOLDS_FIRST, _C.first_line < bindparam("stop")).order_by(_C.first_line))
_BEGUN_BEFORE = fixed(_OF.where(_C.first_at < bindparam("at")).order_by(_C.first_at.desc(), _C.first_line.desc()).limit(1))


class LogRows(Rows[LogChunk]):
    """The port `Logs`."""

    stored = LOGS

    def last(self, owner_id: str) -> LogChunk | None:
        """The open chunk, or the last full one."""
        return self.one(_LAST, owner=owner_id)

    def put(self, chunks: Iterable[LogChunk]) -> None:
        """Write, over itself if it is there."""
        self.upsert(chunks)

    def end(self, owner_id: str) -> int:
        """The number behind the last line."""
        row = self.connection.execute(_FIRST_AND_COUNT, {"owner": owner_id}).first()
        return 0 if row is None else int(row[0] + row[1])

    def between(self, owner_id: str, first: int, stop: int) -> list[LogChunk]:
        """The chunks that hold these lines."""
        return self.many(_BETWEEN, owner=owner_id, first=first, stop=stop)

    def last_begun_before(self, owner_id: str, at: int) -> LogChunk | None:
        """By the time index."""
        return self.one(_BEGUN_BEFORE, owner=owner_id, at=at)
