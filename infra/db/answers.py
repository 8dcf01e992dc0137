"""Answers as rows. The key's uniqueness is the lock: on PostgreSQL whoever inserts a key waits for the one who is just inserting it."""

from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from domain.access.answer import Answer
from infra.db.driver import fixed
from infra.db.rows import Rows
from infra.db.tables import ANSWERS

_C = ANSWERS.c
_KEYED = fixed(select(*ANSWERS.columns).where(_C.principal == bindparam("principal"), _C.key == bindparam("key")))


class AnswerRows(Rows[Answer]):
    """The port `Answers`."""

    stored = ANSWERS

    def get(self, principal: str, key: str) -> Answer | None:
        """By its key."""
        return self.one(_KEYED, principal=principal, key=key)

    def claim(self, answer: Answer) -> bool:
        """Insert, unless it is there."""
        return bool(self.connection.execute(_claim(self.connection.dialect.name), self.stored.row(answer)).rowcount == 1)

    def save(self, answer: Answer) -> None:
        """Write it over the claim."""
        self.write(answer)

    def forget(self, before: datetime, limit: int) -> int:
        """Delete, past rows that another host is just deleting."""
        oldest = select(_C.principal, _C.key).where(_C.created_at < before).order_by(_C.created_at).limit(limit)
        forgotten = oldest.with_for_update(skip_locked=True)
        return self.connection.execute(delete(ANSWERS.table).where(tuple_(_C.principal, _C.key).in_(forgotten))).rowcount


@lru_cache
def _claim(dialect: str) -> Any:  # noqa: ANN401 - an Insert of either dialect
    return fixed((postgresql_insert if dialect == "postgresql" else sqlite_insert)(ANSWERS.table).on_conflict_do_nothing())
